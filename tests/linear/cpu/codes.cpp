// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/cpu/codes.hpp"

#include "catch.hpp"
#include "linear/weights.hpp"

using namespace weights;
using namespace quire::linear::cpu;

namespace {

/// Every weight of a block as kernels see it: scaled codes, and what joins by the sum of the activations.
template <class Block>
void check(source_type type, float middle) {
  namespace hn = quire::simd::hn;
  const quire::simd::f32_tag d;
  const std::uint32_t cols = 96;
  const packed p = pack_all(random_tensor(type, panel_rows, cols, 5));
  std::vector<float> want(cols);
  for (std::uint32_t r = 0; r < panel_rows; ++r) {
    quire::linear::row(p.view, r, want.data());
    const std::size_t part = r / kernel::lanes, lane = r % kernel::lanes;
    for (std::uint32_t b = 0; b < cols / block_cols; ++b) {
      const Block w(p.view.data, b, part);
      for (std::uint32_t c = 0; c < block_cols; ++c) {
        std::uint32_t words[16];
        hn::StoreU(w.code[c / 4], quire::simd::u32_of<quire::simd::f32_tag>{}, words);
        const auto code = static_cast<float>(words[lane] >> 8 * (c % 4) & 255u);
        float value[16];
        hn::StoreU(w.value(hn::Set(d, code), hn::Set(d, 1.0f)), d, value);  // one activation of one
        REQUIRE(value[lane] == Approx(want[b * block_cols + c]).margin(1e-6));
        REQUIRE(code >= 0.0f);
        REQUIRE(code < 2 * middle);
      }
    }
  }
}

}  // namespace

TEST_CASE("blocks of codes are the weights that were packed") {
  check<kernel::q4_1_block>(source_type::q4_1, 8);
  check<kernel::q4_1_block>(source_type::q4_0, 8);
  check<kernel::q8_0_block>(source_type::q8_0, 128);
}
