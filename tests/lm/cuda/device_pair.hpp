// SPDX-License-Identifier: Apache-2.0
// The model on a device beside the CPU's, over a store each.
#pragma once

#include <cmath>

#include "device/memory.hpp"
#include "lm/device_model.cuh"
#include "lm/model.hpp"
#include "lm/small_llama.hpp"
#include "quire/kv/layout/head_split.hpp"

namespace device_pair {

using namespace quire_lm;
using device_test::device_or_skip;
using device_test::finish;
namespace kv = quire::kv;
using quire::serve::model_input;

using bf16_pages = kv::paged<kv::raw_bf16>;
/// Of logits, relative: twice and more of what was found. Found with bf16: 8.4e-4 through a generation; with int4 and GEAR, where the codes of a row
/// that differs by a rounding may differ by one, 5.6e-3.
inline constexpr double bf16_bound = 2e-3, int4_bound = 2e-2;
/// The same of chunks whose weights and rows are bf16.
inline constexpr double wide_bound = 2e-2;
using int4_pages = kv::paged<kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>>;

inline double relative_difference(std::span<const float> want, std::span<const float> got) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double d = double{got[i]} - double{want[i]};
    difference += d * d, size += double{want[i]} * double{want[i]};
  }
  return std::sqrt(difference / size);
}
inline std::int32_t likeliest(std::span<const float> logits) { return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()); }

inline quire::device::own_stream opened() {
  quire::device::own_stream s;
  REQUIRE(s.open());
  return s;
}

/// Both models over both stores.
template <kv::Layout L, std::uint32_t Dim = 64>
struct pair_of {
  static constexpr std::uint32_t rows = 96, sequences = 4, tokens = 320;

  explicit pair_of(const model_weights& wide, const model_weights& packed, const L& layout, const device_choices& choices = {})
      : near(layout, options(layout, nullptr)), far(layout, options(layout, &memory)), cpu(wide, layout, executor, rows, sequences, tokens), gpu(packed, layout, memory, rows, sequences, tokens, choices) {}
  static kv::store_options<L> options(const L& layout, quire::tier::memory* where, std::uint32_t most_sequences = sequences, std::uint32_t most_tokens = tokens) {
    auto o = kv::pages_for(layout, most_sequences, most_tokens, rows);
    o.memory = where;
    return o;
  }

  struct input {
    std::uint32_t sequence;
    std::vector<std::int32_t> tokens;
  };
  /// One step of both; returns the last logits of each input as the device has them, and keeps the largest difference to the CPU's.
  std::vector<std::vector<float>> step(const std::vector<input>& inputs) {
    std::vector<model_input> in;
    for (const input& i : inputs) {
      const auto n = static_cast<std::uint32_t>(i.tokens.size());
      REQUIRE(near.reserve(i.sequence, n));
      REQUIRE(far.reserve(i.sequence, n));
      in.push_back({i.sequence, near.length(i.sequence), i.tokens, true});
    }
    const std::size_t vocabulary = cpu.vocabulary();
    std::vector<float> want(in.size() * vocabulary), got(want.size(), NAN);
    const quire::status a = cpu.step(near, in, want.data()), b = gpu.step(far, in, got.data());
    finish();
    INFO(quire::describe(a) << "; " << quire::describe(b));
    REQUIRE((a && b));
    std::vector<std::vector<float>> out;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const std::span w(want.data() + i * vocabulary, vocabulary), g(got.data() + i * vocabulary, vocabulary);
      const double d = relative_difference(w, g);
      most = d <= most ? most : d;  // NaN counts
      out.emplace_back(g.begin(), g.end());
      const auto n = static_cast<std::uint32_t>(inputs[i].tokens.size());
      REQUIRE(near.commit(inputs[i].sequence, n));
      REQUIRE(far.commit(inputs[i].sequence, n));
    }
    return out;
  }
  std::uint32_t open() {
    std::uint32_t a = 0, b = 0;
    REQUIRE(near.open(a));
    REQUIRE(far.open(b));
    REQUIRE(a == b);
    return a;
  }
  std::uint32_t fork(std::uint32_t from) {
    std::uint32_t a = 0, b = 0;
    REQUIRE(near.fork(from, a));
    REQUIRE(far.fork(from, b));
    REQUIRE(a == b);
    return a;
  }
  void truncate(std::uint32_t s, std::uint32_t length) {
    REQUIRE(near.truncate(s, length));
    REQUIRE(far.truncate(s, length));
  }

  quire::device::own_stream stream = opened();
  quire::tier::device_memory memory{stream.get()};
  quire::thread_executor executor{1};
  kv::store<L> near, far;
  llama<L, quire::thread_executor> cpu;
  device_model<L, Dim> gpu;
  double most = 0;
};

/// `n` tokens, others for another salt.
inline std::vector<std::int32_t> some_tokens(std::uint32_t n, std::uint32_t salt, std::uint32_t vocabulary) {
  std::vector<std::int32_t> t(n);
  for (std::uint32_t i = 0; i < n; ++i) t[i] = static_cast<std::int32_t>((i * 2654435761u + salt * 40503u + 17) >> 8) % static_cast<std::int32_t>(vocabulary);
  return t;
}

}  // namespace device_pair
