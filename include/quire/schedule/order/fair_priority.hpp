// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "service_counters.hpp"

namespace quire::inline v0::schedule::order {

/// Priority classes first, strictly; inside a class the tenant that got the least service in that class, as `fair`. A
/// tenant is lifted only to those who wait in the same class. With `preempts` a running request gives way to a waiting
/// one of a higher class; without it, running requests lose their pages only for want of memory.
/// from: VTC (OSDI 2024, arXiv:2401.00588), the classes are ours; test: tests/schedule/order/fair_priority.cpp
class fair_priority {
 public:
  static constexpr bool by_tenant = true;

  explicit fair_priority(fair_options o = {}, bool preempts = false) : service_(std::move(o)), preempts_(preempts) {}

  bool admit_before(const request& a, const request& b) const noexcept {
    if (a.priority != b.priority) return a.priority > b.priority;
    const double x = service_[a.so_far.mark], y = service_[b.so_far.mark];
    return x != y ? x < y : a.arrival < b.arrival;
  }
  bool yields(const request& running, const request& waiting) const noexcept {
    return preempts_ && waiting.priority > running.priority;
  }
  void prepare(std::uint32_t requests) { service_.prepare(requests); }
  std::uint64_t arrived(const request& r) noexcept {
    const std::uint64_t mine = flow(r.priority, r.tenant);
    return service_.arrived(mine, r.tenant, [mine](std::uint64_t other) { return other >> 32 == mine >> 32; });
  }
  void admitted(const request& r) noexcept { service_.admitted(r.so_far.mark, r); }
  void preempted(const request& r) noexcept { service_.preempted(r.so_far.mark); }
  void served(const request& r, std::uint32_t tokens) noexcept { service_.served(r.so_far.mark, r, tokens); }
  void left(const request& r) noexcept { service_.left(r.so_far.mark, r); }
  status valid() const noexcept { return service_.valid(); }

  /// Service of a tenant in a class, as fair::service.
  double service(std::int32_t priority, std::uint32_t tenant) const noexcept {
    return service_.of(flow(priority, tenant));
  }

 private:
  static std::uint64_t flow(std::int32_t priority, std::uint32_t tenant) noexcept {
    return std::uint64_t{static_cast<std::uint32_t>(priority)} << 32 | tenant;
  }
  service_counters service_;
  bool preempts_;
};
static_assert(Order<fair_priority> && TenantOrder<fair_priority> && YieldingOrder<fair_priority> &&
              WatchingOrder<fair_priority> && ServedOrder<fair_priority>);

}  // namespace quire::inline v0::schedule::order
