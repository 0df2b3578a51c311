// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/cpu/multiply_amx.hpp"

#include <cstdio>

#include "catch.hpp"
#include "linear/weights.hpp"
#include "quire/linear/cpu/multiply.hpp"

using namespace weights;
using namespace quire::linear::cpu;

TEST_CASE("products on matrix registers have the bits of vector products, in any slices of the columns") {
  if (!kernel::uses_tiles()) {
    std::puts("skipped: no matrix registers (AMX) on this machine");
    return;
  }
  constexpr std::uint32_t rows = 32, n = 3 * group_rows;
  std::mt19937 random(31);
  std::normal_distribution<float> normal;
  for (const source_type type : {source_type::q4_0, source_type::q4_1, source_type::q8_0})
    for (const std::uint32_t blocks : {1u, 2u, 5u, 64u}) {
      const std::uint32_t cols = blocks * block_cols;
      const packed p = pack_all(random_tensor(type, rows, cols, cols));
      std::vector<float> x(n * cols), want(n * rows), got(n * rows);
      for (float& v : x) v = normal(random);
      std::vector<std::byte> work(activations::workspace_bytes(n, cols));
      const activations in{x.data(), cols, n, cols, work.data()};
      REQUIRE(quantize(in));
      for (std::uint32_t panel = 0; panel < 2; ++panel) {
        const std::byte* const w = p.view.data + panel * panel_bytes(p.view.type, cols);
        for (std::uint32_t r = 0; r < n; r += 8)
          kernel::multiply_rows<8>(p.view, w, in, r, want.data() + r * rows + panel * panel_rows, rows, panel_rows, store_mode::assign);
        for (const std::uint32_t slice : {1u, 2u, 64u}) {
          std::vector<float> total(n * panel_rows);
          for (std::uint32_t b = 0; b < blocks; b += slice) {
            const std::uint32_t end = std::min(b + slice, blocks);
            const kernel::tile_outputs to{total.data(), got.data() + panel * panel_rows, rows, panel_rows, store_mode::assign};
            if (type == source_type::q8_0) kernel::multiply_tiles<kernel::q8_0_block>(w, b, end, in, 0, 3, to);
            else kernel::multiply_tiles<kernel::q4_1_block>(w, b, end, in, 0, 3, to);
          }
          for (std::uint32_t r = 0; r < n; ++r) REQUIRE(std::memcmp(&got[r * rows + panel * panel_rows], &want[r * rows + panel * panel_rows], panel_rows * 4) == 0);
        }
      }
    }
  quire::amx::release();
}
