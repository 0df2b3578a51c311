// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/memory.hpp"

#include "catch.hpp"
#include "fake_memory.hpp"

using namespace quire;
using namespace quire::schedule;

namespace {

struct plain {
  status reserve(request_id, std::uint32_t) { return {}; }
  void release(request_id) {}
};
struct boolean_reserve : plain {
  bool reserve(request_id, std::uint32_t) { return true; }
};
struct no_release {
  status reserve(request_id, std::uint32_t) { return {}; }
};
static_assert(Memory<plain> && !Memory<boolean_reserve> && !Memory<no_release> && !Memory<int>);
static_assert(schedule::detail::memory_hooks_well_formed<plain>());

struct all_hooks : plain {
  status admit(request_id) { return {}; }
  std::uint32_t resident(request_id) { return 0; }
  bool ready(request_id) { return true; }
  preemption_kind preempt(request_id, preemption_kind kind) { return kind; }
  status fits(std::uint32_t) { return {}; }
  std::uint64_t capacity_tokens() { return 0; }
  std::uint64_t free_tokens() { return 0; }
  std::uint64_t leaving_tokens() { return 0; }
};
static_assert(AdmittingMemory<all_hooks> && ResidentMemory<all_hooks> && PreemptingMemory<all_hooks> &&
              BoundedMemory<all_hooks> && ReadyMemory<all_hooks> && CountedMemory<all_hooks> &&
              LeavingMemory<all_hooks> && schedule::detail::memory_hooks_well_formed<all_hooks>());
struct wide_resident : plain {
  std::uint64_t resident(request_id) { return 0; }
};
struct boolean_fits : plain {
  bool fits(std::uint32_t) { return true; }
};
struct silent_admit : plain {
  void admit(request_id) {}
};
static_assert(!schedule::detail::memory_hooks_well_formed<wide_resident>());
static_assert(!schedule::detail::memory_hooks_well_formed<boolean_fits>());
struct old_preempt : plain {
  void preempt(request_id) {}
};
struct silent_preempt : plain {
  void preempt(request_id, preemption_kind) {}
};
struct half_counted : plain {
  std::uint64_t free_tokens() { return 0; }
};
struct narrow_leaving : plain {
  std::uint32_t leaving_tokens() { return 0; }
};
struct status_ready : plain {
  status ready(request_id) { return {}; }
};
static_assert(!schedule::detail::memory_hooks_well_formed<silent_admit>());
static_assert(!schedule::detail::memory_hooks_well_formed<old_preempt>());
static_assert(!schedule::detail::memory_hooks_well_formed<silent_preempt>());
static_assert(!schedule::detail::memory_hooks_well_formed<half_counted>());
static_assert(!schedule::detail::memory_hooks_well_formed<narrow_leaving>());
static_assert(!schedule::detail::memory_hooks_well_formed<status_ready>());

}  // namespace

TEST_CASE("the fake memory reserves all or nothing and takes everything back") {
  test::fake_memory m{.pages = 4, .page_tokens = 8};
  REQUIRE(m.reserve(1, 9));
  REQUIRE(m.used == 2);
  REQUIRE(m.reserve(1, 7));
  REQUIRE(m.used == 2);
  REQUIRE(m.reserve(2, 17).code == errc::out_of_pages);
  REQUIRE(m.used == 2);
  m.release(1);
  REQUIRE(m.used == 0);
}
