// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/encode_balanced.cuh"

#include "attention/cuda/append_check.hpp"
#include "catch.hpp"

using namespace append_check;

namespace {
template <int Bits>
using balanced = kv::codec_pair<kv::balanced<kv::integer<Bits, kv::group::column>>, kv::integer<Bits, kv::group::row>>;
}  // namespace

TEST_CASE("cuda encode: balancers are the CPU's, and so are tiles sealed through them") {
  const kv::paged<balanced<4>> layout({2, 2, 64});
  check<float>(layout, {{0, 150}, {40, 30}, {63, 1}, {64, 64}, {10, 5}, {0, 1}});   // a first tile from several steps, one of another, and none
  for (rope_style style : {rope_style::interleaved, rope_style::halves}) {
    const rope r{.style = style, .dims = 48};
    check<float>(layout, {{0, 70}, {30, 40}}, &r);
  }
  check<bf16>(kv::paged<balanced<2>>({1, 2, 128}), {{20, 60}});
  const std::uint8_t whole[] = {1, 0};
  const kv::head_classes classes({1, 2, 64}, whole);
  check<float>(kv::head_split<balanced<2>>({1, 2, 64}, classes, kv::retain::sinks_window{.sinks = 4, .window = 60}), {{0, 130}});
}
