// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/axes.hpp"

#include "catch.hpp"
#include "order_laws.hpp"

using namespace quire;
using namespace quire::schedule;
namespace sd = schedule::detail;

namespace {

// For each concept a model and types that miss it by one member or one word of it.
struct order_model {
  bool admit_before(const request&, const request&) const noexcept { return false; }
};
struct order_without {};
struct order_mutable {
  bool admit_before(const request&, const request&) noexcept { return false; }
};
struct order_may_throw {
  bool admit_before(const request&, const request&) const { return false; }
};
struct order_integer {
  int admit_before(const request&, const request&) const noexcept { return 0; }
};
struct order_immovable : order_model {
  order_immovable(order_immovable&&) = delete;
};
static_assert(Order<order_model>);
static_assert(!Order<order_without> && !Order<order_mutable> && !Order<order_may_throw> && !Order<order_integer> &&
              !Order<order_immovable> && !Order<int>);

struct batching_model {
  schedule::shape shape(const load&) const noexcept { return {}; }
};
struct batching_tokens {
  std::uint32_t shape(const load&) const noexcept { return 1; }
};
struct batching_mutable {
  schedule::shape shape(const load&) noexcept { return {}; }
};
static_assert(Batching<batching_model>);
static_assert(!Batching<order_model> && !Batching<batching_tokens> && !Batching<batching_mutable>);

struct admission_model {
  verdict judge(const request&, std::uint64_t, const load&) const noexcept { return {}; }
};
struct admission_boolean {
  bool judge(const request&, std::uint64_t, const load&) const noexcept { return true; }
};
struct admission_unloaded {
  verdict judge(const request&, std::uint64_t) const noexcept { return {}; }
};
static_assert(Admission<admission_model>);
static_assert(!Admission<batching_model> && !Admission<admission_boolean> && !Admission<admission_unloaded>);

struct victim_model {
  bool evict_before(const request&, const request&) const noexcept { return false; }
};
struct victim_may_throw {
  bool evict_before(const request&, const request&) const { return false; }
};
static_assert(Victim<victim_model>);
static_assert(!Victim<order_model> && !Victim<victim_may_throw>);

struct preemption_model {
  preemption_kind kind(const request&) const noexcept { return {}; }
};
struct preemption_boolean {
  bool kind(const request&) const noexcept { return true; }
};
static_assert(Preemption<preemption_model>);
static_assert(!Preemption<victim_model> && !Preemption<preemption_boolean>);

struct all_hooks : order_model {
  static constexpr bool by_tenant = true;
  std::uint64_t version() const noexcept { return 0; }
  bool yields(const request&, const request&) const noexcept { return false; }
  void prepare(std::uint32_t) {}
  std::uint64_t arrived(const request&) noexcept { return 0; }
  void admitted(const request&) noexcept {}
  void preempted(const request&) noexcept {}
  void left(const request&) noexcept {}
  void served(const request&, std::uint32_t) noexcept {}
  status valid() const noexcept { return {}; }
};
static_assert(TenantOrder<all_hooks> && VersionedOrder<all_hooks> && YieldingOrder<all_hooks> &&
              PreparedOrder<all_hooks> && ArrivalOrder<all_hooks> && WatchingOrder<all_hooks> &&
              ServedOrder<all_hooks> && ValidatedAxis<all_hooks> && sd::order_hooks_well_formed<all_hooks>() &&
              sd::axis_hooks_well_formed<all_hooks>());
static_assert(!TenantOrder<order_model> && !VersionedOrder<order_model> && !YieldingOrder<order_model> &&
              !PreparedOrder<order_model> && !ArrivalOrder<order_model> && !WatchingOrder<order_model> &&
              !ServedOrder<order_model> && !ValidatedAxis<order_model> && sd::order_hooks_well_formed<order_model>());

struct not_by_tenant : order_model {
  static constexpr bool by_tenant = false;
};
struct narrow_version : order_model {
  int version() const noexcept { return 0; }
};
struct throwing_yields : order_model {
  bool yields(const request&, const request&) const { return false; }
};
struct silent_arrived : order_model {
  void arrived(const request&) noexcept {}
};
struct only_left : order_model {  // who counts waiting requests needs all three
  void left(const request&) noexcept {}
};
struct counting_served : order_model {
  std::uint64_t served(const request&, std::uint32_t) noexcept { return 0; }
};
static_assert(!TenantOrder<not_by_tenant>);
static_assert(!sd::order_hooks_well_formed<narrow_version>() && !sd::order_hooks_well_formed<throwing_yields>() &&
              !sd::order_hooks_well_formed<silent_arrived>() && !sd::order_hooks_well_formed<only_left>() &&
              !sd::order_hooks_well_formed<counting_served>());

struct chunking : batching_model {
  std::uint32_t chunk(const request&, std::uint32_t room, std::uint32_t) const noexcept { return room; }
};
struct old_chunk : batching_model {
  std::uint32_t chunk(const request&, std::uint32_t room) const noexcept { return room; }
};
struct costing : batching_model {
  std::uint64_t cost(std::uint32_t, std::uint32_t count) const noexcept { return count; }
};
struct narrow_cost : batching_model {
  std::uint32_t cost(std::uint32_t, std::uint32_t count) const noexcept { return count; }
};
struct boolean_judge : batching_model {
  bool judge(const request&, std::uint64_t, const load&) const noexcept { return true; }
};
static_assert(ChunkingBatching<chunking> && sd::batching_hooks_well_formed<chunking>() &&
              !ChunkingBatching<batching_model> && sd::batching_hooks_well_formed<batching_model>());
static_assert(CostingBatching<costing> && sd::batching_hooks_well_formed<costing>() &&
              !CostingBatching<batching_model> && !sd::batching_hooks_well_formed<narrow_cost>());
static_assert(!sd::batching_hooks_well_formed<old_chunk>() && !sd::batching_hooks_well_formed<boolean_judge>());

struct foresighted : admission_model {
  static constexpr bool counts_rows = true;
  std::uint32_t horizon() const noexcept { return 1; }
};
struct wide_horizon : admission_model {
  std::uint64_t horizon() const noexcept { return 1; }
};
struct boolean_valid : admission_model {
  bool valid() const noexcept { return true; }
};
static_assert(ForesightedAxis<foresighted> && RowCountingAxis<foresighted> &&
              sd::axis_hooks_well_formed<foresighted>());
static_assert(!ForesightedAxis<admission_model> && !RowCountingAxis<admission_model>);
static_assert(!sd::axis_hooks_well_formed<wide_horizon>() && !sd::axis_hooks_well_formed<boolean_valid>());

struct not_strict {
  bool admit_before(const request& a, const request& b) const noexcept { return a.arrival <= b.arrival; }
};
struct in_a_ring {  // rock, scissors, paper
  bool evict_before(const request& a, const request& b) const noexcept {
    return (a.prompt_tokens + 1) % 3 == b.prompt_tokens % 3;
  }
};
struct mutual : order_model {
  bool yields(const request&, const request&) const noexcept { return true; }
};

}  // namespace

TEST_CASE("the order laws catch axes that break them") {
  REQUIRE(test::order_lawful(order_model{}, 1));
  REQUIRE_FALSE(test::order_lawful(not_strict{}, 1));
  REQUIRE_FALSE(test::order_lawful(mutual{}, 1));
  REQUIRE_FALSE(test::victim_lawful(in_a_ring{}, 1));
}
