// SPDX-License-Identifier: Apache-2.0
#include "lm/ggml_types.hpp"

#include <cstring>
#include <string>
#include <vector>

#include "catch.hpp"
#include "ggml_types_golden.hpp"

using namespace quire_lm;

namespace {

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

}  // namespace

TEST_CASE("blocks widen to the same bits as the reference dequantizers") {
  for (const golden_blocks& g : golden) {
    INFO(g.type);
    const type_info* type = nullptr;
    for (std::uint32_t id = 0; id < 64; ++id) {
      if (const auto* t = find_type(id); t != nullptr && std::string(t->name) == g.type) type = t;
    }
    REQUIRE(type != nullptr);
    const auto blocks = from_hex(g.blocks), floats = from_hex(g.floats);
    std::vector<float> got(blocks.size() / type->bytes * type->block);
    REQUIRE(floats.size() == 4 * got.size());
    dequantize(type->type, blocks, got);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < got.size(); ++i) wrong += std::memcmp(&got[i], &floats[4 * i], 4) != 0;
    REQUIRE(wrong == 0);
  }
}

TEST_CASE("widening refuses types it lacks and sizes that do not fit") {
  const std::vector<std::byte> bytes(36);
  std::vector<float> out(32);
  REQUIRE_THROWS_WITH(dequantize(ggml_type::q8_1, bytes, out),
                      Catch::Contains("Q8_1") && Catch::Contains("allowed F32"));
  REQUIRE_THROWS_AS(dequantize(ggml_type::q8_0, bytes, out), bad_input);  // 36 bytes where 34 belong
  REQUIRE_THROWS_AS(dequantize(ggml_type::q8_0, std::span(bytes).first(34), std::span(out).first(31)), bad_input);
  REQUIRE_NOTHROW(dequantize(ggml_type::q8_0, std::span(bytes).first(34), out));
  REQUIRE_NOTHROW(dequantize(ggml_type::q8_0, {}, {}));
  REQUIRE(find_type(4) == nullptr);  // removed from the format
  REQUIRE(find_type(4294967295u) == nullptr);
  REQUIRE_THROWS_AS(info_of(static_cast<ggml_type>(5)), bad_input);
}
