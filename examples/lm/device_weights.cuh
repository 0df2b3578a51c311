// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

#include "device_layers.cuh"
#include "quire/tier/memory.hpp"

namespace quire_lm {

/// A model's weights copied to another memory, which outlives them; the host's are not read again.
/// throws: std::bad_alloc, std::runtime_error (a copy failed)
class device_weights {
 public:
  quire::linear::matrix embedding, head;
  std::vector<device_layer> layers;
  const float* output_norm = nullptr;

  device_weights(const model_weights& w, quire::tier::memory& memory) {
    lay(w, [&](const void*, std::size_t bytes) { return bytes_ += quire::round_up(bytes, alignment), static_cast<const std::byte*>(nullptr); });
    memory_ = quire::tier::arena(bytes_, &memory);
    std::byte* at = memory_.data();
    lay(w, [&](const void* from, std::size_t bytes) -> const std::byte* {
      const quire::status s = memory_.write(at, {static_cast<const std::byte*>(from), bytes});
      if (!s) throw std::runtime_error("weights: " + quire::describe(s));
      return std::exchange(at, at + quire::round_up(bytes, alignment));
    });
  }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  static constexpr std::size_t alignment = 256;

  /// put(data, bytes) says where a copy lies, in one order.
  template <class Put>
  void lay(const model_weights& w, Put&& put) {
    const auto matrix = [&](quire::linear::matrix m) {
      m.data = put(m.data, quire::linear::packed_bytes(m.type, m.rows, m.cols));
      return m;
    };
    const auto vector = [&](const std::vector<float>& v) { return reinterpret_cast<const float*>(put(v.data(), v.size() * sizeof(float))); };
    embedding = matrix(w.embedding);
    head = w.head.data == w.embedding.data ? embedding : matrix(w.head);
    layers.clear();
    for (const layer_weights& l : w.layers) {
      device_layer d;
      d.qkv = matrix(l.qkv), d.output = matrix(l.output), d.gate_up = matrix(l.gate_up), d.down = matrix(l.down);
      d.attention_norm = vector(l.attention_norm), d.ffn_norm = vector(l.ffn_norm);
      layers.push_back(d);
    }
    output_norm = vector(w.output_norm);
  }

  std::size_t bytes_ = 0;
  quire::tier::arena memory_;
};

}  // namespace quire_lm
