// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/matrix.hpp"

#include <limits>
#include <stdexcept>
#include <string>

#include "catch.hpp"
#include "weights.hpp"

using namespace weights;

TEST_CASE("a packed row reads back as the file means it") {
  for (const source_type type : all_types)
    for (const std::uint32_t rows : {1u, 15u, 16u, 17u, 50u})
      for (const std::uint32_t cols : {32u, 96u, 576u}) {
        const tensor t = random_tensor(type, rows, cols, rows + cols);
        const packed p = pack_all(t);
        std::vector<float> out(cols);
        for (std::uint32_t r = 0; r < rows; ++r) {
          linear::row(p.view, r, out.data());
          for (std::uint32_t c = 0; c < cols; ++c)
            REQUIRE(out[c] == static_cast<float>(t.values[std::size_t{r} * cols + c]));
        }
      }
}

TEST_CASE("packing slab by slab in any cut equals packing at once") {
  std::mt19937 random(5);
  for (const source_type type : all_types)
    for (const std::uint32_t rows : {1u, 33u, 64u, 77u}) {
      const tensor t = random_tensor(type, rows, 96, rows);
      const packed whole = pack_all(t);
      std::vector<std::byte> pieces(whole.bytes.size());
      const std::size_t stride = source_bytes(type, 96);
      for (std::uint32_t at = 0; at < rows;) {
        const std::uint32_t count = std::min<std::uint32_t>(rows - at, 1 + random() % 20);
        REQUIRE(pack(type, t.source.data() + at * stride, at, count, rows, 96, pieces.data()));
        at += count;
      }
      REQUIRE(pieces == whole.bytes);
    }
}

TEST_CASE("tensors stand under each other in one matrix") {
  const tensor q = random_tensor(source_type::q4_1, 48, 64, 1), k = random_tensor(source_type::q4_1, 21, 64, 2);
  std::vector<std::byte> bytes(packed_bytes(weight_type::q4_1, 69, 64));
  REQUIRE(pack(q.type, q.source.data(), 0, 48, 69, 64, bytes.data()));
  REQUIRE(pack(k.type, k.source.data(), 48, 21, 69, 64, bytes.data()));
  const matrix m{weight_type::q4_1, 69, 64, bytes.data()};
  std::vector<float> out(64);
  for (std::uint32_t r = 0; r < 69; ++r) {
    linear::row(m, r, out.data());
    for (std::uint32_t c = 0; c < 64; ++c)
      REQUIRE(out[c] == static_cast<float>(r < 48 ? q.values[r * 64 + c] : k.values[(r - 48) * 64 + c]));
  }
}

TEST_CASE("packed weights are as dense as the file") {
  for (const source_type type : {source_type::f32, source_type::bf16, source_type::q4_1, source_type::q8_0})
    REQUIRE(packed_bytes(packed_as(type), 4096, 576) == 4096 * source_bytes(type, 576));
  REQUIRE(packed_bytes(weight_type::q4_1, 17, 32) == 2 * 320);
}

TEST_CASE("shapes and bytes that cannot be packed are refused by name") {
  std::vector<std::byte> space(1 << 16);
  const auto refused = [&](source_type type, std::uint32_t first, std::uint32_t count, std::uint32_t rows,
                           std::uint32_t cols) {
    return pack(type, space.data(), first, count, rows, cols, space.data() + 32768);
  };
  REQUIRE(refused(source_type::q4_1, 0, 16, 16, 48).code == errc::unsupported_shape);
  REQUIRE(refused(source_type::q8_0, 0, 16, 16, 16).code == errc::unsupported_shape);
  REQUIRE(refused(source_type::f32, 0, 16, 16, 33).code == errc::unsupported_shape);
  REQUIRE(refused(source_type::f32, 0, 16, 0, 32).code == errc::unsupported_shape);
  REQUIRE(refused(source_type::f32, 0, 16, 16, 0).code == errc::unsupported_shape);
  REQUIRE(refused(source_type::q4_1, 17, 1, 16, 32).code == errc::out_of_range);
  const status late = refused(source_type::q4_1, 8, 9, 16, 32);
  REQUIRE(late.code == errc::out_of_range);
  REQUIRE(late.value == 9);
  REQUIRE(late.high == 8);
  REQUIRE(refused(source_type::q4_1, 16, 0, 16, 32));

  for (const source_type type : {source_type::q4_0, source_type::q4_1, source_type::q8_0}) {
    tensor t = random_tensor(type, 20, 64, 9);
    const std::uint16_t infinite = 0x7c00;
    std::memcpy(t.source.data() + 18 * source_bytes(type, 64), &infinite, 2);
    const status s = pack(type, t.source.data(), 0, 20, 20, 64, space.data());
    REQUIRE(s.code == errc::corrupt);
    REQUIRE(s.value == 18);
  }
}
