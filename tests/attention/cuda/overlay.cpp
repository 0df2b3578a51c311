// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/overlay.cuh"

#include "attention/cuda/overlay_check.hpp"
#include "catch.hpp"

using namespace overlay_check;

namespace {

constexpr attention::problem grouped{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
constexpr extents e{2, 2, 64};
constexpr std::uint32_t most = 768;
using kv::rest;

template <class Base, rest Rest = rest::keep>
kv::overlay<Base, Rest> over(const Base& base, const importance& policy = {.share = 0.3f}) { return {base, policy, most}; }

}  // namespace

TEST_CASE("cuda overlay: exact tokens over balanced low-bit ones, what they receive and who is chosen") {
  check<8>(over(kv::paged<balanced<4>>(e)), grouped, 0.03, 0.02);
  attention::problem two = grouped;
  two.q_heads = 4;
  check<2>(over(kv::paged<balanced<2>>(e), {.share = 0.2f, .least = 16, .recent = 0.25f, .per_row = true}), two, 2e-5, 0.02);  // on CUDA cores, f32 throughout
}

TEST_CASE("cuda overlay: tokens that no overlay holds are gone") {
  check<16>(over<kv::paged<kv::raw_bf16>, rest::drop>(kv::paged<kv::raw_bf16>(e), {.share = 0, .least = 130, .most = 130}), grouped, 0.03, 0.02);
}

TEST_CASE("cuda overlay: rotated values beside exact ones, and a base whose other heads drop") {
  check<16>(over(kv::paged<rotated<4>>(e)), grouped, 0.03, 0.02);
  const kv::head_classes classes(e, std::vector<std::uint8_t>{0, 1, 1, 0});
  check<16>(over(kv::head_split<balanced<2>>(e, classes, kv::retain::sinks_window{.sinks = 5, .window = 70})), grouped, 0.03, 0.02);
}

TEST_CASE("cuda overlay: windows, slopes and sink logits go by where a token stood") {
  attention::problem p = grouped, there = grouped;
  const std::vector<float> slopes{0.5f, 0.25f, 0.03f, 0.02f, 0.01f, 0.004f}, sinks{1, 2, -1, 0.5f, 3, 0};
  const device_array<float> device_slopes(slopes, "slopes"), device_sinks(sinks, "sink logits");
  p.alibi = slopes.data(), p.sink_logits = sinks.data(), p.window = 200;
  there = p, there.alibi = device_slopes.data(), there.sink_logits = device_sinks.data();
  check<8>(over(kv::paged<balanced<4>>(e)), p, 0.03, 0.02, &there);
}

TEST_CASE("cuda overlay: choices are the CPU's to the byte, ties too") {
  const attention::problem p{.q_heads = 2, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  for (const importance& policy : {importance{.share = 0.3f}, importance{.share = 0.2f, .least = 16, .recent = 0.25f, .per_row = true}, importance{.share = 1, .recent = 0}, importance{.share = 0, .least = 90, .most = 90},
                                   importance{.share = 0, .least = 0}, importance{.share = 0.5f, .recent = 1}})
    for (std::uint32_t tiles : {0u, 1u, 7u})
      for (int level : {1, 1 << 20}) check_choice(over(kv::paged<balanced<4>>(e), policy), p, tiles, level);
  check_choice(over<kv::paged<kv::raw_f32, kv::raw_f32>, rest::drop>(kv::paged<kv::raw_f32, kv::raw_f32>(e), {.share = 0.4f, .recent = 0.1f}), p, 9, 7);
}
