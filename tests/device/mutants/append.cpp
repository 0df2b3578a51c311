// SPDX-License-Identifier: Apache-2.0
// Appending: rotated 4-bit codes, spans over several tiles, turned keys, a row that is not finite.
#include "attention/cuda/append_check.hpp"

TEST_CASE("appending") {
  const quire::rope r{.style = quire::rope_style::halves, .dims = 24};
  append_check::check<float>(quire::kv::paged<cuda_fixture::rotated<4>>({2, 2, 32}), {{40, 100}, {63, 1}, {10, 120}, {100, 27}}, &r, 120);
}
