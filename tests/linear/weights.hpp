// SPDX-License-Identifier: Apache-2.0
// Random source rows in each file format, and what they mean in double precision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "quire/linear/matrix.hpp"

namespace weights {

using namespace quire;
using namespace quire::linear;

inline constexpr source_type all_types[] = {source_type::f32,  source_type::f16,  source_type::bf16,
                                            source_type::q4_0, source_type::q4_1, source_type::q8_0};

struct tensor {
  source_type type;
  std::uint32_t rows, cols;
  std::vector<std::byte> source;  ///< rows as the file has them
  std::vector<double> values;     ///< [rows][cols]
};

inline tensor random_tensor(source_type type, std::uint32_t rows, std::uint32_t cols, std::uint32_t seed) {
  tensor t{type, rows, cols, {}, {}};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto put = [&](auto v) {
    const auto* p = reinterpret_cast<const std::byte*>(&v);
    t.source.insert(t.source.end(), p, p + sizeof v);
  };
  for (std::uint32_t r = 0; r < rows; ++r) {
    if (type == source_type::f32 || type == source_type::f16 || type == source_type::bf16) {
      for (std::uint32_t c = 0; c < cols; ++c) {
        const float x = normal(random);
        if (type == source_type::f32) put(x), t.values.push_back(x);
        if (type == source_type::f16) put(f16::from(x).bits), t.values.push_back(f16::from(x).to_float());
        if (type == source_type::bf16) put(bf16::from(x).bits), t.values.push_back(bf16::from(x).to_float());
      }
      continue;
    }
    for (std::uint32_t b = 0; b < cols / 32; ++b) {
      const f16 scale = f16::from(0.05f * normal(random)), minimum = f16::from(0.3f * normal(random));
      std::uint8_t codes[32];
      for (auto& q : codes) q = static_cast<std::uint8_t>(random());
      put(scale.bits);
      if (type == source_type::q8_0) {
        for (const auto q : codes) put(q), t.values.push_back(double{scale.to_float()} * static_cast<std::int8_t>(q));
        continue;
      }
      if (type == source_type::q4_1) put(minimum.bits);
      for (int i = 0; i < 16; ++i) put(codes[i]);
      for (int c = 0; c < 32; ++c) {
        const int q = c < 16 ? codes[c] & 15 : codes[c - 16] >> 4;
        t.values.push_back(type == source_type::q4_0 ? double{scale.to_float()} * (q - 8)
                                                     : double{scale.to_float()} * q + double{minimum.to_float()});
      }
    }
  }
  return t;
}

/// A packed matrix with its memory.
struct packed {
  std::vector<std::byte> bytes;
  matrix view;
};

inline packed pack_all(const tensor& t) {
  const weight_type type = packed_as(t.type);
  packed p{std::vector<std::byte>(packed_bytes(type, t.rows, t.cols)), {}};
  const status outcome = pack(t.type, t.source.data(), 0, t.rows, t.rows, t.cols, p.bytes.data());
  if (!outcome) throw std::runtime_error(describe(outcome));
  p.view = {type, t.rows, t.cols, p.bytes.data()};
  return p;
}

}  // namespace weights
