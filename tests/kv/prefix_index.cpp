// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/prefix_index.hpp"

#include <map>
#include <random>

#include "catch.hpp"
#include "quire/kv/evict/greedy_dual.hpp"
#include "quire/kv/evict/lfu.hpp"

using namespace quire;

namespace {

/// Hashes that collide all the time: an index may become slow by them, never wrong.
struct three_names {
  std::uint64_t operator()(std::uint64_t path, const std::int32_t* tokens) const noexcept { return (path + static_cast<std::uint32_t>(tokens[63])) % 3 * 0x100000001u; }
};
struct one_name {
  std::uint64_t operator()(std::uint64_t, const std::int32_t*) const noexcept { return 0xfffffffffffffffeu; }  // and it wraps around
};

/// A path is a list of kinds of tiles; a kind has 64 tokens of its own that differ from others' in one token only.
using path = std::vector<std::uint8_t>;
std::vector<std::int32_t> tokens_of(const path& p, std::size_t more = 0) {
  std::vector<std::int32_t> tokens;
  for (std::uint8_t kind : p)
    for (int t = 0; t < 64; ++t) tokens.push_back(t == kind * 21 ? 1000 : t);
  tokens.resize(tokens.size() + more, 5);
  return tokens;
}

/// What an index promises, said as plainly as possible: a map from whole paths.
template <class Policy>
struct plain {
  struct info {
    std::uint32_t pages = 0, holds = 0;
    kv::evict::usage usage;
  };
  using key = std::pair<std::uint64_t, path>;
  std::map<key, info> kept;
  Policy policy;
  std::uint64_t clock = 0;

  static bool begins(const key& whole, const key& part) {
    return whole.first == part.first && whole.second.size() >= part.second.size() && std::equal(part.second.begin(), part.second.end(), whole.second.begin());
  }
  void used(const key& k, bool hit) {  // a use of a path is one of all its beginnings
    ++clock;
    for (auto& [at, x] : kept)
      if (begins(k, at)) x.usage.clock = clock, x.usage.age = policy.age(), x.usage.hits += hit;
  }
  bool needed(const key& k) const {
    for (const auto& [at, x] : kept)
      if (x.holds != 0 && begins(at, k)) return true;
    return false;
  }
  std::uint32_t evictable() const {
    std::uint32_t n = 0;
    for (const auto& [at, x] : kept) n += !needed(at);
    return n;
  }
  std::size_t match(std::uint64_t space, path p) const {
    for (; !p.empty() && kept.count({space, p}) == 0; p.pop_back()) {}
    return p.size();
  }
  /// The end of a path worth least.
  const key* victim() const {
    const key* least = nullptr;
    for (const auto& [at, x] : kept) {
      bool end = x.holds == 0;
      for (const auto& [other, y] : kept) end = end && (other == at || !begins(other, at));
      if (!end) continue;
      const auto worth = [&](const key& k) { return std::pair(policy.value(kept.at(k).usage), kept.at(k).usage.clock); };
      if (least == nullptr || worth(at) < worth(*least)) least = &at;
    }
    return least;
  }
};

template <class Policy, class Hash>
void wander(std::uint32_t operations, unsigned seed, Policy policy, Hash hash) {
  constexpr std::uint32_t capacity = 20;
  kv::prefix_index<std::uint32_t, Policy, Hash> index(capacity, policy, hash);
  plain<Policy> model{{}, policy, 0};
  std::vector<std::pair<typename plain<Policy>::key, kv::prefix_place>> held;
  std::mt19937 random(seed);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  std::uint32_t pages = 0, inserted = 0, evicted = 0, refused = 0, hits = 0;
  for (std::uint32_t i = 0; i < operations; ++i) {
    const std::uint64_t space = below(2) * 77;
    path p(1 + below(6));
    for (auto& kind : p) kind = static_cast<std::uint8_t>(below(4) == 0 ? 1 + below(2) : 0);
    const auto tokens = tokens_of(p, below(64));
    kv::prefix_place at = index.match(space, tokens);
    const std::size_t found = model.match(space, p);
    if (at.tiles != found || (found != 0) != (at.node != at.root)) FAIL("operation " << i << ": " << at.tiles << " tiles found, " << found << " kept");
    if (found != 0 && index.pages(at.node) != model.kept.at({space, path(p.begin(), p.begin() + static_cast<long>(found))}).pages) FAIL("operation " << i << ": wrong pages");
    hits += found != 0;
    const std::uint32_t dice = below(10);
    const bool tight = i / 1000 % 5 == 4;  // nearly everything is held
    if (dice < 4 && found < p.size()) {  // keep one tile more, which must not evict what leads to it
      const path longer(p.begin(), p.begin() + static_cast<long>(found) + 1);
      if (index.full()) {
        const kv::prefix_place before = at;
        index.hold(before);
        if (found != 0) ++model.kept.at({space, path(longer.begin(), longer.end() - 1)}).holds;
        const auto* victim = model.victim();
        std::uint32_t gone = 0;
        const bool done = index.evict([&](std::uint32_t x) { gone = x; });
        if (done != (victim != nullptr) || (done && gone != model.kept.at(*victim).pages)) FAIL("operation " << i << ": evicted " << gone);
        if (victim) model.policy.evicted(model.policy.value(model.kept.at(*victim).usage)), model.kept.erase(model.kept.find(*victim)), ++evicted;
        index.let_go(before);
        if (found != 0) --model.kept.at({space, path(longer.begin(), longer.end() - 1)}).holds, model.used({space, path(longer.begin(), longer.end() - 1)}, false);
        if (!done) ++refused;
      }
      if (!index.full()) {
        index.insert(at, tokens.data() + found * 64, ++pages);
        model.kept[{space, longer}] = {pages, 0, {0, 0, static_cast<std::uint32_t>(found), 0}};
        model.used({space, longer}, false);
        ++inserted;
        if (at.tiles != found + 1 || index.pages(at.node) != pages) FAIL("operation " << i << ": not where it was put");
      }
    } else if (dice < 5 && found != 0) {
      index.use(at);
      model.used({space, path(p.begin(), p.begin() + static_cast<long>(found))}, true);
    } else if (dice < (tight ? 8u : 7u) && found != 0) {
      const path whole(p.begin(), p.begin() + static_cast<long>(found));
      const auto up = static_cast<std::uint32_t>(1 + below(static_cast<std::uint32_t>(found)));
      const kv::prefix_place place = index.above(at, up);
      const path part(whole.begin(), whole.begin() + up);
      if (place.tiles != up || index.pages(place.node) != model.kept.at({space, part}).pages) FAIL("operation " << i << ": above is elsewhere");
      index.hold(place);
      ++model.kept.at({space, part}).holds;
      held.push_back({{space, part}, place});
    } else if (dice < 9 && !held.empty() && (below(3) != 0 || held.size() > (tight ? 40 : 5))) {
      const std::size_t k = below(static_cast<std::uint32_t>(held.size()));
      index.let_go(held[k].second);
      --model.kept.at(held[k].first).holds;
      model.used(held[k].first, false);
      held.erase(held.begin() + static_cast<long>(k));
    } else if (below(4) == 0) {
      const auto* victim = model.victim();
      std::uint32_t gone = 0;
      if (index.evict([&](std::uint32_t x) { gone = x; }) != (victim != nullptr) || (victim && gone != model.kept.at(*victim).pages)) FAIL("operation " << i << ": evicted " << gone);
      if (victim) model.policy.evicted(model.policy.value(model.kept.at(*victim).usage)), model.kept.erase(model.kept.find(*victim)), ++evicted;
    }
    std::vector<std::uint32_t> holds(capacity, 0);
    for (const auto& h : held) ++holds[h.second.node];
    if (!index.check(holds)) FAIL("operation " << i << ": check()");
    if (index.size() != model.kept.size() || index.evictable() != model.evictable()) FAIL("operation " << i << ": sizes");
  }
  INFO(inserted << " inserted, " << evicted << " evicted, " << refused << " refused, " << hits << " hits");
  CHECK(inserted > operations / 20);
  CHECK(evicted > operations / 20);
  CHECK(hits > operations / 4);
  CHECK(refused * 5000 > operations);
}

}  // namespace

TEST_CASE("a hundred thousand random operations leave an index as a map of whole paths says, under every policy and bad hashes") {
  wander(30000, 1, kv::evict::lru{}, kv::tile_hash{});
  wander(20000, 2, kv::evict::lru{}, three_names{});
  wander(10000, 3, kv::evict::lru{}, one_name{});
  wander(15000, 4, kv::evict::lfu{}, three_names{});
  wander(15000, 5, kv::evict::lfu{.ageing = true}, kv::tile_hash{});
  wander(15000, 6, kv::evict::greedy_dual{}, three_names{});
  wander(15000, 7, kv::evict::greedy_dual{.token = 1, .row = 0.1, .by_hits = true}, kv::tile_hash{});
}

TEST_CASE("a tile is found by all of its tokens and all that lead to it") {
  kv::prefix_index<int, kv::evict::lru, one_name> index(8, {}, {});
  const auto tokens = tokens_of({0, 1, 0}, 1);
  kv::prefix_place at{5};
  for (int t = 0; t < 3; ++t) index.insert(at, tokens.data() + t * 64, 10 + t);
  CHECK(index.match(5, tokens) == at);
  for (std::size_t i = 0; i < 192; ++i) {
    auto other = tokens;
    other[i] ^= 1 << 20;
    if (index.match(5, other).tiles != i / 64) FAIL("token " << i);
  }
  CHECK(index.match(5, std::span(tokens).first(191)).tiles == 2);
  CHECK(index.match(5, std::span(tokens).first(63)).tiles == 0);
  CHECK(index.match(5, {}).tiles == 0);
  CHECK(index.match(6, tokens).tiles == 0);                           // another space
  CHECK(index.match(5, std::span(tokens).subspan(64)).tiles == 0);    // not a beginning
}

TEST_CASE("names differ by every token, their order, the path and the space") {
  const kv::prefix_index<int> index(1);
  const auto tokens = tokens_of({2});
  std::vector<std::uint64_t> names{index.name({1}, tokens.data()), index.name({2}, tokens.data()), kv::tile_hash{}(3, tokens.data()), kv::tile_hash{.seed = 9}(1, tokens.data())};
  for (std::size_t i = 0; i < 64; ++i) {
    auto other = tokens;
    other[i] += 1;
    names.push_back(index.name({1}, other.data()));
    if (i == 0) continue;
    other = tokens;
    std::swap(other[i - 1], other[i]);
    if (other != tokens) names.push_back(index.name({1}, other.data()));
  }
  std::sort(names.begin(), names.end());
  CHECK(std::unique(names.begin(), names.end()) == names.end());
}

TEST_CASE("an index of no tiles is full and finds nothing") {
  kv::prefix_index<int> index(0);
  CHECK(index.full());
  CHECK(index.evictable() == 0);
  CHECK(index.match(1, tokens_of({0, 0})).tiles == 0);
  CHECK_FALSE(index.evict([](int) {}));
  CHECK(index.check({}));
}
