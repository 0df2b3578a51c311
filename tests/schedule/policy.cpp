// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/policy.hpp"

#include "catch.hpp"
#include "order_laws.hpp"
#include "quire/schedule/fcfs.hpp"

using namespace quire;
using namespace quire::schedule;

namespace {

struct no_served {  // each near miss lacks or bends one member
  bool admit_before(const request&, const request&) const noexcept { return false; }
  bool evict_before(const request&, const request&) const noexcept { return false; }
  bool yields(const request&, const request&) const noexcept { return false; }
};
struct may_throw : fcfs {
  bool yields(const request&, const request&) const { return false; }
};
struct mutable_order : fcfs {
  bool admit_before(const request&, const request&) noexcept { return false; }
};
struct integer_order : fcfs {
  int evict_before(const request&, const request&) const noexcept { return 0; }
};
struct immovable : fcfs {
  immovable(immovable&&) = delete;
};
static_assert(SchedulerPolicy<fcfs>);
static_assert(!SchedulerPolicy<no_served>);
static_assert(!SchedulerPolicy<may_throw>);
static_assert(!SchedulerPolicy<mutable_order>);
static_assert(!SchedulerPolicy<integer_order>);
static_assert(!SchedulerPolicy<immovable>);
static_assert(!SchedulerPolicy<int>);

struct with_hooks : fcfs {
  static constexpr bool by_tenant = true;
  std::uint64_t version() const noexcept { return 0; }
  void arrived(const request&) noexcept {}
  void left(const request&) noexcept {}
  std::uint32_t budget(const load&) noexcept { return 1; }
  std::uint32_t chunk(const request&, std::uint32_t room) const noexcept { return room; }
};
static_assert(TenantPolicy<with_hooks> && VersionedPolicy<with_hooks> && WatchingPolicy<with_hooks> &&
              PacingPolicy<with_hooks> && ChunkingPolicy<with_hooks> &&
              schedule::detail::hooks_well_formed<with_hooks>());
static_assert(!TenantPolicy<fcfs> && !VersionedPolicy<fcfs> && !WatchingPolicy<fcfs> && !PacingPolicy<fcfs> &&
              !ChunkingPolicy<fcfs> && schedule::detail::hooks_well_formed<fcfs>());

struct not_by_tenant : fcfs {
  static constexpr bool by_tenant = false;
};
struct narrow_version : fcfs {
  int version() const noexcept { return 0; }
};
struct only_arrived : fcfs {
  void arrived(const request&) noexcept {}
};
struct throwing_budget : fcfs {
  std::uint32_t budget(const load&) { return 1; }
};
struct signed_chunk : fcfs {
  int chunk(const request&, std::uint32_t) const noexcept { return 1; }
};
static_assert(!TenantPolicy<not_by_tenant>);
static_assert(!schedule::detail::hooks_well_formed<narrow_version>());
static_assert(!schedule::detail::hooks_well_formed<only_arrived>());
static_assert(!schedule::detail::hooks_well_formed<throwing_budget>());
static_assert(!schedule::detail::hooks_well_formed<signed_chunk>());

struct not_strict : fcfs {
  bool admit_before(const request& a, const request& b) const noexcept { return a.arrival <= b.arrival; }
};
struct in_a_ring : fcfs {  // rock, scissors, paper
  bool evict_before(const request& a, const request& b) const noexcept {
    return (a.prompt_tokens + 1) % 3 == b.prompt_tokens % 3;
  }
};
struct mutual : fcfs {
  bool yields(const request&, const request&) const noexcept { return true; }
};

}  // namespace

TEST_CASE("the order laws catch policies that break them") {
  REQUIRE_FALSE(test::orders_lawful(not_strict{}, 1));
  REQUIRE_FALSE(test::orders_lawful(in_a_ring{}, 1));
  REQUIRE_FALSE(test::orders_lawful(mutual{}, 1));
}
