// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/retain/all.hpp"

#include "catch.hpp"

using namespace quire;

namespace {
struct no_sees {};
struct throwing_sees {
  kv::visibility sees() const { return {}; }
};
struct mutable_sees {
  kv::visibility sees() noexcept { return {}; }
};
struct other_sees {
  bool sees() const noexcept { return true; }
};
}  // namespace

static_assert(kv::retain::Retention<kv::retain::all>);
static_assert(!kv::retain::Retention<no_sees>);
static_assert(!kv::retain::Retention<throwing_sees>);
static_assert(!kv::retain::Retention<mutable_sees>);
static_assert(!kv::retain::Retention<other_sees>);

TEST_CASE("all keeps every token for every query") {
  const kv::visibility v = kv::retain::all{}.sees();
  CHECK_FALSE(v.limited());
  for (std::uint32_t query : {0u, 1u, 63u, 64u, 100000u, 4000000000u}) {
    CHECK(v.window_begin(query) == 0);
    CHECK(v.sees(query, 0));
    CHECK(v.sees(query, query));
    CHECK_FALSE(v.sees(query, query + 1));
    CHECK_FALSE(v.drops(query, 0));
  }
}
