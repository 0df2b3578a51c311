// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/model.hpp"

#include "catch.hpp"
#include "fake_model.hpp"

using namespace quire;
using namespace quire::serve;

namespace {
struct no_close {
  status open(std::uint32_t&);
  status reserve(std::uint32_t, std::uint32_t);
  status commit(std::uint32_t, std::uint32_t);
  std::uint32_t length(std::uint32_t) const;
};
struct good_store : no_close {
  void close(std::uint32_t);
};
struct mutable_length : good_store {
  std::uint32_t length(std::uint32_t);
};
struct boolean_reserve : good_store {
  bool reserve(std::uint32_t, std::uint32_t);
};
struct signed_vocabulary {
  int vocabulary() const;
  status step(good_store&, std::span<const model_input>, float*);
};
struct silent_step {
  std::uint32_t vocabulary() const;
  void step(good_store&, std::span<const model_input>, float*);
};
struct good_model {
  std::uint32_t vocabulary() const;
  status step(good_store&, std::span<const model_input>, float*);
};
static_assert(SequenceStore<good_store> && !SequenceStore<no_close> && !SequenceStore<boolean_reserve> &&
              !SequenceStore<mutable_length>);
struct forking : good_store {
  status fork(std::uint32_t, std::uint32_t&);
};
struct forking_by_value : good_store {
  std::uint32_t fork(std::uint32_t);
};
static_assert(ForkingStore<forking> && !ForkingStore<good_store> && !ForkingStore<forking_by_value>);
static_assert(Model<good_model, good_store> && !Model<signed_vocabulary, good_store> &&
              !Model<silent_step, good_store>);
static_assert(!Model<good_model, no_close>);
}  // namespace

TEST_CASE("the fake model does not depend on how a text is cut into inputs") {
  const std::vector<std::int32_t> text{3, 1, 4, 1, 5, 9, 2, 6};
  test::hash_model model;
  std::vector<float> whole(model.vocabulary()), parts(model.vocabulary());
  for (std::uint32_t cut = 1; cut < text.size(); ++cut) {
    test::token_store store(8, 3);
    std::uint32_t a = 0, b = 0;
    REQUIRE(store.open(a));
    REQUIRE(store.open(b));
    REQUIRE(store.reserve(a, 8));
    REQUIRE(store.reserve(b, 8));
    const model_input all{a, 0, text, true}, first{b, 0, std::span(text).first(cut), false},
        rest{b, cut, std::span(text).subspan(cut), true};
    REQUIRE(model.step(store, {&all, 1}, whole.data()));
    REQUIRE(model.step(store, {&first, 1}, nullptr));
    REQUIRE(store.commit(b, cut));
    REQUIRE(model.step(store, {&rest, 1}, parts.data()));
    REQUIRE(whole == parts);
  }
}
