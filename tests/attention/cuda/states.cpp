// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/states.cuh"

#include <algorithm>
#include <random>

#include "catch.hpp"
#include "device/memory.hpp"
#include "quire/kv/layout/paged.hpp"

using namespace quire;
using device_test::device_array;
namespace cuda = attention::cuda;

namespace {

template <std::uint32_t Dim, std::uint32_t Rows>
using block_of = cuda::fold_block<kv::paged<kv::raw_bf16>, float, Dim, Rows, 3>;

/// States of rows: m, l [rows], o [rows][dim].
struct host_states {
  std::vector<float> m, l, o;
  host_states(std::uint32_t rows, std::uint32_t dim, unsigned seed) : m(rows), l(rows), o(rows * dim) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& x : m) x = 5 * normal(random);
    for (float& x : l) x = 1 + std::fabs(normal(random));
    for (float& x : o) x = normal(random);
    for (std::uint32_t r = 0; r < rows; ++r)
      if ((r * 2654435761u + seed) % 4 == 0) {  // no token
        m[r] = -INFINITY, l[r] = 0;
        std::fill_n(o.begin() + r * dim, dim, 0.0f);
      }
  }
};

/// The same on the device; `number` of them stand one after another.
struct rows_view {
  float *m, *l, *o;
};

template <class Block, class F>
__device__ void each_register(typename Block::registers& r, cuda::thread_place me, F&& f) {
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
    for (std::uint32_t j = 0; j < Block::lane_rows; ++j)
      for (std::uint32_t i = 0; i < Block::own_blocks; ++i)
        for (std::uint32_t k = 0; k < 2; ++k)
          if (const std::uint32_t channel = me.channel(i) + 2 * me.at.g + k; channel < Block::dim)
            f(Block::row_of(b, j, me.at), channel, r.m[b][j], r.l[b][j], r.o[i][b][Block::lane_rows * k + j]);
}
template <class Block>
__device__ void take(typename Block::registers& r, rows_view from, cuda::thread_place me) {
  r.clear();
  each_register<Block>(r, me, [&](std::uint32_t row, std::uint32_t channel, float& m, float& l, float& o) { m = from.m[row], l = from.l[row], o = from.o[row * Block::dim + channel]; });
}
template <class Block>
__device__ void give(typename Block::registers& r, rows_view to, cuda::thread_place me) {
  each_register<Block>(r, me, [&](std::uint32_t row, std::uint32_t channel, float& m, float& l, float& o) {
    if (me.warp == 0 && me.at.g == 0 && channel == 0 && Block::speaks(me.at)) to.m[row] = m, to.l[row] = l;
    if (const float shared = __shfl_sync(~0u, o, me.lane / 4 * 4); Block::on_cores && shared != o) to.o[row * Block::dim + channel] = NAN;  // all four lanes have it
    else if (Block::speaks(me.at)) to.o[row * Block::dim + channel] = o;
  });
}

/// Two states are kept and come back in the other order; then left ⊕ right.
template <class Block>
__global__ void __launch_bounds__(cuda::block_threads) keep_and_join(rows_view left, rows_view right, rows_view left_again, rows_view right_again, rows_view joined, std::byte* scratch) {
  const cuda::thread_place me = cuda::thread_place::here();
  const cuda::states<Block> s(me);
  typename Block::registers r;
  take<Block>(r, left, me);
  s.keep(r, scratch);
  take<Block>(r, right, me);
  s.keep(r, scratch + Block::state_bytes);
  __syncthreads();
  s.load(r, scratch);
  give<Block>(r, left_again, me);
  s.load(r, scratch + Block::state_bytes);
  give<Block>(r, right_again, me);
  s.join(scratch, r);
  give<Block>(r, joined, me);
}

struct device_states {
  device_array<float> m, l, o;
  device_states(std::uint32_t rows, std::uint32_t dim) : m(rows, "m"), l(rows, "l"), o(rows * dim, "o") {}
  explicit device_states(const host_states& s) : m(s.m, "m"), l(s.l, "l"), o(s.o, "o") {}
  rows_view view() const { return {m.data(), l.data(), o.data()}; }
};

template <class Block>
void check_move() {
  const host_states left(Block::rows, Block::dim, 1), right(Block::rows, Block::dim, 2);
  const device_states a(left), b(right), a2(Block::rows, Block::dim), b2(Block::rows, Block::dim), both(Block::rows, Block::dim);
  device_array<std::byte> scratch(2 * Block::state_bytes, "scratch");
  for (std::uint64_t seed : {0u, 1u, 2u}) {
    device_test::order(seed);
    const status launched = device::launch(&keep_and_join<Block>, {.threads = cuda::block_threads}, {}, a.view(), b.view(), a2.view(), b2.view(), both.view(), scratch.data());
    device_test::finish();
    REQUIRE(launched);
    CHECK((a2.m.download() == left.m && a2.l.download() == left.l && a2.o.download() == left.o));
    CHECK((b2.m.download() == right.m && b2.l.download() == right.l && b2.o.download() == right.o));
    const auto m = both.m.download(), l = both.l.download(), o = both.o.download();
    int identities = 0;
    for (std::uint32_t row = 0; row < Block::rows; ++row) {
      softmax_state want{left.m[row], left.l[row]};
      std::vector<float> want_o(left.o.begin() + row * Block::dim, left.o.begin() + (row + 1) * Block::dim);
      merge_into(want, want_o.data(), {right.m[row], right.l[row]}, right.o.data() + row * Block::dim, Block::dim);
      CHECK(m[row] == want.m);
      CHECK(std::fabs(l[row] - want.l) <= 4e-6f * want.l);
      const bool exact = left.m[row] == -INFINITY || right.m[row] == -INFINITY;  // merging with the identity changes no bit
      identities += exact;
      if (exact) CHECK(l[row] == want.l);
      for (std::uint32_t i = 0; i < Block::dim; ++i)
        if (!(std::fabs(o[row * Block::dim + i] - want_o[i]) <= (exact ? 0.0f : 1e-5f))) FAIL("row " << row << ", channel " << i << ": " << o[row * Block::dim + i] << " for " << want_o[i]);
    }
    CHECK((identities > 0 || Block::rows < 8));
  }
  device_test::order(1);
}

template <class Wide, class Block>
__global__ void __launch_bounds__(cuda::block_threads) hand_over(rows_view from, rows_view to, std::byte* scratch, std::uint32_t first, std::uint32_t count) {
  const cuda::thread_place me = cuda::thread_place::here();
  {
    typename Wide::registers r;
    take<Wide>(r, from, me);
    cuda::states<Wide>(me).keep(r, scratch);
  }
  __syncthreads();
  typename Block::registers r;
  cuda::states<Block>(me).template load_rows<Wide>(r, scratch, first, count);
  give<Block>(r, to, me);
}

template <class Wide, class Block>
void check_rows() {
  const host_states all(Wide::rows, Wide::dim, 5);
  const device_states from(all), to(Block::rows, Block::dim);
  device_array<std::byte> scratch(Wide::state_bytes, "scratch");
  for (std::uint32_t count : {1u, 3u, Block::rows})
    for (std::uint32_t first = 0; first + count <= Wide::rows; first += count) {
      const status launched = device::launch(&hand_over<Wide, Block>, {.threads = cuda::block_threads}, {}, from.view(), to.view(), scratch.data(), first, count);
      device_test::finish();
      REQUIRE(launched);
      const auto m = to.m.download(), l = to.l.download(), o = to.o.download();
      for (std::uint32_t row = 0; row < Block::rows; ++row) {
        const bool held = row < count;
        CHECK(m[row] == (held ? all.m[first + row] : -INFINITY));
        CHECK(l[row] == (held ? all.l[first + row] : 0));
        for (std::uint32_t i = 0; i < Block::dim; ++i)
          if (o[row * Block::dim + i] != (held ? all.o[(first + row) * Block::dim + i] : 0)) FAIL("row " << row << " from " << first << ", channel " << i);
      }
    }
}

}  // namespace

TEST_CASE("cuda states: what is kept comes back, and two states merge as softmax states do") {
  check_move<block_of<64, 8>>();
  check_move<block_of<96, 16>>();
  check_move<block_of<16, 64>>();
  check_move<block_of<64, 2>>();
  check_move<block_of<96, 1>>();
}

TEST_CASE("cuda states: rows of a prefix's state go to its members, further rows are the identity") {
  check_rows<block_of<64, 32>, block_of<64, 8>>();
  check_rows<block_of<96, 64>, block_of<96, 16>>();
}

namespace {

/// Byte offset of each state that a plan has room for: workers' two parts and stacks, prefixes, members.
__global__ void places(const __grid_constant__ attention::plan_view plan, std::byte* base, std::uint64_t* out) {
  const cuda::scratch_map map{base, plan, 48};
  std::uint32_t n = 0;
  const auto note = [&](const std::byte* at) { out[n++] = static_cast<std::uint64_t>(at - base); };
  for (std::uint32_t w = 0; w < plan.slots; ++w) {
    for (std::uint32_t k = 0; k < plan.depth; ++k) note(map.part(w, 0, k)), note(map.part(w, 1, k));
    for (std::uint32_t k = 0; k < plan.merge_depth; ++k) note(map.part(w, attention::split_items, k));
  }
  for (std::uint32_t i = 0; i < plan.prefix_items; ++i)
    for (std::uint32_t k = 0; k < plan.merge_depth; ++k) note(map.prefix(i, k));
  for (std::uint32_t m = 0; m < plan.member_count; ++m)
    for (std::uint32_t k = 0; k < plan.depth; ++k) note(map.member(m, k));
}

}  // namespace

TEST_CASE("cuda states: no two places of scratch overlap, and all lie within what the plan asks for") {
  attention::plan_view plan;
  plan.slots = 5, plan.depth = 3, plan.merge_depth = 4, plan.prefix_items = 2, plan.member_count = 7;
  const std::size_t count = cuda::scratch_map::states(plan);
  CHECK(count == 5 * (2 * 3 + 4) + 2 * 4 + 7 * 3);
  device_array<std::uint64_t> out(count, "places");
  device_array<std::byte> base(count * 48, "scratch");
  const status launched = device::launch(&places, {.threads = 1}, {}, plan, base.data(), out.data());
  device_test::finish();
  REQUIRE(launched);
  auto at = out.download();
  std::sort(at.begin(), at.end());
  for (std::size_t i = 0; i < count; ++i) CHECK(at[i] == i * 48);
}
