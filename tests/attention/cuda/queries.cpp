// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/queries.cuh"

#include <random>

#include "catch.hpp"
#include "device/memory.hpp"
#include "quire/attention/cuda/operand_integer.cuh"
#include "quire/kv/layout/paged.hpp"

using namespace quire;
using device_test::device_array;
namespace cuda = attention::cuda;

namespace {

std::vector<float> noise(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& e : x) e = normal(random);
  return x;
}

__global__ void __launch_bounds__(cuda::block_threads) rotate(float* v, std::uint32_t rows, std::uint32_t dim) {
  auto* shared = reinterpret_cast<float*>(device::shared_memory());
  for (std::uint32_t i = threadIdx.x; i < rows * dim; i += cuda::block_threads) shared[i] = v[i];
  __syncthreads();
  cuda::rotate_rows(shared, rows, dim, cuda::thread_place::here());
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < rows * dim; i += cuda::block_threads) v[i] = shared[i];
}

}  // namespace

TEST_CASE("cuda queries: rotate_rows is hadamard_rotate of every row") {
  for (std::uint32_t dim : {16u, 48u, 64u, 80u, 96u, 128u, 256u})
    for (std::uint32_t rows : {1u, 5u, 16u}) {
      auto want = noise(rows * dim, dim + rows);
      device_array<float> v(want, "rows");
      const status launched = device::launch(&rotate, {.threads = cuda::block_threads, .shared_bytes = rows * dim * sizeof(float)}, {}, v.data(), rows, dim);
      device_test::finish();
      REQUIRE(launched);
      for (std::uint32_t r = 0; r < rows; ++r) kv::hadamard_rotate(want.data() + r * dim, dim);
      const auto got = v.download();
      for (std::size_t i = 0; i < want.size(); ++i)
        if (!(std::fabs(got[i] - want[i]) <= 0x1p-20f * 16)) FAIL("row " << i / dim << " of " << dim << " channels: " << got[i] << " for " << want[i]);
      if (device_test::emulated) CHECK(got == want);  // rsqrtf of a device is within 2 ulp
    }
}

namespace {

template <class Pair, class Row, std::uint32_t Dim, std::uint32_t Rows>
using block_of = cuda::fold_block<kv::paged<Pair>, Row, Dim, Rows, 4>;
template <class Block>
using call_of = cuda::layer_call<typename Block::layout, typename Block::row>;
using per_channel = kv::codec_pair<kv::integer<4, kv::group::row>>;
using per_token = kv::codec_pair<kv::integer<8, kv::group::column>, kv::integer<8, kv::group::row>>;
using rotated = kv::codec_pair<kv::hadamard<kv::integer<4, kv::group::column>>, kv::hadamard<kv::integer<4, kv::group::row>>>;

/// What take_queries leaves in shared memory: coefficients of both forms, sums.
template <class Block>
__global__ void __launch_bounds__(cuda::block_threads) take(const __grid_constant__ call_of<Block> c, attention::work_item item, cuda::item_rows_of row_of, std::uint32_t* raw, std::uint32_t* sealed,
                                                            float* sums) {
  const cuda::thread_place me = cuda::thread_place::here();
  auto& m = *reinterpret_cast<typename Block::memory*>(device::shared_memory());
  cuda::take_queries<Block>(m, c, item, row_of, me);
  __syncthreads();
  for (std::uint32_t i = me.thread; i < sizeof m.raw_queries / 4; i += cuda::block_threads) raw[i] = m.raw_queries[i];
  if constexpr (!Block::one_form) {
    for (std::uint32_t i = me.thread; i < sizeof m.sealed_queries / 4; i += cuda::block_threads) sealed[i] = m.sealed_queries[i];
    if constexpr (Block::template key_operand<typename Block::sealed_pair>::scaled == cuda::scaling::columns)
      for (std::uint32_t i = me.thread; i < Block::rows; i += cuda::block_threads) sums[i] = m.query_sum[i];
  }
}

/// Coefficients for rows [Rows][Dim]: words [step][row block][lane][2] of the tensor cores' right operand; or f32 [step][row block][row][t][4],
/// so that each tile's scales can be multiplied in, and for CUDA cores.
template <class Operand, class Block>
std::vector<std::uint32_t> fragments(const std::vector<float>& rows) {
  constexpr std::uint32_t dim = Operand::rows;
  constexpr bool wide = Block::on_cores || cuda::scales_coefficients<Operand>;
  const std::uint32_t lanes = Block::rows < 8 ? Block::rows * 4 : 32;
  std::vector<std::uint32_t> words(dim / 16 * Block::row_blocks * lanes * (wide ? 4 : 2));
  const auto bits = [](float x) { return std::uint32_t{Operand::f16_products ? f16::from(x).bits : bf16::from(x).bits}; };
  for (std::uint32_t row = 0; row < Block::rows; ++row)
    for (std::uint32_t pair = 0; pair < dim / 2; ++pair) {
      const cuda::pair_place p = Operand::place_of(pair);
      const std::uint32_t at = ((p.step * Block::row_blocks + row / 8) * lanes + row % 8 * 4 + p.t) * 2 + p.half;
      const float low = rows[row * dim + 2 * pair], high = rows[row * dim + 2 * pair + 1];
      if (wide) words[2 * at] = std::bit_cast<std::uint32_t>(low), words[2 * at + 1] = std::bit_cast<std::uint32_t>(high);
      else words[at] = bits(high) << 16 | bits(low);
    }
  return words;
}

template <class Block>
void check_take(std::uint32_t group, std::uint32_t tokens, bool members) {
  constexpr std::uint32_t dim = Block::dim;
  using row = typename Block::row;
  const std::uint32_t kv_heads = 2, head = 1, first = 3, width = group * kv_heads * dim + 8;  // rows stand further apart than they are wide
  const auto values = noise(64 * width, group);
  std::vector<row> q(values.size());
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = kv::raw<row>::narrow(values[i]);
  std::vector<attention::query_span> spans(40);
  std::vector<attention::plan_member> list(tokens);
  for (std::uint32_t i = 0; i < spans.size(); ++i) spans[i] = {i, 500 + i, 1, (i * 7 + 2) % 64};
  for (std::uint32_t i = 0; i < tokens; ++i) list[i] = {(i * 11 + 5) % 40, 0};
  const device_array<row> device_q(q, "queries");
  const device_array<attention::query_span> device_spans(spans, "spans");
  const device_array<attention::plan_member> device_list(list, "members");
  call_of<Block> c;
  c.shape = {.q_heads = group * kv_heads, .kv_heads = kv_heads, .dim_k = dim, .dim_v = dim, .scale = members ? 0.3f : 0.0f};
  c.q = device_q.data(), c.ldq = width;
  const attention::work_item item{0, head, 100, tokens, {}};
  const cuda::item_rows_of row_of{device_spans.data(), members ? device_list.data() : nullptr, first};
  using memory = typename Block::memory;
  device_array<std::uint32_t> raw(sizeof(memory::raw_queries) / 4, "raw"), sealed(sizeof(memory::sealed_queries) / 4, "sealed");
  device_array<float> sums(Block::rows, "sums");
  const status launched = device::launch(&take<Block>, {.threads = cuda::block_threads, .shared_bytes = sizeof(memory)}, {}, c, item, row_of, raw.data(), sealed.data(), sums.data());
  device_test::finish();
  REQUIRE(launched);

  std::vector<float> rows(Block::rows * dim);
  for (std::uint32_t r = 0; r < tokens * group; ++r) {
    const std::uint32_t at = members ? spans[list[r / group].span].row : first + r / group;
    for (std::uint32_t i = 0; i < dim; ++i) rows[r * dim + i] = kv::raw<row>::widen(q[at * width + (head * group + r % group) * dim + i]) * c.shape.scale_or_default();
  }
  CHECK(raw.download() == fragments<typename Block::template key_operand<typename Block::raw_pair>, Block>(rows));
  if constexpr (!Block::one_form) {
    using keys = typename Block::template key_operand<typename Block::sealed_pair>;
    if constexpr (Block::rotated_keys)
      for (std::uint32_t r = 0; r < Block::rows; ++r) kv::hadamard_rotate(rows.data() + r * dim, dim);
    if (device_test::emulated || !Block::rotated_keys) CHECK(sealed.download() == fragments<keys, Block>(rows));
    if constexpr (keys::scaled == cuda::scaling::columns) {
      const auto sum = sums.download();
      for (std::uint32_t r = 0; r < Block::rows; ++r) {
        double want = 0;
        for (std::uint32_t i = 0; i < dim; ++i) want += static_cast<double>(rows[r * dim + i]);
        CHECK(std::fabs(static_cast<double>(sum[r]) - want) < 1e-4);
      }
    }
  }
}

}  // namespace

TEST_CASE("cuda queries: rows of one span and of a prefix's members, in the order of the keys' fragments") {
  check_take<block_of<kv::raw_bf16, float, 64, 8>>(3, 2, false);
  check_take<block_of<kv::raw_bf16, bf16, 96, 16>>(16, 1, false);
  check_take<block_of<per_token, float, 48, 16>>(5, 3, true);
  check_take<block_of<per_channel, f16, 64, 8>>(1, 7, true);
  check_take<block_of<rotated, float, 128, 32>>(4, 8, true);
  check_take<block_of<kv::raw_bf16, bf16, 64, 1>>(1, 1, false);
  check_take<block_of<per_channel, float, 96, 2>>(2, 1, false);
  check_take<block_of<rotated, f16, 64, 2>>(1, 2, false);
}

namespace {

/// Rows with known sums, written as an item's outputs.
template <class Block>
__global__ void __launch_bounds__(cuda::block_threads) write(const __grid_constant__ call_of<Block> c, attention::work_item item, cuda::item_rows_of row_of, const float* m, const float* l, const float* o) {
  const cuda::thread_place me = cuda::thread_place::here();
  typename Block::registers r;
  r.clear();
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
    for (std::uint32_t j = 0; j < Block::lane_rows; ++j) {
      const std::uint32_t row = Block::row_of(b, j, me.at);
      r.m[b][j] = m[row], r.l[b][j] = l[row];
      for (std::uint32_t i = 0; i < Block::own_blocks; ++i)
        for (std::uint32_t k = 0; k < 2; ++k)
          if (const std::uint32_t channel = me.channel(i) + 2 * me.at.g + k; channel < Block::dim) r.o[i][b][Block::lane_rows * k + j] = o[row * Block::dim + channel];
    }
  cuda::write_rows<Block>(*reinterpret_cast<typename Block::memory*>(device::shared_memory()), c, item, row_of, r, me);
}

template <class Block>
void check_write(std::uint32_t group, std::uint32_t tokens, bool sink_logits) {
  constexpr std::uint32_t dim = Block::dim, kv_heads = 2, head = 1, first = 2;
  using row = typename Block::row;
  const std::uint32_t width = group * kv_heads * dim + 16, q_rows = first + tokens + 1;
  auto m = noise(Block::rows, 1), l = noise(Block::rows, 2), o = noise(Block::rows * dim, 3), sinks = noise(group * kv_heads, 4);
  for (float& x : l) x = 1 + x * x;
  m[1] = -INFINITY, l[1] = 0;  // a row that saw nothing
  for (std::uint32_t i = 0; i < dim; ++i) o[dim + i] = 0;
  const device_array<float> device_m(m, "m"), device_l(l, "l"), device_o(o, "o"), device_sinks(sinks, "sink logits");
  device_array<row> out(q_rows * width, "outputs");
  const row before = kv::raw<row>::narrow(-7);
  out.upload(std::vector<row>(q_rows * width, before));
  call_of<Block> c;
  c.shape = {.q_heads = group * kv_heads, .kv_heads = kv_heads, .dim_k = dim, .dim_v = dim};
  if (sink_logits) c.shape.sink_logits = device_sinks.data();
  c.out = out.data(), c.ldo = width;
  const attention::work_item item{0, head, 100, tokens, {}};
  const status launched = device::launch(&write<Block>, {.threads = cuda::block_threads, .shared_bytes = sizeof(typename Block::memory)}, {}, c, item, cuda::item_rows_of{nullptr, nullptr, first}, device_m.data(),
                         device_l.data(), device_o.data());
  device_test::finish();
  REQUIRE(launched);
  const auto got = out.download();
  std::vector<float> want(got.size(), -7.0f);
  for (std::uint32_t r = 0; r < tokens * group; ++r) {
    const double sink = sink_logits ? std::exp(static_cast<double>(sinks[head * group + r % group]) - static_cast<double>(m[r])) : 0.0;
    float* to = want.data() + (first + r / group) * width + (head * group + r % group) * dim;
    for (std::uint32_t i = 0; i < dim; ++i) to[i] = l[r] > 0 ? static_cast<float>(static_cast<double>(o[r * dim + i]) / (static_cast<double>(l[r]) + sink)) : 0.0f;
    if constexpr (Block::rotated_values) kv::hadamard_rotate(to, dim);
  }
  const float unit = std::is_same_v<row, float> ? 2e-6f : std::is_same_v<row, f16> ? 0x1p-11f : 0x1p-8f;  // half a step of the format
  for (std::size_t i = 0; i < got.size(); ++i)
    if (const float x = kv::raw<row>::widen(got[i]); !(std::fabs(x - want[i]) <= unit * std::max(1.0f, std::fabs(want[i])))) FAIL("element " << i << ": " << x << " for " << want[i]);
}

}  // namespace

TEST_CASE("cuda queries: outputs are o / l, sink logits in the denominator only, nothing written beside an item's rows") {
  for (bool sinks : {false, true}) {
    check_write<block_of<kv::raw_bf16, float, 64, 8>>(3, 2, sinks);
    check_write<block_of<kv::raw_bf16, bf16, 96, 16>>(5, 3, sinks);
    check_write<block_of<rotated, f16, 64, 16>>(4, 4, sinks);
    check_write<block_of<rotated, float, 96, 8>>(2, 1, sinks);
    check_write<block_of<rotated, bf16, 64, 2>>(2, 1, sinks);
    check_write<block_of<kv::raw_bf16, float, 48, 2>>(1, 2, sinks);
  }
}
