// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/fold.cuh"

#include <random>

#include "catch.hpp"
#include "device/memory.hpp"
#include "quire/attention/cuda/operand_fp8.cuh"
#include "quire/attention/cuda/operand_gear.cuh"
#include "quire/attention/cuda/operand_integer.cuh"
#include "quire/kv/layout/paged.hpp"

using namespace quire;
using device_test::device_array;
namespace cuda = attention::cuda;

namespace {

constexpr std::uint32_t most_tiles = 3, kv_heads = 2, head = 1;
/// Query heads of a kv head and tokens that a block of `rows` folds.
constexpr std::uint32_t group_of(std::uint32_t rows) { return rows < 8 ? rows : 3; }
constexpr std::uint32_t tokens_of(std::uint32_t rows) { return rows < 8 ? 1 : 2; }

struct fold_case {
  attention::problem p;
  attention::work_item item;
  kv::visibility sees;
  cuda::staged_tile tiles[most_tiles];
  std::uint32_t count = 1;
};

/// One block a case: tiles one after another, as a piece is folded. m, l [case][Rows], o [case][Rows][Dim].
template <class Block>
__global__ void __launch_bounds__(cuda::block_threads) fold(const __grid_constant__ cuda::layer_call<typename Block::layout, float> c, const fold_case* cases, const std::byte* raw, const std::byte* sealed,
                                                            float* m_out, float* l_out, float* o_out) {
  const cuda::thread_place me = cuda::thread_place::here();
  auto& m = *reinterpret_cast<typename Block::memory*>(device::shared_memory());
  const fold_case& f = cases[blockIdx.x];
  if (me.thread == 0) m.head.sees = f.sees;
  cuda::take_queries<Block>(m, c, f.item, {nullptr, nullptr, 0}, me);
  const cuda::row_positions positions(f.item, group_of(Block::rows));
  typename Block::registers r;
  r.clear();
  bool exact = false;
  for (std::uint32_t i = 0; i < f.count; ++i) {
    __syncthreads();
    const auto take = [&]<class Pair>(Pair pair, const std::byte* from) {
      using keys = typename Block::template key_operand<Pair>;
      from += i * pair.piece_bytes(Block::dim);
      keys::stage(m.ring, from, cuda::async_order{me.thread});
      Block::template value_operand<Pair>::stage(m.ring + keys::staged_bytes, from + pair.value_offset(Block::dim), cuda::async_order{me.thread});
      device::copy_commit();
      device::copy_wait<0>();
      __syncthreads();
      cuda::fold_tile<Block, Pair>(m, m.ring, f.tiles[i], f.p, f.item, positions, r, me);
    };
    if (f.tiles[i].form == 0) {
      take(typename Block::raw_pair{}, raw);
      exact = true;
    } else if constexpr (!Block::one_form) {
      if constexpr (Block::rotated_values)
        if (exact) cuda::turn_over<Block>(m, r, me);
      exact = false;
      take(typename Block::sealed_pair{}, sealed);
    }
  }
  if constexpr (Block::rotated_values)
    if (exact) cuda::turn_over<Block>(m, r, me);
  cuda::gather_sums<Block>(m, r, me);
  for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
    for (std::uint32_t j = 0; j < Block::lane_rows && Block::speaks(me.at); ++j) {
      const std::uint32_t row = blockIdx.x * Block::rows + Block::row_of(b, j, me.at);
      if (me.warp == 0 && me.at.g == 0) m_out[row] = r.m[b][j], l_out[row] = r.l[b][j];
      for (std::uint32_t i = 0; i < Block::own_blocks; ++i)
        for (std::uint32_t k = 0; k < 2; ++k)
          if (const std::uint32_t channel = me.channel(i) + 2 * me.at.g + k; channel < Block::dim) o_out[row * Block::dim + channel] = r.o[i][b][Block::lane_rows * k + j];
    }
}

/// Every edge of every mask, then what changes logits, then several tiles.
std::vector<fold_case> cases_of(std::uint32_t dim, std::uint32_t rows, bool both_forms, const float* alibi) {
  const std::uint32_t group = group_of(rows), query_tokens = tokens_of(rows);
  std::vector<fold_case> cases;
  constexpr std::uint32_t at = 640;
  const auto add = [&](auto&& change) {
    for (std::uint8_t form = 0; form < (both_forms ? 2 : 1); ++form) {
      fold_case f;
      f.p = {.q_heads = group * kv_heads, .kv_heads = kv_heads, .dim_k = dim, .dim_v = dim};
      f.item = {0, head, at + 700, query_tokens, {}};
      for (std::uint32_t i = 0; i < most_tiles; ++i)
        f.tiles[i] = {.live = ~std::uint64_t{0}, .position = static_cast<std::int32_t>(at + i * tile_tokens), .bias = 0, .begin = 0, .form = form, .exempt = false, .whole = false, .last = false, .turns = false};
      change(f);
      cases.push_back(f);
    }
  };
  add([](fold_case& f) { f.tiles[0].whole = true; });
  for (std::uint32_t first : {at - 2, at - 1, at, at + 1, at + 15, at + 16, at + 30, at + 61, at + 62, at + 63, at + 64}) add([&](fold_case& f) { f.item.first = first; });
  for (std::uint32_t begin : {at - 1, at, at + 1, at + 17, at + 62, at + 63, at + 64}) {  // where the window of the first row begins
    const std::uint32_t query = at + 100, window = query + 1 - begin;
    add([&](fold_case& f) { f.item.first = query, f.sees.window = window; });
    add([&](fold_case& f) { f.item.first = query, f.p.window = window; });
    add([&](fold_case& f) { f.item.first = query, f.sees.window = window, f.tiles[0].exempt = true; });
    add([&](fold_case& f) { f.item.first = query, f.p.window = window, f.tiles[0].exempt = true; });
  }
  for (std::uint32_t sinks : {at - 1, at, at + 1, at + 33, at + 63, at + 64}) add([&](fold_case& f) { f.sees = {sinks, 10}; });
  add([](fold_case& f) { f.sees = {at + 7, 10}, f.item.first = at + 30; });  // sinks, a gap and a window in one tile
  for (std::uint64_t live : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 63, std::uint64_t{0x00ff00f0a5a55a5a}, ~std::uint64_t{0} >> 1}) add([&](fold_case& f) { f.tiles[0].live = live; });
  add([](fold_case& f) { f.tiles[0].exempt = true, f.item.first = 3; });  // an exempt token is seen from anywhere
  add([](fold_case& f) { f.tiles[0].bias = -1.5f, f.tiles[0].whole = true; });
  add([](fold_case& f) { f.p.softcap = 4, f.tiles[0].whole = true; });
  add([&](fold_case& f) { f.p.alibi = alibi, f.tiles[0].whole = true; });
  add([&](fold_case& f) { f.p.softcap = 7, f.p.alibi = alibi, f.tiles[0].bias = 0.5f, f.item.first = at + 40; });
  add([](fold_case& f) { f.count = 3; });                                                                  // later maxima rescale what stands
  add([](fold_case& f) { f.count = 3, f.tiles[0].live = 0, f.tiles[1].live = 6; });                        // a state that begins as the identity
  add([](fold_case& f) { f.count = 3, f.tiles[2].live = 0, f.tiles[1].bias = 30; });                       // a large logit, then nothing
  add([](fold_case& f) { f.count = 3, f.tiles[0].bias = 200, f.tiles[2].bias = -200; });
  if (both_forms) add([](fold_case& f) { f.count = 3, f.tiles[0].form = 0, f.tiles[1].form = 1, f.tiles[2].form = 1, f.item.first = at + 150; });  // exact, then sealed
  return cases;
}

template <class Block>
void check() {
  constexpr std::uint32_t dim = Block::dim, rows = Block::rows, group = group_of(rows), query_tokens = tokens_of(rows), count = query_tokens * group;
  using raw_pair = typename Block::raw_pair;
  using sealed_pair = typename Block::sealed_pair;
  const kv::tile_shape ks = kv::shape_of(kv::side::key, dim), vs = kv::shape_of(kv::side::value, dim);
  std::mt19937 random(dim + rows);
  std::normal_distribution<float> normal;
  // Queries that bf16 holds exactly once they are scaled; tiles in both forms and what those stand for [form][tile].
  std::vector<float> q(query_tokens * group * kv_heads * dim);
  for (float& x : q) x = static_cast<float>(static_cast<int>(random() % 33) - 16) / 8;
  std::vector<std::byte> raw(most_tiles * raw_pair{}.piece_bytes(dim)), sealed(most_tiles * sealed_pair{}.piece_bytes(dim));
  std::vector<float> keys[2][most_tiles], values[2][most_tiles], backbone[most_tiles];  // of sealed keys without their repairs
  const auto seal = [&]<class Pair>(Pair pair, std::uint32_t t, std::vector<std::byte>& to, std::vector<float>& k, std::vector<float>& v) {
    std::byte* at = to.data() + t * pair.piece_bytes(dim);
    const auto x = k, y = v;
    pair.key.encode({.which = kv::side::key}, ks, x.data(), at), pair.key.decode({.which = kv::side::key}, ks, at, k.data());
    at += pair.value_offset(dim);
    pair.value.encode({.which = kv::side::value}, vs, y.data(), at), pair.value.decode({.which = kv::side::value}, vs, at, v.data());
  };
  for (std::uint32_t t = 0; t < most_tiles; ++t) {
    keys[0][t].resize(ks.elements()), values[0][t].resize(vs.elements());
    for (float& x : keys[0][t]) x = normal(random);
    for (float& x : values[0][t]) x = normal(random) + 0.5f;
    keys[1][t] = keys[0][t], values[1][t] = values[0][t];
    seal(raw_pair{}, t, raw, keys[0][t], values[0][t]);
    seal(sealed_pair{}, t, sealed, keys[1][t], values[1][t]);
    backbone[t] = keys[1][t];
    if constexpr (requires { sealed_pair::key_codec::rank; }) sealed_pair{}.key.base.decode({.which = kv::side::key}, ks, sealed.data() + t * sealed_pair{}.piece_bytes(dim), backbone[t].data());
  }
  const std::vector<float> slopes{0.5f, 0.25f, 0.03f, 0.02f, 0.01f, 0.004f};
  const device_array<float> device_q(q, "queries"), device_slopes(slopes, "slopes");
  const device_array<std::byte> device_raw(raw, "raw tiles"), device_sealed(sealed, "sealed tiles");
  const auto cases = cases_of(dim, rows, !Block::one_form, device_slopes.data());
  const device_array<fold_case> device_cases(cases, "cases");
  device_array<float> m(cases.size() * rows, "m"), l(cases.size() * rows, "l"), o(cases.size() * rows * dim, "o");
  cuda::layer_call<typename Block::layout, float> c;
  c.shape = cases[0].p, c.shape.scale = 0.25f;
  c.q = device_q.data(), c.ldq = group * kv_heads * dim;
  const status launched = device::launch(&fold<Block>, {.blocks = static_cast<std::uint32_t>(cases.size()), .threads = cuda::block_threads, .shared_bytes = sizeof(typename Block::memory)}, {}, c, device_cases.data(),
                         device_raw.data(), device_sealed.data(), m.data(), l.data(), o.data());
  device_test::finish();
  REQUIRE(launched);
  const auto got_m = m.download(), got_l = l.download(), got_o = o.download();

  // Coefficients are rounded to bf16 on their way into tensor cores' products; the rest is f32.
  const auto rounded = [](float x) { return static_cast<double>(Block::on_cores ? x : bf16::from(x).to_float()); };
  const auto dot = [&](const std::vector<float>& row, std::uint8_t form, std::uint32_t t, std::uint32_t token) {
    double sum = 0;
    for (std::uint32_t i = 0; i < dim; ++i) {
      const double x = static_cast<double>((form == 1 ? backbone : keys[0])[t][i * tile_tokens + token]), repair = static_cast<double>(keys[form][t][i * tile_tokens + token]) - x;
      double scale = 1, minimum = 0;
      using codec = typename sealed_pair::key_codec;
      const std::byte* at = sealed.data() + t * sealed_pair{}.piece_bytes(dim);
      if (form == 1) {
        const auto affine = [&]<class C>(C) {
          if constexpr (requires { C::minima(ks, at); }) {
            const double by = static_cast<double>(C::scales(ks, at)[C::group_of(ks, i, token)].to_float());
            minimum = static_cast<double>(C::minima(ks, at)[C::group_of(ks, i, token)].to_float()) + (1 << (C::bits - 1)) * by;
            if constexpr (C::grouping == kv::group::row) scale = by;
          }
        };
        if constexpr (requires { typename codec::base_codec; }) affine(typename codec::base_codec{});
        else affine(codec{});
      }
      sum += rounded(row[i] * static_cast<float>(scale)) * ((x - minimum) / scale) + static_cast<double>(row[i]) * (minimum + repair);
    }
    return sum;
  };
  for (std::uint32_t n = 0; n < cases.size(); ++n)
    for (std::uint32_t row = 0; row < count; ++row) {
      const fold_case& f = cases[n];
      const std::uint32_t query = f.item.first + row / group;
      std::vector<float> mine[2];
      for (std::uint32_t i = 0; i < dim; ++i) mine[0].push_back(q[(row / group) * c.ldq + (head * group + row % group) * dim + i] * c.shape.scale);
      mine[1] = mine[0];
      if constexpr (Block::rotated_keys) kv::hadamard_rotate(mine[1].data(), dim);
      double top = -INFINITY, sum = 0;
      std::vector<double> logits, want(dim), spread(dim);
      for (std::uint32_t t = 0; t < f.count; ++t)
        for (std::uint32_t token = 0; token < tile_tokens; ++token) {
          const auto key = static_cast<std::uint32_t>(f.tiles[t].position) + token;
          const bool model = f.p.window == kv::visibility::everything || kv::visibility{0, f.p.window}.sees(query, key);
          if ((f.tiles[t].live >> token & 1u) == 0 || !model || !(f.tiles[t].exempt || f.sees.sees(query, key))) {
            logits.push_back(-INFINITY);
            continue;
          }
          double x = dot(mine[f.tiles[t].form], f.tiles[t].form, t, token);
          if (f.p.softcap != 0) x = static_cast<double>(f.p.softcap) * std::tanh(x / static_cast<double>(f.p.softcap));
          if (f.p.alibi) x += static_cast<double>(slopes[head * group + row % group]) * (static_cast<double>(key) - query);
          logits.push_back(x + static_cast<double>(f.tiles[t].bias));
          top = std::max(top, logits.back());
        }
      for (std::size_t j = 0; j < logits.size(); ++j) {
        if (!(logits[j] > -INFINITY)) continue;
        const double w = std::exp(logits[j] - top);
        const auto t = static_cast<std::uint32_t>(j / tile_tokens), token = static_cast<std::uint32_t>(j % tile_tokens);
        std::vector<float> v(values[f.tiles[t].form][t].begin() + token * dim, values[f.tiles[t].form][t].begin() + (token + 1) * dim);
        if constexpr (Block::rotated_values)
          if (f.tiles[t].form == 0) kv::hadamard_rotate(v.data(), dim);  // a piece is summed in the basis of rotated values
        sum += w;
        double size = 0;
        for (std::uint32_t i = 0; i < dim; ++i) size = std::max(size, std::fabs(static_cast<double>(v[i])));
        for (std::uint32_t i = 0; i < dim; ++i) want[i] += w * static_cast<double>(v[i]), spread[i] += w * (f.tiles[t].form == 1 || Block::rotated_values ? size : std::fabs(static_cast<double>(v[i])));
      }
      CAPTURE(n, row, dim);
      if (top == -INFINITY) {
        CHECK((got_m[n * rows + row] == -INFINITY && got_l[n * rows + row] == 0));
      } else {
        CHECK(std::fabs(static_cast<double>(got_m[n * rows + row]) - top) <= 2e-5 * (1 + std::fabs(top)));
        CHECK(std::fabs(static_cast<double>(got_l[n * rows + row]) - sum) <= 1e-4 * sum);
      }
      for (std::uint32_t i = 0; i < dim; ++i)  // weights are rounded to bf16, but for CUDA cores
        if (const double x = static_cast<double>(got_o[(n * rows + row) * dim + i]); !(std::fabs(x - want[i]) <= (Block::on_cores ? 1e-4 : 0x1p-8) * spread[i] + 1e-5 * sum)) FAIL("channel " << i << ": " << x << " for " << want[i]);
    }
}

template <int Bits>
using per_token = kv::codec_pair<kv::integer<Bits, kv::group::column>, kv::integer<Bits, kv::group::row>>;
using per_channel = kv::codec_pair<kv::integer<4, kv::group::row>>;
using rotated = kv::codec_pair<kv::hadamard<kv::integer<4, kv::group::column>>, kv::hadamard<kv::integer<4, kv::group::row>>>;
template <int Bits>
using in_groups = kv::codec_pair<kv::integer<Bits, kv::group::row, 32>>;
using repaired = kv::codec_pair<kv::gear<kv::integer<2, kv::group::row>, 2, 2>>;
using repaired_groups = kv::codec_pair<kv::gear<kv::integer<4, kv::group::row, 32>, 2, 2>>;
template <class Pair, std::uint32_t Dim, std::uint32_t Rows>
using block_of = cuda::fold_block<kv::paged<Pair>, float, Dim, Rows, 5>;
template <std::uint32_t Dim, std::uint32_t Rows>
using f32_block = cuda::fold_block<kv::paged<kv::raw_f32, kv::raw_f32>, float, Dim, Rows, 5>;

}  // namespace

TEST_CASE("cuda fold: one tile, masks at every edge, logits changed in every way, and what several tiles make together") {
  check<block_of<kv::raw_bf16, 32, 8>>();
  check<block_of<kv::raw_bf16, 96, 16>>();
  check<block_of<kv::codec_pair<kv::fp8>, 48, 8>>();
  check<block_of<per_token<8>, 64, 8>>();
  check<block_of<per_channel, 32, 16>>();
  check<block_of<rotated, 64, 8>>();
  check<block_of<repaired, 64, 16>>();
  check<block_of<in_groups<3>, 64, 8>>();
  check<block_of<in_groups<4>, 96, 16>>();   // of six blocks of channels two warps have one alone
  check<block_of<repaired_groups, 64, 8>>();
  check<f32_block<32, 8>>();
}

TEST_CASE("cuda fold: the same for one and two rows on CUDA cores") {
  check<block_of<kv::raw_bf16, 32, 1>>();
  check<block_of<kv::raw_bf16, 96, 2>>();
  check<block_of<kv::codec_pair<kv::fp8>, 48, 2>>();
  check<block_of<per_token<8>, 64, 1>>();
  check<block_of<per_channel, 32, 2>>();
  check<block_of<rotated, 64, 2>>();
  check<block_of<repaired, 64, 1>>();
  check<block_of<in_groups<3>, 64, 2>>();
  check<f32_block<48, 2>>();
}
