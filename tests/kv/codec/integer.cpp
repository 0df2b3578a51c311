// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/codec/integer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "quire/core/checksum.hpp"
#include "quire/kv/codec/hadamard.hpp"

using namespace quire;

namespace {

/// Group of an element: its place along the row or column in steps of the size, then which row or column.
template <class Codec>
std::uint32_t groups_of(kv::tile_shape s, std::uint32_t r, std::uint32_t c) {
  if constexpr (Codec::grouping == kv::group::row) return (Codec::size == 0 ? 0 : c / Codec::size * s.rows) + r;
  return (Codec::size == 0 ? 0 : r / Codec::size * s.columns) + c;
}
template <class Codec>
std::uint32_t groups_in(kv::tile_shape s) {
  return groups_of<Codec>(s, s.rows - 1, s.columns - 1) + 1;
}

template <class Codec>
struct sealed {
  kv::tile_shape s;
  std::vector<std::byte> tile;
  std::vector<float> back;
  sealed(kv::tile_shape shape, const std::vector<float>& x) : s(shape), tile(Codec{}.tile_bytes(shape), std::byte{0xa5}), back(x.size(), -1) {
    Codec{}.encode({}, s, x.data(), tile.data());
    Codec{}.decode({}, s, tile.data(), back.data());
  }
  std::uint32_t group_of(std::uint32_t i) const { return groups_of<Codec>(s, i / s.columns, i % s.columns); }
  float scale(std::uint32_t g) const { return Codec::scales(s, tile.data())[g].to_float(); }
  float minimum(std::uint32_t g) const { return Codec::minima(s, tile.data())[g].to_float(); }
};

/// Half a step inside the coded range. At its ends the f16 minimum (2⁻¹¹ of it) and the f16 scale (2⁻¹¹ of the range, or half
/// the smallest f16 a step) may fall short. f32 arithmetic adds some 2⁻²² of the magnitudes.
template <class Codec>
void check_error(const sealed<Codec>& t, const std::vector<float>& x) {
  for (std::uint32_t i = 0; i < x.size(); ++i) {
    const std::uint32_t g = t.group_of(i);
    const double step = std::max(0.0f, t.scale(g)), low = t.minimum(g), levels = Codec::levels;
    const double ends = std::fabs(low) * 0x1p-11 + 0x1p-25 + levels * (step * 0x1p-11 + 0x1p-25);
    const double inside = x[i] >= low && x[i] <= low + levels * step ? 0 : ends;
    const double bound = step / 2 + inside + 0x1p-20 * (std::fabs(low) + levels * step);
    const double error = std::fabs(static_cast<double>(t.back[i]) - x[i]);
    if (!(error <= bound)) FAIL("element " << i << " is " << x[i] << " but came back as " << t.back[i] << " with step " << step << " and minimum " << low);
  }
}

/// Lanes of 32 bits for each column: 4, 8 or 16 rows each; 3 bits: 2-bit lanes of 16 rows, then 1-bit lanes of 32.
template <class Codec>
std::size_t bytes_of_codes(kv::tile_shape s) {
  const auto lanes = [&](std::uint32_t rows) { return std::size_t{(s.rows + rows - 1) / rows} * s.columns * 4; };
  return Codec::bits == 8 ? lanes(4) : Codec::bits == 4 ? lanes(8) : Codec::bits == 2 ? lanes(16) : lanes(16) + lanes(32);
}
template <class Codec>
std::uint32_t code_at(kv::tile_shape s, const std::uint8_t* b, std::uint32_t r, std::uint32_t c) {
  const auto byte = [&](std::uint32_t rows) { return b[(r / rows * s.columns + c) * 4 + r % 4]; };
  if constexpr (Codec::bits == 8) return byte(4);
  if constexpr (Codec::bits == 4) return byte(8) >> (r % 8 < 4 ? 0 : 4) & 15;
  const std::uint32_t low = byte(16) >> (r % 16 / 4 * 2) & 3;
  if constexpr (Codec::bits == 2) return low;
  b += (s.rows + 15) / 16 * s.columns * 4;
  return low | (byte(32) >> (r % 32 / 4) & 1) << 2;
}

/// The documented bytes, read independently of decode.
template <class Codec>
void check_bytes(const sealed<Codec>& t) {
  const auto* b = reinterpret_cast<const std::uint8_t*>(t.tile.data());
  const std::size_t codes = bytes_of_codes<Codec>(t.s);
  const std::uint32_t groups = groups_in<Codec>(t.s);
  const auto half = [&](std::size_t at) {
    f16 h;
    std::memcpy(&h, b + at, 2);
    return h.to_float();
  };
  for (std::uint32_t r = 0; r < t.s.rows; ++r)
    for (std::uint32_t c = 0; c < t.s.columns; ++c) {
      const std::uint32_t q = code_at<Codec>(t.s, b, r, c), g = groups_of<Codec>(t.s, r, c);
      const double want = half(codes + 2 * groups + 2 * g) + static_cast<double>(half(codes + 2 * g)) * q;
      if (std::fabs(want - t.back[r * t.s.columns + c]) > 1e-6 * (1 + std::fabs(want))) FAIL("row " << r << " column " << c << " holds code " << q);
    }
}

template <class codec>
void check(const char* format) {
  CHECK(codec::format() == std::string(format));
  std::mt19937 random(codec::bits);
  std::normal_distribution<float> normal;
  for (kv::side which : {kv::side::key, kv::side::value})
    for (std::uint32_t dim = 8; dim <= 256; dim += 8) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      REQUIRE(codec{}.tile_bytes(s) == bytes_of_codes<codec>(s) + groups_in<codec>(s) * 4);
      if (s.rows % 32 == 0) REQUIRE(codec{}.tile_bytes(s) == std::size_t{dim} * 64 * codec::bits / 8 + groups_in<codec>(s) * 4);
      for (float spread : {1.0f, 1e-5f, 300.0f})
        for (float centre : {0.0f, 10.0f, -2000.0f}) {
          std::vector<float> x(s.elements());
          for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = centre + spread * normal(random) * (i % 11 == 3 ? 8.0f : 1.0f);
          const sealed<codec> t(s, x);
          check_error(t, x);
          if (dim <= 40) check_bytes(t);
        }
    }
}

template <class Codec>
void check_corners() {
  for (std::uint32_t dim : {8u, 24u, 64u, 256u})
    for (kv::side which : {kv::side::key, kv::side::value}) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      std::vector<float> x(s.elements(), 0.0f);
      const sealed<Codec> zeros(s, x);
      CHECK(zeros.back == x);
      for (std::byte b : zeros.tile)
        if (b != std::byte{0}) FAIL("a tile of zeros holds a byte that is not zero");
      // constant groups that f16 can say are exact; others are within f16 rounding
      for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(zeros.group_of(i)) - 30.5f;
      CHECK(sealed<Codec>(s, x).back == x);
      for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = (static_cast<float>(zeros.group_of(i)) - 30.5f) * 0.1001f;
      const sealed<Codec> tenths(s, x);
      for (std::uint32_t i = 0; i < x.size(); ++i)
        if (std::fabs(tenths.back[i] - x[i]) > std::fabs(x[i]) * 0x1p-11f) FAIL("constant " << x[i] << " came back as " << tenths.back[i]);
      // the ends of a range f16 can say, and every level between them
      for (std::uint32_t i = 0; i < x.size(); ++i) {
        std::uint32_t place = Codec::grouping == kv::group::row ? i % s.columns : i / s.columns;
        if constexpr (Codec::size != 0) place %= Codec::size;
        x[i] = static_cast<float>(place % (Codec::levels + 1)) - 7;
        if (place == 1) x[i] = static_cast<float>(Codec::levels) - 7;
      }
      CHECK(sealed<Codec>(s, x).back == x);
    }
}

}  // namespace

TEST_CASE("integer codecs come back within half a step") {
  using kv::group, kv::integer;
  check<integer<4, group::row>>("int4-row.1");
  check<integer<4, group::column>>("int4-column.1");
  check<integer<8, group::row>>("int8-row.1");
  check<integer<8, group::column>>("int8-column.1");
  check<integer<2, group::row>>("int2-row.1");
  check<integer<3, group::column>>("int3-column.1");
}
TEST_CASE("integer codecs of short groups come back within half a step") {
  using kv::group, kv::integer;
  check<integer<2, group::row, 32>>("int2-row32.1");
  check<integer<2, group::column, 32>>("int2-column32.1");
  check<integer<3, group::row, 32>>("int3-row32.1");
  check<integer<4, group::column, 64>>("int4-column64.1");
  check<integer<8, group::row, 128>>("int8-row128.1");
}

TEST_CASE("integer codecs are exact for zeros constants and whole steps") {
  using kv::group, kv::integer;
  check_corners<integer<4, group::row>>();
  check_corners<integer<4, group::column>>();
  check_corners<integer<8, group::row>>();
  check_corners<integer<8, group::column>>();
  check_corners<integer<2, group::row>>();
  check_corners<integer<2, group::column>>();
  check_corners<integer<2, group::row, 32>>();
  check_corners<integer<2, group::column, 32>>();
  check_corners<integer<3, group::row>>();
  check_corners<integer<3, group::column>>();
  check_corners<integer<3, group::column, 32>>();
}

namespace {
/// Over the bytes of tiles of every head size, made without a library's random numbers.
template <class Codec>
std::uint64_t fingerprint() {
  std::vector<std::byte> all;
  std::uint32_t state = 1;
  for (std::uint32_t dim = 8; dim <= 256; dim += 8)
    for (kv::side which : {kv::side::key, kv::side::value}) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      std::vector<float> x(s.elements());
      for (float& v : x) state = state * 1664525u + 1013904223u, v = static_cast<float>(static_cast<std::int32_t>(state) >> 8) * 0x1p-20f;
      std::vector<std::byte> tile(Codec{}.tile_bytes(s));
      Codec{}.encode({}, s, x.data(), tile.data());
      all.insert(all.end(), tile.begin(), tile.end());
    }
  return fnv1a(all);
}

template <class Codec>
double mean_square_error(std::uint32_t dim, kv::side which) {
  const kv::tile_shape s = kv::shape_of(which, dim);
  std::mt19937 random(dim);
  std::normal_distribution<float> normal;
  std::vector<float> x(s.elements());
  for (float& v : x) v = normal(random);
  const sealed<Codec> t(s, x);
  double sum = 0;
  for (std::uint32_t i = 0; i < x.size(); ++i) sum += std::pow(static_cast<double>(t.back[i]) - x[i], 2);
  return sum / s.elements();
}
}  // namespace

TEST_CASE("version 1 of the 4 and 8 bit formats keeps its bytes") {
  CHECK(fingerprint<kv::integer<4, kv::group::row>>() == 0x4f26ad386135ea37u);
  CHECK(fingerprint<kv::integer<4, kv::group::column>>() == 0xc71b1fef97246ee0u);
  CHECK(fingerprint<kv::integer<8, kv::group::row>>() == 0x35827593261ca3d3u);
  CHECK(fingerprint<kv::integer<8, kv::group::column>>() == 0x7546b2e6615dac9u);
}

TEST_CASE("a group that covers all rows or columns is the whole of them") {
  CHECK(fingerprint<kv::integer<4, kv::group::row, 256>>() == 0x4f26ad386135ea37u);
  CHECK(fingerprint<kv::integer<8, kv::group::column, 256>>() == 0x7546b2e6615dac9u);
}

TEST_CASE("more bits and shorter groups never make the error larger") {
  using kv::group, kv::integer;
  for (std::uint32_t dim : {32u, 64u, 80u, 128u, 256u})
    for (kv::side which : {kv::side::key, kv::side::value}) {
      const double row[] = {mean_square_error<integer<2, group::row>>(dim, which), mean_square_error<integer<3, group::row>>(dim, which),
                            mean_square_error<integer<4, group::row>>(dim, which), mean_square_error<integer<8, group::row>>(dim, which)};
      const double column[] = {mean_square_error<integer<2, group::column, 32>>(dim, which), mean_square_error<integer<3, group::column, 32>>(dim, which),
                               mean_square_error<integer<4, group::column, 32>>(dim, which), mean_square_error<integer<8, group::column, 32>>(dim, which)};
      for (int i = 0; i < 3; ++i) {
        CHECK(row[i + 1] < row[i] / 2);
        CHECK(column[i + 1] < column[i] / 2);
      }
      CHECK(mean_square_error<integer<2, group::row, 32>>(dim, which) <= row[0]);
      CHECK(column[0] <= mean_square_error<integer<2, group::column>>(dim, which));
    }
}

TEST_CASE("huge rows saturate and stay finite") {
  const kv::tile_shape s = kv::shape_of(kv::side::key, 72);
  std::mt19937 random(2);
  std::vector<float> x(s.elements());
  for (float magnitude : {1e5f, 1e20f, 3.4e38f}) {
    for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = random() % 2 || i < 256 ? -magnitude : magnitude;  // whole rows beyond the range too
    for (float v : sealed<kv::integer<2, kv::group::row, 32>>(s, x).back) REQUIRE(std::isfinite(v));
    for (float v : sealed<kv::integer<3, kv::group::column>>(s, x).back) REQUIRE(std::isfinite(v));
  }
}

TEST_CASE("bits an element count scales minima and padding") {
  using kv::group, kv::integer;
  const auto key = [](auto codec, std::uint32_t dim) { return kv::bits_per_element(codec, kv::shape_of(kv::side::key, dim)); };
  CHECK(key(integer<2, group::row, 32>{}, 64) == 3.0);
  CHECK(key(integer<2, group::row>{}, 64) == 2.5);
  CHECK(key(integer<3, group::column, 32>{}, 64) == 4.0);
  CHECK(key(integer<4, group::column>{}, 128) == 4.25);
  CHECK(key(integer<2, group::row>{}, 24) == 2.0 * 32 / 24 + 0.5);
  CHECK(key(kv::hadamard<integer<8, group::row>>{}, 64) == 8.5);
}

TEST_CASE("sealing the same rows gives the same bytes wherever the tile stands") {
  using codec = kv::integer<4, kv::group::column>;
  const kv::tile_shape s = kv::shape_of(kv::side::key, 64);
  std::vector<float> x(s.elements());
  for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  std::vector<std::byte> a(codec{}.tile_bytes(s), std::byte{1}), b(a.size(), std::byte{2});
  codec{}.encode({}, s, x.data(), a.data());
  codec{}.encode({.layer = 3, .head = 2, .tile = 9, .seed = 5}, s, x.data(), b.data());
  CHECK(a == b);
}
