// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/codec/integer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"

using namespace quire;

namespace {

template <class Codec>
struct sealed {
  kv::tile_shape s;
  std::vector<std::byte> tile;
  std::vector<float> back;
  sealed(kv::tile_shape shape, const std::vector<float>& x) : s(shape), tile(Codec{}.tile_bytes(shape), std::byte{0xa5}), back(x.size(), -1) {
    Codec{}.encode({}, s, x.data(), tile.data());
    Codec{}.decode({}, s, tile.data(), back.data());
  }
  std::uint32_t group_of(std::uint32_t i) const { return Codec::grouping == kv::group::row ? i / s.columns : i % s.columns; }
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

/// The documented bytes, read independently of decode.
template <class Codec>
void check_bytes(const sealed<Codec>& t) {
  const auto* b = reinterpret_cast<const std::uint8_t*>(t.tile.data());
  const std::size_t codes = std::size_t{t.s.rows} * t.s.columns * Codec::bits / 8;
  const std::uint32_t groups = Codec::grouping == kv::group::row ? t.s.rows : t.s.columns;
  const auto half = [&](std::size_t at) {
    f16 h;
    std::memcpy(&h, b + at, 2);
    return h.to_float();
  };
  for (std::uint32_t r = 0; r < t.s.rows; ++r)
    for (std::uint32_t c = 0; c < t.s.columns; ++c) {
      const std::uint32_t q = Codec::bits == 8 ? b[(r / 4 * t.s.columns + c) * 4 + r % 4]
                                               : b[(r / 8 * t.s.columns + c) * 4 + r % 4] >> (r % 8 < 4 ? 0 : 4) & 15;
      const std::uint32_t g = Codec::grouping == kv::group::row ? r : c;
      const double want = half(codes + 2 * groups + 2 * g) + static_cast<double>(half(codes + 2 * g)) * q;
      if (std::fabs(want - t.back[r * t.s.columns + c]) > 1e-6 * (1 + std::fabs(want))) FAIL("row " << r << " column " << c << " holds code " << q);
    }
}

template <int Bits, kv::group Group>
void check(const char* format) {
  using codec = kv::integer<Bits, Group>;
  CHECK(codec::format() == std::string(format));
  std::mt19937 random(Bits);
  std::normal_distribution<float> normal;
  for (kv::side which : {kv::side::key, kv::side::value})
    for (std::uint32_t dim = 8; dim <= 256; dim += 8) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      const std::uint32_t groups = Group == kv::group::row ? s.rows : s.columns;
      REQUIRE(codec{}.tile_bytes(s) == std::size_t{dim} * 64 * Bits / 8 + groups * 4);
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
        const std::uint32_t place = Codec::grouping == kv::group::row ? i % s.columns : i / s.columns;
        x[i] = static_cast<float>(place % (Codec::levels + 1)) - 7;
        if (place == 1) x[i] = static_cast<float>(Codec::levels) - 7;
      }
      CHECK(sealed<Codec>(s, x).back == x);
    }
}

}  // namespace

TEST_CASE("integer codecs come back within half a step") {
  check<4, kv::group::row>("int4-row.1");
  check<4, kv::group::column>("int4-column.1");
  check<8, kv::group::row>("int8-row.1");
  check<8, kv::group::column>("int8-column.1");
}

TEST_CASE("integer codecs are exact for zeros constants and whole steps") {
  check_corners<kv::integer<4, kv::group::row>>();
  check_corners<kv::integer<4, kv::group::column>>();
  check_corners<kv::integer<8, kv::group::row>>();
  check_corners<kv::integer<8, kv::group::column>>();
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
