// SPDX-License-Identifier: Apache-2.0
// A llama of a few layers and random weights, written as a GGUF file: what a test runs where the real model is too much, or absent.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include <unistd.h>

#include "gguf_writer.hpp"

namespace lm_test {

struct llama_shape {
  std::uint32_t layers = 2, q_heads = 4, kv_heads = 2, head_dim = 64, width = 128, ffn = 160, vocabulary = 96;
};

/// Bytes of a file with weights in f32; norms are near one, so that no channel is silent.
inline std::string small_llama(const llama_shape& s, unsigned seed) {
  gguf_test::writer w;
  w.text("general.architecture", "llama").text("general.name", "small").u32("llama.block_count", s.layers).u32("llama.embedding_length", s.width);
  w.u32("llama.feed_forward_length", s.ffn).u32("llama.attention.head_count", s.q_heads).u32("llama.attention.head_count_kv", s.kv_heads);
  w.u32("llama.attention.key_length", s.head_dim).u32("llama.rope.dimension_count", s.head_dim).u32("llama.context_length", 4096);
  w.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f).f32("llama.rope.freq_base", 10000.0f);
  std::mt19937 random(seed);
  const auto tensor = [&](const std::string& name, std::uint64_t cols, std::uint64_t rows, float mean, float spread) {
    std::normal_distribution<float> normal(mean, spread);
    w.tensors.push_back({name, rows == 0 ? std::vector<std::uint64_t>{cols} : std::vector<std::uint64_t>{cols, rows}, 0, w.data.size()});
    for (std::uint64_t i = 0; i < cols * (rows == 0 ? 1 : rows); ++i) {
      const float x = normal(random);
      w.data.append(reinterpret_cast<const char*>(&x), sizeof x);
    }
    w.data.resize((w.data.size() + w.alignment - 1) / w.alignment * w.alignment);
  };
  const auto matrix = [&](const std::string& name, std::uint64_t cols, std::uint64_t rows) { tensor(name, cols, rows, 0, 1 / std::sqrt(static_cast<float>(cols))); };
  const std::uint64_t q = std::uint64_t{s.q_heads} * s.head_dim, kv = std::uint64_t{s.kv_heads} * s.head_dim;
  tensor("token_embd.weight", s.width, s.vocabulary, 0, 1);
  for (std::uint32_t l = 0; l < s.layers; ++l) {
    const std::string b = "blk." + std::to_string(l) + ".";
    tensor(b + "attn_norm.weight", s.width, 0, 1, 0.1f), tensor(b + "ffn_norm.weight", s.width, 0, 1, 0.1f);
    matrix(b + "attn_q.weight", s.width, q), matrix(b + "attn_k.weight", s.width, kv), matrix(b + "attn_v.weight", s.width, kv);
    matrix(b + "attn_output.weight", q, s.width), matrix(b + "ffn_gate.weight", s.width, s.ffn), matrix(b + "ffn_up.weight", s.width, s.ffn), matrix(b + "ffn_down.weight", s.ffn, s.width);
  }
  tensor("output_norm.weight", s.width, 0, 1, 0.1f);
  matrix("output.weight", s.width, s.vocabulary);
  return w.file();
}

/// The same on disk, for as long as it lives.
class small_llama_file {
 public:
  explicit small_llama_file(const llama_shape& s, unsigned seed = 1)
      : path_((std::filesystem::temp_directory_path() / ("quire-small-llama-" + std::to_string(::getpid()) + "-" + std::to_string(seed) + ".gguf")).string()) {
    const std::string bytes = small_llama(s, seed);
    std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  ~small_llama_file() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  small_llama_file(const small_llama_file&) = delete;
  small_llama_file& operator=(const small_llama_file&) = delete;
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

}  // namespace lm_test
