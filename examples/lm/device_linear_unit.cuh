// SPDX-License-Identifier: Apache-2.0
// Included by one unit of a program: the kernels that device_linear.cuh speaks of.
#pragma once

#include "device_linear.cuh"

template quire::status quire::linear::cuda::multiply<float>(const quire::linear::cuda::multiply_call<float>&, quire::device::stream) noexcept;
template quire::status quire::linear::cuda::embed<float>(const quire::linear::cuda::embed_call<float>&, quire::device::stream) noexcept;
template quire::status quire::linear::cuda::rms_norm<float>(const quire::linear::cuda::norm_call<float>&, quire::device::stream) noexcept;
template quire::status quire::linear::cuda::combine<float>(const quire::linear::cuda::pair_call<float>&, quire::device::stream) noexcept;
template quire::status quire::attention::cuda::rotate<float>(const quire::attention::cuda::rotate_call<float>&, quire::device::stream) noexcept;
