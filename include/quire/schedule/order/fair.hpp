// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "service_counters.hpp"

namespace quire::inline v0::schedule::order {

/// The tenant that got the least service first; inside a tenant first come, first served. Two tenants that always have
/// requests waiting differ in service by at most 2 max(input * longest prompt, output * rows of memory), whatever they
/// send. Rows computed again after a preemption are the scheduler's doing and charged to nobody.
/// from: VTC (OSDI 2024, arXiv:2401.00588); test: tests/schedule/order/fair.cpp
class fair {
 public:
  static constexpr bool by_tenant = true;

  explicit fair(fair_options o = {}) : service_(std::move(o)) {}

  bool admit_before(const request& a, const request& b) const noexcept {
    const double x = service_[a.so_far.mark], y = service_[b.so_far.mark];
    return x != y ? x < y : a.arrival < b.arrival;
  }
  void prepare(std::uint32_t requests) { service_.prepare(requests); }
  std::uint64_t arrived(const request& r) noexcept {
    return service_.arrived(r.tenant, r.tenant, [](std::uint64_t) { return true; });
  }
  void admitted(const request& r) noexcept { service_.admitted(r.so_far.mark, r); }
  void preempted(const request& r) noexcept { service_.preempted(r.so_far.mark); }
  void served(const request& r, std::uint32_t tokens) noexcept { service_.served(r.so_far.mark, r, tokens); }
  void left(const request& r) noexcept { service_.left(r.so_far.mark, r); }
  status valid() const noexcept { return service_.valid(); }

  /// Service of a tenant so far, lifts included, divided by its weight; 0 for one that is not known.
  double service(std::uint32_t tenant) const noexcept { return service_.of(tenant); }

 private:
  service_counters service_;
};
static_assert(Order<fair> && TenantOrder<fair> && PreparedOrder<fair> && ArrivalOrder<fair> && WatchingOrder<fair> &&
              ServedOrder<fair>);

}  // namespace quire::inline v0::schedule::order
