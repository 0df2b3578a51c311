// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/store.hpp"

#include "catch.hpp"

using namespace quire;
using namespace quire::serve;

namespace {

using tokens = std::span<const std::int32_t>;

struct plain {
  status open(std::uint32_t&) { return {}; }
  status reserve(std::uint32_t, std::uint32_t) { return {}; }
  status commit(std::uint32_t, std::uint32_t) { return {}; }
  void close(std::uint32_t) {}
  std::uint32_t length(std::uint32_t) const { return 0; }
};
struct no_commit {
  status open(std::uint32_t&) { return {}; }
  status reserve(std::uint32_t, std::uint32_t) { return {}; }
  void close(std::uint32_t) {}
  std::uint32_t length(std::uint32_t) const { return 0; }
};
struct forking : plain {
  status fork(std::uint32_t, std::uint32_t&) { return {}; }
};
struct fork_without_status : plain {
  void fork(std::uint32_t, std::uint32_t&) {}
};
struct counted : plain {
  std::uint64_t capacity_tokens() const { return 0; }
  std::uint64_t free_tokens() const { return 0; }
};
struct half_counted : plain {
  std::uint64_t free_tokens() const { return 0; }
};
struct bounded : plain {
  status fits(std::uint32_t) const { return {}; }
};
struct bounded_by_changing : plain {
  status fits(std::uint32_t) { return {}; }
};
struct remembering : plain {
  using plain::open;
  status open(tokens, std::uint32_t&) { return {}; }
  status remember(std::uint32_t, tokens) { return {}; }
  std::uint32_t hit(tokens) const { return 0; }
  bool coming(tokens) const { return false; }
  std::uint64_t pin(tokens) { return 0; }
  void unpin(std::uint64_t) {}
};
struct remembering_for_nobody : plain {
  status remember(std::uint32_t, tokens) { return {}; }
  std::uint32_t hit(tokens) const { return 0; }
  bool coming(tokens) const { return false; }
  std::uint64_t pin(tokens) { return 0; }
  void unpin(std::uint64_t) {}
};
struct swapping : plain {
  status swap_out(std::uint32_t) { return {}; }
  status swap_in(std::uint32_t) { return {}; }
  bool present(std::uint32_t) const { return true; }
  std::uint64_t leaving_tokens() const { return 0; }
  void poll() {}
  void wait() {}
};
struct relieving : plain {
  bool relieve() { return false; }
};
struct relieving_in_silence : plain {
  void relieve() {}
};
struct prompted : plain {
  status announce(std::uint32_t, std::uint32_t) { return {}; }
};
struct prompted_in_silence : plain {
  void announce(std::uint32_t, std::uint32_t) {}
};
struct never_present : plain {
  status swap_out(std::uint32_t) { return {}; }
  status swap_in(std::uint32_t) { return {}; }
  std::uint64_t leaving_tokens() const { return 0; }
  void poll() {}
  void wait() {}
};

}  // namespace

TEST_CASE("stores model what they offer, and miss it by one member") {
  CHECK(SequenceStore<plain>);
  CHECK_FALSE(SequenceStore<no_commit>);
  CHECK(ForkingStore<forking>);
  CHECK_FALSE(ForkingStore<plain>);
  CHECK_FALSE(ForkingStore<fork_without_status>);
  CHECK(CountedStore<counted>);
  CHECK_FALSE(CountedStore<half_counted>);
  CHECK(BoundedStore<bounded>);
  CHECK_FALSE(BoundedStore<bounded_by_changing>);
  CHECK(PrefixStore<remembering>);
  CHECK_FALSE(PrefixStore<remembering_for_nobody>);
  CHECK(SwappingStore<swapping>);
  CHECK_FALSE(SwappingStore<never_present>);
  CHECK(RelievingStore<relieving>);
  CHECK_FALSE(RelievingStore<relieving_in_silence>);
  CHECK(PromptedStore<prompted>);
  CHECK_FALSE(PromptedStore<prompted_in_silence>);
}

TEST_CASE("a hook with the wrong signature is refused, not passed over") {
  CHECK(detail::store_hooks_well_formed<plain>());
  CHECK(detail::store_hooks_well_formed<forking>());
  CHECK(detail::store_hooks_well_formed<counted>());
  CHECK(detail::store_hooks_well_formed<remembering>());
  CHECK(detail::store_hooks_well_formed<swapping>());
  CHECK(detail::store_hooks_well_formed<prompted>());
  CHECK_FALSE(detail::store_hooks_well_formed<prompted_in_silence>());
  CHECK_FALSE(detail::store_hooks_well_formed<half_counted>());
  CHECK_FALSE(detail::store_hooks_well_formed<bounded_by_changing>());
  CHECK_FALSE(detail::store_hooks_well_formed<remembering_for_nobody>());
  CHECK_FALSE(detail::store_hooks_well_formed<never_present>());
  CHECK_FALSE(detail::store_hooks_well_formed<relieving_in_silence>());
}
