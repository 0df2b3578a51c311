// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/huge_pages.hpp"

#include <cstdint>
#include <cstring>
#include <utility>

#include "catch.hpp"

using quire::tier::huge_block;

TEST_CASE("blocks of any size are there to the last byte, aligned to the pages they ask for") {
  CHECK(huge_block().data() == nullptr);
  CHECK(huge_block(0).data() == nullptr);
  for (const std::size_t bytes : {std::size_t{1}, huge_block::small_page, huge_block::large_page - 1, huge_block::large_page, 5 * huge_block::large_page / 2 + 3}) {
    const huge_block b(bytes);
    REQUIRE(b.data() != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(b.data()) % (bytes < huge_block::large_page ? huge_block::small_page : huge_block::large_page) == 0);
    std::memset(b.data(), 0x5a, bytes);
    CHECK(b.data()[bytes - 1] == std::byte{0x5a});
  }
}

TEST_CASE("a block has one owner") {
  huge_block a(huge_block::large_page);
  std::byte* at = a.data();
  huge_block b = std::move(a);
  CHECK(a.data() == nullptr);
  CHECK(b.data() == at);
  b = huge_block(1);  // of another alignment
  CHECK(b.data() != nullptr);
  CHECK(b.data() != at);
}
