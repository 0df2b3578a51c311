// SPDX-License-Identifier: Apache-2.0
// The sums that planning on a device needs, from CUB. In a header of its own, because CUB costs a unit seconds to parse.
#pragma once

#include <cub/device/device_scan.cuh>
#include <cub/device/device_select.cuh>

#include "plan.cuh"

namespace quire::inline v0::attention::cuda {

/// Captured by graphs as they are: temporary storage is the caller's, and nothing waits. fails: device
struct cub_sums {
  std::size_t bytes(std::uint32_t n) const noexcept {
    std::size_t a = 0, b = 0, c = 0;
    static_cast<void>(cub::DeviceScan::ExclusiveSum(nullptr, a, static_cast<const std::uint32_t*>(nullptr), static_cast<std::uint32_t*>(nullptr), n));
    static_cast<void>(cub::DeviceScan::InclusiveSum(nullptr, b, static_cast<const std::uint64_t*>(nullptr), static_cast<std::uint64_t*>(nullptr), n));
    static_cast<void>(cub::DeviceSelect::Unique(nullptr, c, static_cast<const plan_cut*>(nullptr), static_cast<plan_cut*>(nullptr), static_cast<std::uint32_t*>(nullptr), n));
    return std::max({a, b, c});
  }
  status exclusive(std::byte* scratch, std::size_t bytes, const std::uint32_t* in, std::uint32_t* out, std::uint32_t n, device::stream on) const noexcept {
    return device::check(cub::DeviceScan::ExclusiveSum(scratch, bytes, in, out, n, on), "sum of items");
  }
  status inclusive(std::byte* scratch, std::size_t bytes, const std::uint64_t* in, std::uint64_t* out, std::uint32_t n, device::stream on) const noexcept {
    return device::check(cub::DeviceScan::InclusiveSum(scratch, bytes, in, out, n, on), "sum of lengths");
  }
  status distinct(std::byte* scratch, std::size_t bytes, const plan_cut* in, plan_cut* out, std::uint32_t* count, std::uint32_t n, device::stream on) const noexcept {
    return device::check(cub::DeviceSelect::Unique(scratch, bytes, in, out, count, n, on), "distinct cuts");
  }
};
static_assert(PlanSums<cub_sums>);

}  // namespace quire::inline v0::attention::cuda
