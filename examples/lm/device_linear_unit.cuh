// SPDX-License-Identifier: Apache-2.0
// Included by one unit of a program: the kernels that device_linear.cuh speaks of.
#pragma once

#include "device_linear.cuh"

template quire::status quire::linear::cuda::multiply<float>(const quire::linear::cuda::multiply_call<float>&, quire::device::stream) noexcept;
template quire::status quire::linear::cuda::embed<float>(const quire::linear::cuda::embed_call<float>&, quire::device::stream) noexcept;
template quire::status quire::linear::cuda::rms_norm<float>(const quire::linear::cuda::norm_call<float>&, quire::device::stream) noexcept;
template quire::status quire::linear::cuda::combine<float>(const quire::linear::cuda::pair_call<float>&, quire::device::stream) noexcept;
template quire::status quire::attention::cuda::rotate<float>(const quire::attention::cuda::rotate_call<float>&, quire::device::stream) noexcept;

quire::status quire_lm::wide_products::run(const quire::linear::cuda::multiply_call<float>& c, quire::device::stream on) const noexcept {
  const entry* const known = c.n < least_ ? nullptr : find({(c.n + unit - 1) / unit * unit, c.weights.rows, c.weights.cols, c.mode});
  if (known == nullptr || c.y_stride != c.weights.rows) return quire::linear::cuda::multiply<float>(c, on);
  const quire::linear::cuda::dequantize_call wide{.weights = c.weights, .out = weights_, .stride = c.weights.cols};
  if (const quire::status s = quire::linear::cuda::dequantize(wide, on); !s) return s;
  const quire::linear::cuda::narrow_call<quire::bf16> narrow{.x = c.x, .x_stride = c.x_stride, .n = c.n, .width = c.weights.cols, .out = rows_, .out_stride = c.weights.cols};
  if (const quire::status s = quire::linear::cuda::narrow_rows(narrow, on); !s) return s;
  return engine_->run(known->at, weights_, rows_, c.y, workspace_, on);
}
