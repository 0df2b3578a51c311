// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "../../../core/device.cuh"
#include "sm_80.cuh"
#include "sm_86.cuh"
#include "sm_90.cuh"

namespace quire::inline v0::attention::cuda::tuning {

/// Shared memory of a processor of `architecture` (100·major + 10·minor: 800, 860, …), bytes.
constexpr std::uint32_t processor_bytes(std::uint32_t architecture) noexcept {
  if (architecture == 860 || architecture == 890 || architecture >= 1200) return sm_86::processor_bytes;
  return architecture < 900 ? sm_80::processor_bytes : sm_90::processor_bytes;
}
/// The least of what a list of architectures has.
template <std::size_t N>
constexpr std::uint32_t least_bytes(const std::uint32_t (&architectures)[N]) noexcept {
  std::uint32_t least = processor_bytes(architectures[0]);
  for (const std::uint32_t a : architectures) least = processor_bytes(a) < least ? processor_bytes(a) : least;
  return least;
}
template <std::uint32_t Bytes>
using for_bytes = std::conditional_t<Bytes == sm_86::processor_bytes, sm_86, std::conditional_t<Bytes == sm_80::processor_bytes, sm_80, sm_90>>;

/// Rows of the smallest processor that the unit is compiled for, so that its kernels start on all of them. A host launches one shape
/// on every device: who compiles for several and wants each one's own rows names them (`attend<…, sm_90>`) and chooses at run time.
using of_unit = for_bytes<least_bytes(device::architectures)>;

}  // namespace quire::inline v0::attention::cuda::tuning
