// SPDX-License-Identifier: Apache-2.0
// What a llama model does on a GPU between its attentions: products, norms, gates, embeddings, rotations of queries. They are the same for
// every cache, so one unit of a program has their kernels (device_linear_unit.cuh), and others link to them.
#pragma once

#include "device_wide.cuh"
#include "quire/attention/cuda/append.cuh"
#include "quire/linear/cuda/dequantize.cuh"
#include "quire/linear/cuda/elementwise.cuh"
#include "quire/linear/cuda/multiply.cuh"
#include "quire/tier/cuda/memory.cuh"

extern template quire::status quire::linear::cuda::multiply<float>(const quire::linear::cuda::multiply_call<float>&, quire::device::stream) noexcept;
extern template quire::status quire::linear::cuda::embed<float>(const quire::linear::cuda::embed_call<float>&, quire::device::stream) noexcept;
extern template quire::status quire::linear::cuda::rms_norm<float>(const quire::linear::cuda::norm_call<float>&, quire::device::stream) noexcept;
extern template quire::status quire::linear::cuda::combine<float>(const quire::linear::cuda::pair_call<float>&, quire::device::stream) noexcept;
extern template quire::status quire::attention::cuda::rotate<float>(const quire::attention::cuda::rotate_call<float>&, quire::device::stream) noexcept;

namespace quire_lm {
/// Bytes a second that a kernel reads from memory larger than any cache, the launch included (median of a few passes); 0: the device
/// refused. throws: std::bad_alloc
double device_read_bandwidth(quire::tier::device_memory& memory);
}  // namespace quire_lm
