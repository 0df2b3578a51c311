// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/plan/build.hpp"

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "catch.hpp"
#include "quire/kv/layout/head_split.hpp"

using namespace quire;
using namespace quire::attention;

namespace {

std::uint32_t below(std::mt19937& random, std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); }

/// A plan and its memory.
struct owned_plan {
  std::vector<std::uint64_t> words;
  plan_view view;
  std::span<std::byte> memory() { return {reinterpret_cast<std::byte*>(words.data()), words.size() * 8}; }
};

template <kv::Layout L, Policy P>
owned_plan make(const L& layout, const problem& p, std::span<const query_span> spans, const P& policy, plan_shape asked, const cohort_plan* cohorts = nullptr) {
  owned_plan out;
  const plan_room room = plan_needs(layout, p, 0, spans, policy, asked, cohorts);
  out.words.resize(plan_bytes(room) / 8 + 1);
  const status made = plan_step(layout, p, 0, spans, policy, asked, room, out.memory(), out.view, cohorts);
  REQUIRE(made);
  return out;
}

/// What a stack of subtrees does (attention/cpu/subtree_stack.hpp), without states: which nodes lie on it and how many at most.
struct nodes {
  std::vector<std::pair<tree_node, bool>> on;  // node, empty
  std::uint64_t next = 0;
  std::uint32_t filled = 0, most = 0;
  void add(tree_node n, bool empty) {
    filled += !empty, most = std::max(most, filled), next = n.pieces().end;
    on.emplace_back(n, empty);
    while (on.size() >= 2) {
      const auto [a, a_empty] = on[on.size() - 2];
      const auto [b, b_empty] = on.back();
      if (a.level != b.level || a.index % 2 != 0) break;
      filled -= !a_empty && !b_empty;
      on.resize(on.size() - 2);
      on.emplace_back(tree_node{a.level + 1, a.index / 2}, a_empty && b_empty);
    }
  }
  void skip_to(std::uint64_t piece) {
    while (next < piece) add(first_subtree({next, piece}), true);
  }
  void fold(std::uint64_t piece) { skip_to(piece), add({0, piece}, false); }
};

/// Everything a reader relies on.
void check_view(const plan_view& p) {
  REQUIRE(p.workers <= p.slots);
  std::vector<std::uint64_t> next(p.item_count, 0);
  std::vector<std::uint32_t> folders(p.item_count, 0);
  std::vector<nodes> merged(p.item_count), alone(p.item_count);
  std::uint32_t depth = 0, merge_depth = 0;
  for (std::uint32_t w = 0; w < p.slots; ++w) {
    const range touched = items_of(p, w);
    REQUIRE(touched.empty() == (w >= p.workers));
    std::uint32_t partial = 0;
    for (auto i = static_cast<std::uint32_t>(touched.begin); i < touched.end; ++i) {
      const plan_item& item = p.items[i];
      const range mine = pieces_of(p, w, i);
      REQUIRE(!mine.empty());
      REQUIRE(mine.begin == next[i]);
      next[i] = mine.end;
      REQUIRE(w == item.first_worker + folders[i]++);
      const bool whole = mine.size() == item.pieces.count();
      partial += !whole;
      if (!whole) REQUIRE(split_slot(p, w, i) == (mine.begin != 0 ? 0 : 1));
      // The share's subtrees are aligned, lie inside what it folds, and go on the merged stack in order.
      nodes stack;
      const std::uint32_t first = mine.begin == 0 && item.prefix == 0 ? 0 : item.pieces.piece(static_cast<std::uint32_t>(mine.begin));
      stack.next = first;
      if (mine.begin == 0)  // the prefix is one more part, to the left of all
        for (nodes* n : {&alone[i], &merged[i]})
          for (std::uint32_t k = 0; k < item.prefix; ++k) n->fold(k);
      for (std::uint64_t k = mine.begin; k < mine.end; ++k) {
        stack.fold(item.pieces.piece(static_cast<std::uint32_t>(k)));
        alone[i].fold(item.pieces.piece(static_cast<std::uint32_t>(k)));
      }
      depth = std::max(depth, stack.most);
      const std::uint64_t last = item.pieces.piece(static_cast<std::uint32_t>(mine.end - 1));
      for (const auto& [node, empty] : stack.on) {
        REQUIRE(node.pieces().begin >= first);
        REQUIRE(node.pieces().end <= last + 1);
        if (empty) continue;
        merged[i].skip_to(node.pieces().begin);
        merged[i].add(node, false);
      }
    }
    REQUIRE(partial <= split_items);
  }
  for (std::uint32_t i = 0; i < p.item_count; ++i) {
    REQUIRE(next[i] == p.items[i].pieces.count());
    REQUIRE(folders[i] == p.items[i].workers);
    REQUIRE(merged[i].on == alone[i].on);  // the tree of one worker
    merge_depth = std::max({merge_depth, merged[i].most, alone[i].most});
  }
  REQUIRE(depth <= p.depth);
  REQUIRE(merge_depth <= p.merge_depth);
  for (std::uint32_t w = p.workers; w <= p.slots; ++w) REQUIRE(p.cuts[w] == plan_cut{p.item_count, 0});
}

std::vector<query_span> ragged(std::mt19937& random, std::uint32_t most) {
  std::vector<query_span> spans(below(random, 9));
  std::uint32_t row = 0;
  for (std::uint32_t s = 0; s < spans.size(); ++s) {
    const std::uint32_t kind = below(random, 5), count = kind == 0 ? 0 : kind == 1 ? below(random, 150) : 1;
    spans[s] = {s, below(random, 6) == 0 ? 0 : below(random, below(random, 2) == 0 ? most : 700), count, row};
    row += count;
  }
  return spans;
}

/// Cohorts of spans whose page tables begin alike.
struct shared_prefixes {
  cohort_plan cohorts{16};
  shared_prefixes(const kv::paged<kv::raw_bf16>& layout, std::span<const query_span> spans, std::mt19937& random, std::uint32_t members) {
    using view = kv::store_view<kv::paged<kv::raw_bf16>>;
    std::vector<std::vector<std::uint32_t>> tables(spans.size());
    std::vector<view::record> records(spans.size());
    std::uint32_t page = 1u << 16;
    for (std::uint32_t s = 0; s < spans.size(); ++s) {
      const std::uint32_t alike = below(random, 1 + tiles_filled(spans[s].first));
      for (std::uint32_t t = 0; t < tiles_touched(spans[s].first + 1); ++t) tables[s].push_back(t < alike ? t : page++);
      records[s].pages[0] = tables[s].data(), records[s].length = spans[s].first;
    }
    cohorts.find(view{.layout = layout, .sequences = records.data()}, spans, members);
  }
};

/// Every prefix is tied to the items that go on from it, and they to it.
void check_members(const plan_view& p, const cohort_plan& cohorts, std::uint32_t heads) {
  REQUIRE(p.prefix_items == cohorts.cohorts().size() * heads);
  std::uint32_t members = 0, tied = 0;
  for (std::uint32_t i = 0; i < p.prefix_items; ++i) {
    const plan_item& prefix = p.items[i];
    REQUIRE(prefix.link == members);
    members += prefix.count;
    for (std::uint32_t m = 0; m < prefix.count; ++m) {
      const plan_member& member = p.members[prefix.link + m];
      const plan_item& item = p.items[member.item];
      REQUIRE((item.span == member.span && item.head == prefix.head && item.prefix == prefix.pieces.end && item.link == i && item.ordinal == m));
      REQUIRE(cohorts.pieces(member.span) == prefix.pieces.end);
    }
  }
  REQUIRE(members == p.member_count);
  for (std::uint32_t i = p.prefix_items; i < p.item_count; ++i) tied += p.items[i].prefix != 0;
  REQUIRE(tied == members);
}

template <Policy P>
void check_policy(const P& policy) {
  std::mt19937 random(7);
  const extents e{1, 3, 64};
  const std::uint8_t keep[] = {1, 0, 0};
  const kv::head_classes classes(e, keep);
  std::uint32_t prefixes = 0;
  for (int round = 0; round < 120; ++round) {
    const std::uint32_t group = 1 + below(random, 8);
    const problem p{.q_heads = 3 * group, .kv_heads = 3};
    const auto spans = ragged(random, round % 10 == 0 ? 120000 : 9000);
    const plan_shape asked{.units = 1 + below(random, round % 2 ? 12 : 400), .block_rows = below(random, 2) == 0 ? 16u : 64u};
    CAPTURE(round, group, asked.units, asked.block_rows);
    check_view(make(kv::paged<kv::raw_bf16>(e), p, spans, policy, asked).view);
    const std::uint32_t sinks = below(random, 3) == 0 ? 0 : below(random, 3000), window = 1 + below(random, 5000);
    check_view(make(kv::head_split<kv::raw_bf16>(e, classes, {.sinks = sinks, .window = window}), p, spans, policy, asked).view);
    const shared_prefixes shared(kv::paged<kv::raw_bf16>(e), spans, random, std::max(1u, 64 / group));
    const owned_plan together = make(kv::paged<kv::raw_bf16>(e), p, spans, policy, asked, &shared.cohorts);
    check_view(together.view);
    check_members(together.view, shared.cohorts, 3);
    prefixes += together.view.prefix_items;
    problem windowed = p;
    windowed.window = 4096;
    const owned_plan each = make(kv::paged<kv::raw_bf16>(e), windowed, spans, policy, asked, &shared.cohorts);  // where a query stands counts
    REQUIRE((each.view.prefix_items == 0 && each.view.member_count == 0));
    check_view(each.view);
  }
  CHECK(prefixes > 20);
}

const kv::paged<kv::raw_bf16> three({1, 3, 64});

}  // namespace

TEST_CASE("every policy deals every piece once, in whole subtrees of the one tree") {
  SECTION("lean") { check_policy(lean_split{}); }
  SECTION("lean, two pieces at least") { check_policy(lean_split{{}, 2}); }
  SECTION("lean, cut at every third piece") { check_policy(lean_split{{.grain = 3}}); }
  SECTION("no split") { check_policy(no_split{}); }
  SECTION("fixed split") { check_policy(fixed_split{{}, 7}); }
  SECTION("heuristic") { check_policy(heuristic_split{}); }
}

TEST_CASE("items keep to the rows of a block and to one tile") {
  std::mt19937 random(3);
  for (const std::uint32_t rows : {16u, 64u, 192u})
    for (const std::uint32_t group : {1u, 3u, 7u, 16u}) {
      const problem p{.q_heads = 3 * group, .kv_heads = 3};
      const auto spans = ragged(random, 5000);
      const owned_plan plan = make(three, p, spans, lean_split{}, {.units = 9, .block_rows = rows});
      std::uint64_t covered = 0, expected = 0;
      for (std::uint32_t i = 0; i < plan.view.item_count; ++i) {
        const plan_item& item = plan.view.items[i];
        REQUIRE(item.count * group <= rows);
        REQUIRE(item.first / tile_tokens == (item.first + item.count - 1) / tile_tokens);
        covered += item.count;
      }
      for (const query_span& s : spans) expected += 3 * s.count;
      REQUIRE(covered == expected);
    }
}

TEST_CASE("thread blocks get what threads get") {
  std::mt19937 random(5);
  const problem p{.q_heads = 9, .kv_heads = 3};
  for (int round = 0; round < 60; ++round) {
    const auto spans = ragged(random, 9000);
    const std::uint32_t units = 1 + below(random, 40);
    const lean_split policy;
    const owned_plan plan = make(three, p, spans, policy, {.units = units, .block_rows = 12});
    std::uint64_t pieces = 0;
    const auto each = [&](auto&& f) { return for_each_item(three, p, 0, spans, block_tokens(p, plan_shape{.block_rows = 12}), policy, f); };
    const std::uint64_t total = each([&](const work_item&, item_load i, std::uint64_t) { pieces += i.pieces; });
    const std::uint32_t workers = policy.workers({.pieces = pieces}, total, units);
    std::uint32_t planned = 0;
    for (std::uint32_t w = 0; w < workers; ++w) {
      bool any = false;
      std::uint32_t number = 0;
      each([&](const work_item& item, item_load load, std::uint64_t before) {
        const range here = share_of(policy, load, before, deal(total, workers, w));
        if (!here.empty()) {
          REQUIRE(planned < plan.view.workers);
          REQUIRE(pieces_of(plan.view, planned, number) == here);
          REQUIRE(static_cast<const work_item&>(plan.view.items[number]) == item);
          any = true;
        }
        ++number;
      });
      planned += any;
    }
    REQUIRE(planned == plan.view.workers);
  }
}

TEST_CASE("lean ends within one piece and two starts of the ideal") {
  std::mt19937 random(6);
  const problem p{.q_heads = 9, .kv_heads = 3};
  for (int round = 0; round < 100; ++round) {
    const auto spans = ragged(random, 40000);
    const std::uint32_t units = 1 + below(random, 300);
    const lean_split policy;
    const owned_plan plan = make(three, p, spans, policy, {.units = units});
    const plan_view& v = plan.view;
    const auto rows = [&](std::uint32_t i) { return v.items[i].count * 3; };
    std::uint64_t total = 0, pieces = 0, start = 0, piece = 0;
    for (std::uint32_t i = 0; i < v.item_count; ++i) {
      pieces += v.items[i].pieces.count(), total += policy.length({v.items[i].pieces.count(), rows(i)});
      start = std::max(start, policy.costs.start_of(rows(i))), piece = std::max(piece, policy.costs.piece_of(rows(i)));
    }
    for (std::uint32_t w = 0; w < v.workers; ++w) {
      std::uint64_t cost = 0;
      const range touched = items_of(v, w);
      for (auto i = static_cast<std::uint32_t>(touched.begin); i < touched.end; ++i) cost += policy.costs.start_of(rows(i)) + pieces_of(v, w, i).size() * policy.costs.piece_of(rows(i));
      REQUIRE(cost <= total / std::min<std::uint64_t>(units, pieces) + 1 + piece + 2 * start);
    }
  }
}

TEST_CASE("a step with nothing to fold has a plan of no workers, in any room") {
  const problem p{.q_heads = 3, .kv_heads = 3};
  const query_span none[] = {{0, 0, 0, 0}, {1, 512, 0, 0}};
  std::vector<std::uint64_t> words(100);
  plan_view v;
  for (const auto spans : {std::span<const query_span>(none), std::span<const query_span>()}) {
    REQUIRE(plan_step(three, p, 0, spans, lean_split{}, {.units = 8}, {.items = 3, .slots = 8, .spans = 2}, std::as_writable_bytes(std::span(words)), v));
    CHECK((v.item_count == 0 && v.workers == 0 && v.slots == 8));
    check_view(v);
  }
  const query_span first[] = {{0, 0, 1, 0}};  // the first token of all: one piece for each head, more workers than pieces
  REQUIRE(plan_step(three, p, 0, first, lean_split{}, {.units = 8}, {.items = 3, .slots = 8, .spans = 2}, std::as_writable_bytes(std::span(words)), v));
  CHECK((v.item_count == 3 && v.workers == 3));
  check_view(v);
}

TEST_CASE("places in memory depend on the room alone") {
  const problem p{.q_heads = 3, .kv_heads = 3};
  const plan_room room{.items = 64, .slots = 40, .spans = 8};
  std::vector<std::uint64_t> words(plan_bytes(room) / 8 + 1);
  plan_view a, b;
  const query_span one[] = {{0, 5000, 1, 0}}, two[] = {{0, 70, 64, 0}, {1, 9000, 1, 64}};
  REQUIRE(plan_step(three, p, 0, one, lean_split{}, {.units = 40}, room, std::as_writable_bytes(std::span(words)), a));
  const owned_plan exact = make(three, p, one, lean_split{}, {.units = 40});
  CHECK(exact.view.workers == a.workers);
  for (std::uint32_t w = 0; w <= a.workers; ++w) CHECK(a.cuts[w] == exact.view.cuts[w]);
  REQUIRE(plan_step(three, p, 0, two, lean_split{}, {.units = 40}, room, std::as_writable_bytes(std::span(words)), b));
  CHECK((a.items == b.items && a.cuts == b.cuts && a.spans == b.spans));
  CHECK((reinterpret_cast<std::uintptr_t>(b.spans) + room.spans * sizeof(query_span) <= reinterpret_cast<std::uintptr_t>(words.data()) + plan_bytes(room)));
  CHECK(b.spans[1].sequence == 1);
  check_view(b);
  REQUIRE(plan_step(three, p, 0, one, lean_split{}, {.units = 40}, room, std::as_writable_bytes(std::span(words)), a));
  for (std::uint32_t i = a.item_count; i < room.items; ++i) CHECK(a.items[i] == plan_item{});  // what stood there is gone
  const plan_view kept = bounded(a, room, 30);
  CHECK((kept.items == a.items && kept.item_count == room.items && kept.span_count == room.spans && kept.workers == room.slots && kept.slots == room.slots));
  CHECK((kept.depth == 30 && kept.merge_depth == 30));
}

TEST_CASE("a plan that does not fit says what is short") {
  const problem p{.q_heads = 6, .kv_heads = 3};
  const query_span spans[] = {{0, 5000, 1, 0}};
  std::vector<std::uint64_t> words(1000);
  const auto memory = std::as_writable_bytes(std::span(words));
  plan_view v;
  const auto plan = [&](plan_shape asked, plan_room room, std::span<std::byte> to) { return plan_step(three, p, 0, spans, lean_split{}, asked, room, to, v); };
  CHECK(plan({.units = 8, .block_rows = 1}, {3, 8, 1}, memory) == status{errc::unsupported_shape, "block_rows (query heads of a group at least)", 1, 2, 1 << 16});
  CHECK(plan({.units = 0}, {3, 8, 1}, memory) == status{errc::unsupported_shape, "units", 0, 1, 1 << 24});
  CHECK(plan({.units = 8}, {2, 8, 1}, memory) == status{errc::out_of_range, "items of a plan", 3, 0, 2});
  CHECK(plan({.units = 8}, {3, 7, 1}, memory) == status{errc::out_of_range, "workers of a plan", 8, 0, 7});
  CHECK(plan({.units = 8}, {3, 8, 0}, memory) == status{errc::out_of_range, "spans of a plan", 1, 0, 0});
  CHECK(plan({.units = 8}, {3, 8, 1}, memory.first(100)).code == errc::out_of_range);
  CHECK(v.items == nullptr);
  CHECK(plan({.units = 8}, {3, 8, 1}, memory.first(plan_bytes({3, 8, 1}))));
  CHECK(plan_needs(three, p, 0, spans, lean_split{}, {.units = 8}) == plan_room{3, 8, 1});
}

TEST_CASE("layers whose heads lie in the same groups share a plan") {
  const extents e{3, 2, 64};
  const std::uint8_t keep[] = {1, 0, 0, 1, 1, 0};
  const kv::head_classes classes(e, keep);
  const kv::head_split<kv::raw_bf16> split(e, classes, {.sinks = 64, .window = 256});
  CHECK(same_plan(split, 0, 2));
  CHECK(!same_plan(split, 0, 1));
  CHECK(same_plan(kv::paged<kv::raw_bf16>(e), 0, 1));
}
