// SPDX-License-Identifier: Apache-2.0
// Products of many rows on a GPU, for chunks of prompts: what a library makes of weights and rows that were rounded to bf16.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "quire/core/extents.hpp"
#include "quire/linear/cuda/multiply.cuh"
#include "quire/tier/cuda/memory.cuh"

namespace quire_lm {

/// y [n][outputs] f32 = (or +=) x [n][inputs] bf16 · Wᵀ, W [outputs][inputs] bf16; inputs are a multiple of 8, outputs of 4.
struct wide_shape {
  std::uint32_t n = 0, outputs = 0, inputs = 0;
  quire::linear::store_mode mode = quire::linear::store_mode::assign;
  friend bool operator==(const wide_shape&, const wide_shape&) = default;
};

/// What multiplies them.
class wide_engine {
 public:
  virtual ~wide_engine() = default;
  virtual std::size_t workspace_bytes() const noexcept = 0;
  /// Readies products of one shape; `at` names it. fails: what serves no such shape.
  virtual quire::status prepare(const wide_shape& shape, std::uint32_t& at) = 0;
  /// Allocates nothing and does not wait. fails: device
  virtual quire::status run(std::uint32_t at, const quire::bf16* w, const quire::bf16* x, float* y, std::byte* workspace, quire::device::stream on) const noexcept = 0;
};
/// cuBLASLt where a program runs on a GPU (caches/cuda/linear.cu). throws: std::bad_alloc, std::runtime_error
std::unique_ptr<wide_engine> make_wide_engine();

/// Products of a step's rows with a model's matrices. Steps of fewer than `least` rows take linear::cuda::multiply, which reads packed weights once for 16 rows
/// and whose rows do not depend on each other; others make the matrix bf16 first, and a row's last bits then depend on how many there are.
/// Everything is chosen by the constructor: one algorithm for each matrix and each number of rows that is a multiple of `unit`.
class wide_products {
 public:
  static constexpr std::uint32_t unit = 64;

  wide_products() = default;
  /// Products of up to `most` rows. throws: std::bad_alloc, std::runtime_error
  wide_products(std::span<const wide_shape> shapes, std::uint32_t least, std::uint32_t most, quire::tier::memory& memory) : least_(least), engine_(make_wide_engine()) {
    std::size_t weights = 0, rows = 0;
    for (wide_shape s : shapes)
      for (s.n = unit; s.n < most + unit; s.n += unit) {
        std::uint32_t at = 0;
        if (find(s) != nullptr || !engine_->prepare(s, at)) continue;
        known_.push_back({s, at});
        weights = std::max(weights, std::size_t{s.outputs} * s.inputs), rows = std::max(rows, std::size_t{s.n} * s.inputs);
      }
    const std::size_t for_rows = quire::round_up(weights * sizeof(quire::bf16), 256), for_engine = quire::round_up(for_rows + rows * sizeof(quire::bf16), 256);
    bytes_ = for_engine + engine_->workspace_bytes();
    memory_ = quire::tier::arena(bytes_, &memory);
    weights_ = reinterpret_cast<quire::bf16*>(memory_.data()), rows_ = reinterpret_cast<quire::bf16*>(memory_.data() + for_rows), workspace_ = memory_.data() + for_engine;
    memory_.clear(memory_.data() + for_rows, rows * sizeof(quire::bf16));  // rows past a step's last are multiplied too, for nobody
  }

  std::size_t bytes() const noexcept { return bytes_; }
  /// `y` has room for rows up to the next multiple of `unit`, and those past n hold anything then. fails: unsupported_shape, out_of_range, device
  quire::status run(const quire::linear::cuda::multiply_call<float>& c, quire::device::stream on) const noexcept;

 private:
  struct entry {
    wide_shape shape;
    std::uint32_t at;
  };
  const entry* find(const wide_shape& s) const noexcept {
    const auto found = std::find_if(known_.begin(), known_.end(), [&](const entry& e) { return e.shape == s; });
    return found == known_.end() ? nullptr : &*found;
  }

  std::uint32_t least_ = ~0u;
  std::unique_ptr<wide_engine> engine_;
  std::vector<entry> known_;
  quire::tier::arena memory_;
  std::size_t bytes_ = 0;
  quire::bf16 *weights_ = nullptr, *rows_ = nullptr;
  std::byte* workspace_ = nullptr;
};

}  // namespace quire_lm
