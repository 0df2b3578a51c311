// SPDX-License-Identifier: Apache-2.0
// Codecs, layouts, head sizes, groups and dealings with one another: a list in which every pair of them meets, and all of them.
// One combination is one kernel; groups and dealings are asked of it in turn.
#pragma once

#include "attention/cuda/fixture.hpp"
#include "catch.hpp"

namespace composed {

using namespace cuda_fixture;

enum codec : std::uint32_t { with_bf16, with_f16, with_fp8, with_int8, with_int4, with_int2, with_int4_channel, with_int4_rotated, with_int8_rotated, with_gear_2, with_int3_groups, codecs };
enum layout_kind : std::uint32_t { in_pages, in_two_groups, in_windows, layouts };
enum dealing : std::uint32_t { by_lean_split, by_no_split, by_fixed_split, by_heuristic, dealings };
inline constexpr std::uint32_t dims[] = {64, 96, 128, 256}, head_sizes = 4;
inline constexpr std::uint32_t query_groups[] = {1, 3, 4, 8, 16}, group_sizes = 5;

/// Pairs of codecs, the format of exact rows, and the largest difference to the double reference that is allowed: about twice what
/// was measured over the full grid. The reference reads the same tiles, so what differs is rounding alone: queries and weights go to
/// tensor cores as bf16 (2^-8, f16: 2^-11), the queries of keys with scales by channels once more for each tile.
template <std::uint32_t Codec>
struct codec_of;
template <class Pair, class Raw = kv::raw_bf16>
struct codec_types {
  using pair = Pair;
  using raw = Raw;
};
template <> struct codec_of<with_bf16> : codec_types<kv::raw_bf16> { static constexpr double bound = 0.023; };
template <> struct codec_of<with_f16> : codec_types<kv::raw_f16, kv::raw_f16> { static constexpr double bound = 0.003; };
template <> struct codec_of<with_fp8> : codec_types<kv::codec_pair<kv::fp8>> { static constexpr double bound = 0.025; };
template <> struct codec_of<with_int8> : codec_types<per_token<8>> { static constexpr double bound = 0.03; };
template <> struct codec_of<with_int4> : codec_types<per_token<4>> { static constexpr double bound = 0.03; };
template <> struct codec_of<with_int2> : codec_types<per_token<2>> { static constexpr double bound = 0.03; };
template <> struct codec_of<with_int4_channel> : codec_types<per_channel<4>> { static constexpr double bound = 0.02; };
template <> struct codec_of<with_int4_rotated> : codec_types<rotated<4>> { static constexpr double bound = 0.027; };
template <> struct codec_of<with_int8_rotated> : codec_types<rotated<8>> { static constexpr double bound = 0.027; };
template <> struct codec_of<with_int3_groups> : codec_types<per_channel<3, 32>> { static constexpr double bound = 0.03; };
template <> struct codec_of<with_gear_2> : codec_types<repaired<2>> { static constexpr double bound = 0.03; };

/// Keys of 2 and 3 bits stand sixteen rows a word.
constexpr bool exists(std::uint32_t c, std::uint32_t size) { return (c != with_int2 && c != with_gear_2 && c != with_int3_groups) || dims[size] % 64 == 0; }

/// The list: every codec meets every head size; layouts and two groups are dealt to those.
struct combination {
  std::uint32_t codec, size, layout, group[2];
  constexpr std::uint32_t rows() const { return query_groups[group[0]] > 8 || query_groups[group[1]] > 8 ? 16 : 8; }
};
constexpr combination chosen(std::uint32_t c, std::uint32_t size) {
  constexpr std::uint32_t turn[] = {0, 0, 1, 2};
  return {c, size, (c + turn[size]) % layouts, {(c + size) % group_sizes, (c + size + 4) % group_sizes}};
}
constexpr bool every_pair_meets() {
  bool codec_layout[codecs][layouts] = {}, codec_group[codecs][group_sizes] = {}, size_layout[head_sizes][layouts] = {}, size_group[head_sizes][group_sizes] = {}, layout_group[layouts][group_sizes] = {};
  for (std::uint32_t c = 0; c < codecs; ++c)
    for (std::uint32_t d = 0; d < head_sizes; ++d) {
      if (!exists(c, d)) continue;
      const combination x = chosen(c, d);
      codec_layout[c][x.layout] = size_layout[d][x.layout] = true;
      for (std::uint32_t g : x.group) codec_group[c][g] = size_group[d][g] = layout_group[x.layout][g] = true;
    }
  const auto all = [](const auto& table) {
    for (const auto& row : table)
      for (bool met : row)
        if (!met) return false;
    return true;
  };
  return all(codec_layout) && all(codec_group) && all(size_layout) && all(size_group) && all(layout_group);
}
static_assert(every_pair_meets());

/// Largest differences found, by codec.
inline double& worst_of(std::uint32_t c) {
  static double most[codecs];
  return most[c];
}

/// f(layout) of a kind for two layers of two kv heads.
template <std::uint32_t Codec, std::uint32_t Kind, class F>
void with_layout(std::uint32_t dim, std::uint32_t salt, F&& f) {
  using types = codec_of<Codec>;
  const extents e{2, 2, dim};
  if constexpr (Kind == in_pages) {
    f(kv::paged<typename types::pair, typename types::raw>(e));
  } else {
    constexpr std::uint8_t some[] = {1, 0, 0, 1}, none[4] = {};
    const kv::head_classes classes(e, Kind == in_two_groups ? some : none);
    f(kv::head_split<typename types::pair, typename types::raw>(e, classes, kv::retain::sinks_window{.sinks = 4 + salt * 37 % 300, .window = 130 + salt * 71 % 400}));
  }
}
template <std::uint32_t Codec, std::uint32_t Kind>
using layout_of = std::conditional_t<Kind == in_pages, kv::paged<typename codec_of<Codec>::pair, typename codec_of<Codec>::raw>, kv::head_split<typename codec_of<Codec>::pair, typename codec_of<Codec>::raw>>;

/// f(policy).
template <class F>
void with_policy(std::uint32_t d, F&& f) {
  if (d == by_lean_split) f(attention::lean_split{});
  else if (d == by_no_split) f(attention::no_split{});
  else if (d == by_fixed_split) f(attention::fixed_split{{}, 3});
  else f(attention::heuristic_split{});
}

/// CUDA cores round nothing but sums: what is allowed is about twice what was measured.
template <std::uint32_t Codec, std::uint32_t Rows>
constexpr double bound_of() { return Rows < 8 ? 5e-6 : codec_of<Codec>::bound; }

/// A ragged batch within the bound for one dealing; others give the same bits.
template <std::uint32_t Codec, std::uint32_t Kind, std::uint32_t Dim, std::uint32_t Rows>
void check_group(std::uint32_t group, std::initializer_list<std::uint32_t> dealt, std::uint32_t salt) {
  using kernel = cuda::attend<layout_of<Codec, Kind>, Dim, Rows>;
  const attention::problem p{.q_heads = 2 * group, .kv_heads = 2, .dim_k = Dim, .dim_v = Dim};
  REQUIRE(kernel::supports(p));
  with_layout<Codec, Kind>(Dim, salt, [&](const layout_of<Codec, Kind>& layout) {
    step<layout_of<Codec, Kind>> s(layout, p, 4, 1100);
    std::mt19937 random(salt);
    s.add(random() % 64, 1, salt);
    s.add(64 * (1 + random() % 8) - 1, 1 + random() % 3, salt + 1);  // over a tile's end or up to it
    s.add(random() % 300, 1, salt + 2);
    s.add(500 + random() % 550, 1, salt + 3);
    const device_cache<layout_of<Codec, Kind>> cache(s.store());
    std::vector<float> first;
    for (std::uint32_t d : dealt)
      with_policy(d, [&](const auto& policy) {
        CAPTURE(Codec, Kind, Dim, group, d, salt);
        const any_plan plan(s, policy, {.units = 4 + salt % 9, .block_rows = Rows});
        const auto out = run<kernel>(s, cache, plan);
        if (!first.empty()) {
          CHECK(out == first);
          return;
        }
        first = out;
        const double most = worst(s, out);
        worst_of(Codec) = most <= worst_of(Codec) ? worst_of(Codec) : most;
        CHECK(most < bound_of<Codec, Rows>());
      });
  });
}

template <std::uint32_t Codec, std::uint32_t Size>
void check_pairs() {
  if constexpr (exists(Codec, Size)) {
    constexpr combination x = chosen(Codec, Size);
    constexpr std::uint32_t salt = Codec * 10 + Size;
    check_group<Codec, x.layout, dims[Size], x.rows()>(query_groups[x.group[0]], {salt % dealings, (salt + 1) % dealings, (salt + 2) % dealings, (salt + 3) % dealings}, salt);
    check_group<Codec, x.layout, dims[Size], x.rows()>(query_groups[x.group[1]], {(salt + 2) % dealings}, salt + 1);
  }
}
/// Every combination of the list that has this codec.
template <std::uint32_t Codec>
void check_codec() {
  check_pairs<Codec, 0>(), check_pairs<Codec, 1>(), check_pairs<Codec, 2>(), check_pairs<Codec, 3>();
}

/// The grid: every codec in this kind of layout at every head size, for every group and dealing.
template <std::uint32_t Codec, std::uint32_t Kind, std::uint32_t Size = 0>
void check_grid() {
  if constexpr (exists(Codec, Size))
    for (std::uint32_t g = 0; g < group_sizes; ++g) {
      const std::uint32_t salt = 1000 + ((Codec * layouts + Kind) * head_sizes + Size) * group_sizes + g;
      check_group<Codec, Kind, dims[Size], 16>(query_groups[g], {salt % dealings, (salt + 1) % dealings, (salt + 2) % dealings, (salt + 3) % dealings}, salt);
    }
  if constexpr (Size + 1 < head_sizes) check_grid<Codec, Kind, Size + 1>();
  else WARN("largest error " << worst_of(Codec));
}

}  // namespace composed
