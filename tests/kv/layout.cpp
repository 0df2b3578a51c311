// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/layout.hpp"

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/paged.hpp"

using namespace quire;

namespace {

using base = kv::paged<kv::raw_bf16>;
using quantized = kv::codec_pair<kv::integer<4, kv::group::row>>;

/// Copies of a layout that miss one member each.
struct sealed_tails : base {
  using raw_pair = quantized;  // an open tail needs single tokens
  quantized raw() const noexcept { return {}; }
};
struct no_traits : base {
  static void traits();
};
struct no_rule : base {
  static void rule();
};
struct no_groups : base {
  std::uint32_t groups() const noexcept = delete;
};
struct other_pair : base {
  quantized sealed() const noexcept { return {}; }
};
struct throwing_slot : base {
  kv::head_slot slot(std::uint32_t, std::uint32_t) const { return {}; }
};
struct no_visibility : base {
  bool group_sees(std::uint32_t) const noexcept { return true; }
};
struct no_state : base {
  kv::state_plan state() const noexcept = delete;
};
struct no_overlay : base {
  std::uint32_t overlay_tiles(std::uint32_t) const noexcept = delete;
};
struct owning : base {
  owning() = default;
  owning(const owning& o) : base(o) {}
};
/// A layout with a state block, for the formula.
struct with_state : base {
  using base::base;
  kv::state_plan state() const noexcept { return {24, {5, 0}, {{.masks = 20}, {}}}; }
};

/// Tile by tile, token by token.
template <kv::Layout L>
std::size_t counted_bytes(const L& l, std::uint32_t length) {
  std::size_t bytes = l.state().bytes();
  const extents e = l.extent();
  for (std::uint32_t layer = 0; layer < e.layers; ++layer)
    for (std::uint32_t head = 0; head < e.kv_heads; ++head) {
      bytes += l.raw().piece_bytes(e.head_dim);
      const kv::visibility v = l.group_sees(l.slot(layer, head).group);
      for (std::uint32_t t = 0; (t + 1) * 64 <= length; ++t) {
        bool seen = false;
        for (std::uint32_t later = length; later < length + 70; ++later)
          for (std::uint32_t j = 0; j < 64; ++j) seen = seen || v.sees(later, t * 64 + j);
        bytes += seen ? l.sealed().piece_bytes(e.head_dim) : 0;
      }
    }
  return bytes;
}

}  // namespace

static_assert(kv::Layout<base> && kv::Layout<with_state>);
static_assert(!kv::Layout<sealed_tails> && !kv::Layout<no_traits> && !kv::Layout<no_rule> && !kv::Layout<no_groups> && !kv::Layout<other_pair>);
static_assert(!kv::Layout<throwing_slot> && !kv::Layout<no_visibility> && !kv::Layout<no_state> && !kv::Layout<no_overlay> && !kv::Layout<owning>);

TEST_CASE("sequence bytes by formula equal a count of every tile that is still seen") {
  const extents e{2, 3, 24};
  const std::uint8_t keep[] = {1, 0, 0, 0, 1, 0};
  const kv::head_classes classes(e, keep);
  for (std::uint32_t length : {0u, 1u, 63u, 64u, 65u, 127u, 128u, 200u, 256u, 300u, 319u, 320u, 700u}) {
    CAPTURE(length);
    CHECK(kv::sequence_bytes(kv::paged<quantized>(e), length) == counted_bytes(kv::paged<quantized>(e), length));
    for (std::uint32_t sinks : {0u, 64u, 70u})
      for (std::uint32_t window : {1u, 64u, 65u, 130u}) {
        const kv::head_split<quantized> split(e, classes, {.sinks = sinks, .window = window});
        CAPTURE(sinks, window);
        CHECK(kv::sequence_bytes(split, length) == counted_bytes(split, length));
      }
  }
  CHECK(kv::sequence_bytes(with_state(e), 64) == kv::sequence_bytes(base(e), 64) + 800);
}

TEST_CASE("bytes a token are what a long sequence grows by") {
  const extents e{2, 2, 64};
  const std::uint8_t keep[] = {1, 0, 0, 0};
  const kv::head_classes classes(e, keep);
  const auto growth = [](const auto& l) {
    return static_cast<double>(kv::sequence_bytes(l, 64000) - kv::sequence_bytes(l, 32000)) / 32000;
  };
  const kv::paged<quantized> whole(e);
  const kv::head_split<quantized> split(e, classes, {.sinks = 64, .window = 256});
  CHECK(kv::bytes_per_token(whole) == Approx(growth(whole)));
  CHECK(kv::bytes_per_token(split) == Approx(growth(split)));
  CHECK(kv::bytes_per_token(split) == Approx(kv::bytes_per_token(whole) / 4));
  CHECK(kv::bytes_per_token(base({30, 3, 64})) == 23040);
}

TEST_CASE("contiguous runs are whole pages") {
  const extents e{4, 2, 64};
  CHECK(kv::contiguous_run_bytes(base(e)) == 4 * 2 * 2 * 64 * 64 * 2);
  const std::uint8_t some[] = {1, 0, 0, 0, 1}, every[] = {1, 1, 1, 1, 1, 1, 1, 1};
  const kv::head_classes split(e, some), all(e, every);
  using L = kv::head_split<quantized>;
  CHECK(kv::contiguous_run_bytes(L(e, split, {})) == 2 * quantized{}.piece_bytes(64));
  CHECK(kv::contiguous_run_bytes(L(e, all, {})) == 8 * quantized{}.piece_bytes(64));  // a group without heads moves nothing
}
