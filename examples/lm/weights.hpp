// SPDX-License-Identifier: Apache-2.0
// A llama-architecture model's settings and packed weights, read tensor by tensor so that no second copy is ever resident.
#pragma once

#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ggml_types.hpp"
#include "gguf.hpp"
#include "quire/attention/problem.hpp"
#include "quire/core/extents.hpp"
#include "quire/linear/matrix.hpp"
#include "quire/tier/huge_pages.hpp"

namespace quire_lm {

/// What `llama.*` metadata says.
struct model_config {
  std::string name;
  std::uint32_t layers = 0, width = 0, ffn = 0, q_heads = 0, kv_heads = 0, head_dim = 0, vocabulary = 0, context = 0;
  std::uint32_t rope_dims = 0;
  float norm_epsilon = 1e-5f, rope_base = 10000.0f;

  quire::extents cache_extents() const { return {layers, kv_heads, head_dim}; }
};

/// A layer's attention.
inline quire::attention::problem shape_of(const model_config& c) noexcept {
  return {.q_heads = c.q_heads, .kv_heads = c.kv_heads, .dim_k = c.head_dim, .dim_v = c.head_dim, .rotary = {.dims = c.rope_dims, .base = c.rope_base}};
}

inline model_config read_config(const gguf::file& file) {
  const auto architecture = file.get<std::string>("general.architecture");
  if (architecture != "llama") throw bad_input("general.architecture is " + quoted(architecture) + ", allowed 'llama'");
  const auto u32 = [&](const char* key, std::int64_t low, std::int64_t high) { return static_cast<std::uint32_t>(file.get_in(key, low, high)); };
  model_config c;
  c.name = file.get_or<std::string>("general.name", "unnamed");
  c.layers = u32("llama.block_count", 1, 1024);
  c.width = u32("llama.embedding_length", 32, 65536);
  c.ffn = u32("llama.feed_forward_length", 32, 1 << 20);
  c.q_heads = u32("llama.attention.head_count", 1, 1024);
  c.kv_heads = file.has("llama.attention.head_count_kv") ? u32("llama.attention.head_count_kv", 1, c.q_heads) : c.q_heads;
  if (c.q_heads % c.kv_heads != 0)
    throw bad_input("llama.attention.head_count is " + std::to_string(c.q_heads) + ", allowed a multiple of head_count_kv " + std::to_string(c.kv_heads));
  c.head_dim = file.has("llama.attention.key_length") ? u32("llama.attention.key_length", 8, quire::max_head_dim) : c.width / c.q_heads;
  if (c.head_dim % 8 != 0 || c.head_dim == 0 || c.head_dim > quire::max_head_dim)
    throw bad_input("head size is " + std::to_string(c.head_dim) + ", allowed a multiple of 8 up to " + std::to_string(quire::max_head_dim));
  c.rope_dims = file.has("llama.rope.dimension_count") ? u32("llama.rope.dimension_count", 2, c.head_dim) : c.head_dim;
  if (c.rope_dims % 2 != 0) throw bad_input("llama.rope.dimension_count is " + std::to_string(c.rope_dims) + ", allowed an even number");
  c.context = u32("llama.context_length", 1, 1 << 24);
  c.norm_epsilon = file.get<float>("llama.attention.layer_norm_rms_epsilon");
  c.rope_base = file.get_or<float>("llama.rope.freq_base", 10000.0f);
  if (!(c.norm_epsilon >= 0 && c.norm_epsilon < 1)) throw bad_input("llama.attention.layer_norm_rms_epsilon is " + std::to_string(c.norm_epsilon) + ", allowed 0 to 1");
  if (!(c.rope_base > 1 && c.rope_base < 1e12f)) throw bad_input("llama.rope.freq_base is " + std::to_string(c.rope_base) + ", allowed 1 to 1e12");
  if (file.has("llama.rope.scaling.type") && file.get<std::string>("llama.rope.scaling.type") != "none" && file.find("rope_freqs.weight") == nullptr)
    throw bad_input("llama.rope.scaling.type is " + quoted(file.get<std::string>("llama.rope.scaling.type")) + ", allowed 'none' (or frequency factors in the file)");
  c.vocabulary = static_cast<std::uint32_t>(file.need("token_embd.weight").dims.size() == 2 ? file.need("token_embd.weight").dims[1] : 0);
  if (c.vocabulary == 0) throw bad_input("tensor 'token_embd.weight' must have two dimensions");
  return c;
}

struct layer_weights {
  quire::linear::matrix qkv, output, gate_up, down;
  std::vector<float> attention_norm, ffn_norm;
};

/// How much each kv head needs the whole cache, [layers × kv_heads] each; how they came about in one line.
struct head_scores {
  std::vector<double> gates, induction, echo;
  std::string how;
  /// Gates learned for keeping a share of all heads.
  struct budget {
    double keep = 0;
    std::vector<double> gates;
  };
  std::vector<budget> budgets;

  /// Those learned for that share (to half a head), else those learned for none in particular.
  const std::vector<double>& gates_for(double keep) const noexcept {
    for (const budget& b : budgets)
      if (std::fabs(b.keep - keep) * static_cast<double>(gates.size()) < 0.5) return b.gates;
    return gates;
  }
};

/// All weights of a model, ready to multiply. Immutable after loading; any number of threads may read.
class model_weights {
 public:
  model_config config;
  quire::linear::matrix embedding, head;   ///< [vocabulary × width]; the head is the embedding where the file ties them
  std::vector<layer_weights> layers;
  std::vector<float> output_norm;
  std::vector<float> rope_factors;         ///< [rope_dims / 2] divides each frequency, or empty
  std::optional<head_scores> heads;        ///< what a calibration learned of this model, where there is any

  /// Reads and packs every tensor. `progress(done, total)` counts bytes. `wide`: every matrix as f32, so that no activation is
  /// rounded to 8 bits; slower, and what a measurement finer than that rounding needs. fails: bad_input.
  model_weights(const gguf::file& file, const std::function<void(std::uint64_t, std::uint64_t)>& progress = {}, bool wide = false) : config(read_config(file)) {
    const model_config& c = config;
    const std::uint32_t q = c.q_heads * c.head_dim, kv = c.kv_heads * c.head_dim;
    const gguf::tensor* untied = file.find("output.weight");
    std::vector<job> jobs;
    plan(file, jobs, embedding, {{"token_embd.weight", c.vocabulary}}, c.width);
    if (untied != nullptr) plan(file, jobs, head, {{"output.weight", c.vocabulary}}, c.width);
    layers.resize(c.layers);
    for (std::uint32_t l = 0; l < c.layers; ++l) {
      const std::string b = "blk." + std::to_string(l) + ".";
      layer_weights& w = layers[l];
      plan(file, jobs, w.qkv, {{b + "attn_q.weight", q}, {b + "attn_k.weight", kv}, {b + "attn_v.weight", kv}}, c.width);
      plan(file, jobs, w.output, {{b + "attn_output.weight", c.width}}, q);
      plan(file, jobs, w.gate_up, {{b + "ffn_gate.weight", c.ffn}, {b + "ffn_up.weight", c.ffn}}, c.width);
      plan(file, jobs, w.down, {{b + "ffn_down.weight", c.width}}, c.ffn);
      w.attention_norm = vector_of(file, b + "attn_norm.weight", c.width);
      w.ffn_norm = vector_of(file, b + "ffn_norm.weight", c.width);
    }
    output_norm = vector_of(file, "output_norm.weight", c.width);
    if (file.find("rope_freqs.weight") != nullptr) rope_factors = vector_of(file, "rope_freqs.weight", c.rope_dims / 2);
    if (wide)
      for (const job& j : jobs) j.to->type = quire::linear::weight_type::f32;
    std::size_t bytes = 0, total = 0, done = 0;
    for (const job& j : jobs) bytes += quire::round_up(quire::linear::packed_bytes(j.to->type, j.to->rows, j.to->cols), 64);
    for (const job& j : jobs)
      for (const gguf::tensor* t : j.parts) total += t->bytes;
    arena_ = quire::tier::huge_block(bytes);
    std::size_t at = 0;
    for (const job& j : jobs) {
      std::byte* data = arena_.data() + at;
      at += quire::round_up(quire::linear::packed_bytes(j.to->type, j.to->rows, j.to->cols), 64);
      std::uint32_t row = 0;
      for (const gguf::tensor* t : j.parts) {
        load(file, *t, row, *j.to, data, [&](std::size_t n) { done += n; if (progress) progress(done, total); });
        row += static_cast<std::uint32_t>(t->dims[1]);
      }
      j.to->data = data;
    }
    if (untied == nullptr) head = embedding;
    packed_bytes_ = bytes;
  }
  std::size_t packed_bytes() const noexcept { return packed_bytes_; }

 private:
  struct part {
    std::string name;
    std::uint32_t rows;
  };
  struct job {
    quire::linear::matrix* to;
    std::vector<const gguf::tensor*> parts;
  };

  /// The source type the packer knows; others are widened to f32 and kept as bf16 (their own rounding is far coarser).
  static std::optional<quire::linear::source_type> native(ggml_type t) {
    using quire::linear::source_type;
    switch (t) {
      case ggml_type::f32: return source_type::f32;
      case ggml_type::f16: return source_type::f16;
      case ggml_type::bf16: return source_type::bf16;
      case ggml_type::q4_0: return source_type::q4_0;
      case ggml_type::q4_1: return source_type::q4_1;
      case ggml_type::q8_0: return source_type::q8_0;
      default: return std::nullopt;
    }
  }
  static quire::linear::weight_type kept_as(ggml_type t) {
    const auto n = native(t);
    return n ? quire::linear::packed_as(*n) : quire::linear::weight_type::bf16;
  }
  static void plan(const gguf::file& file, std::vector<job>& jobs, quire::linear::matrix& to, const std::vector<part>& parts, std::uint32_t cols) {
    job j{&to, {}};
    to.rows = 0, to.cols = cols;
    for (const part& p : parts) {
      const gguf::tensor& t = file.need(p.name);
      if (t.dims.size() != 2 || t.dims[0] != cols || t.dims[1] != p.rows)
        throw bad_input("tensor " + quoted(p.name) + " has another shape than " + std::to_string(cols) + " x " + std::to_string(p.rows));
      const auto type = kept_as(t.type);
      if (j.parts.empty()) to.type = type;
      if (to.type != type) to.type = quire::linear::weight_type::bf16;  // mixed files: the common type that loses least
      j.parts.push_back(&t);
      to.rows += p.rows;
    }
    if (const quire::status s = quire::linear::supports(to.type, to.rows, to.cols); !s)
      throw bad_input("tensor " + quoted(parts[0].name) + ": " + quire::describe(s));
    jobs.push_back(std::move(j));
  }
  static std::vector<float> vector_of(const gguf::file& file, const std::string& name, std::uint32_t n) {
    const gguf::tensor& t = file.need(name);
    if (t.elements() != n) throw bad_input("tensor " + quoted(name) + " has " + std::to_string(t.elements()) + " elements, allowed " + std::to_string(n));
    std::vector<std::byte> bytes(t.bytes);
    std::vector<float> out(n);
    file.read(t, 0, bytes);
    dequantize(t.type, bytes, out);
    for (float x : out)
      if (!std::isfinite(x)) throw bad_input("tensor " + quoted(name) + " holds a value that is not finite");
    return out;
  }
  template <class Progress>
  static void load(const gguf::file& file, const gguf::tensor& t, std::uint32_t first_row, const quire::linear::matrix& m, std::byte* packed, Progress&& progress) {
    const auto rows = static_cast<std::uint32_t>(t.dims[1]);
    const std::size_t row_bytes = t.bytes / rows;
    const std::uint32_t slab = std::max<std::uint32_t>(1, static_cast<std::uint32_t>((std::size_t{1} << 18) / row_bytes));
    const auto source = native(t.type);
    const bool direct = source && quire::linear::packed_as(*source) == m.type;
    std::vector<std::byte> bytes(slab * row_bytes);
    std::vector<float> wide(direct ? 0 : std::size_t{slab} * m.cols);
    std::vector<quire::bf16> narrow(wide.size());
    for (std::uint32_t r = 0; r < rows; r += slab) {
      const std::uint32_t n = std::min(slab, rows - r);
      const std::span<std::byte> part(bytes.data(), n * row_bytes);
      file.read(t, r * row_bytes, part);
      quire::status s;
      if (direct) {
        s = quire::linear::pack(*source, bytes.data(), first_row + r, n, m.rows, m.cols, packed);
      } else {
        const std::span<float> x(wide.data(), std::size_t{n} * m.cols);
        dequantize(t.type, part, x);
        if (m.type == quire::linear::weight_type::f32) {
          s = quire::linear::pack(quire::linear::source_type::f32, reinterpret_cast<const std::byte*>(x.data()), first_row + r, n, m.rows, m.cols, packed);
        } else {
          for (std::size_t i = 0; i < x.size(); ++i) narrow[i] = quire::bf16::from(x[i]);
          s = quire::linear::pack(quire::linear::source_type::bf16, reinterpret_cast<const std::byte*>(narrow.data()), first_row + r, n, m.rows, m.cols, packed);
        }
      }
      if (!s) throw bad_input("tensor " + quoted(t.name) + ": " + quire::describe(s));
      progress(part.size());
    }
  }

  quire::tier::huge_block arena_;
  std::size_t packed_bytes_ = 0;
};

}  // namespace quire_lm
