// SPDX-License-Identifier: Apache-2.0
// Which caches a GPU serves, by name and by layout; and the plans of a step there. No device is needed.
#include "lm/device_caches.hpp"

#include <set>
#include <sstream>

#include "catch.hpp"
#include "lm/caches/scored.hpp"
#include "lm/caches/split.hpp"
#include "lm/device_waves.hpp"
#include "small_llama.hpp"

using namespace quire_lm;
using quire::attention::query_span;

TEST_CASE("the caches that are named as a GPU's are those whose layouts have kernels there") {
  const lm_test::small_llama_file file({.layers = 1}, 7);
  const model_weights w(gguf::file::open(file.path()));
  const std::vector<std::uint8_t> whole{1, 0};
  const backend_options o{.whole_heads = whole};
  std::set<std::string> named, served;
  std::string name;
  for (std::stringstream list{std::string(device_cache_names)}; std::getline(list, name, ',');) named.insert(name.substr(name.find_first_not_of(' ')));
  for (const cache_name& c : cache_names) {
    bool serves = false;
    const auto look = [&](const auto& layout, auto&&...) {
      serves = on_device<std::remove_cvref_t<decltype(layout)>>;
      return std::unique_ptr<backend>();
    };
    const cache_spec spec = parse_cache(c.name);
    plain_cache(spec, w.config.cache_extents(), look);
    split_cache(spec, w, o, look);
    scored_cache(spec, w, o, look);
    if (serves) served.insert(std::string(c.name));
  }
  CHECK(named == served);
  CHECK(served.count("bf16") == 1);
}

namespace {

/// Host memory in place of an upload's.
struct planned {
  std::vector<std::vector<std::byte>> kept;
  template <class L>
  void make(device_plans<L>& plans, std::span<const query_span> spans) {
    plans.order({}, spans);
    std::uint32_t rows = 0;
    for (const query_span& s : spans) rows += s.count;
    static_cast<void>(plans.measure(rows, false));
    const quire::status s = plans.make([&](std::size_t n) {
      kept.emplace_back(n + 64);
      auto* at = reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(kept.back().data()) + 15) / 16 * 16);
      return std::pair(std::span(at, n), static_cast<const std::byte*>(at));
    });
    INFO(quire::describe(s));
    REQUIRE(s);
  }
  std::size_t bytes() const {
    std::size_t n = 0;
    for (const auto& k : kept) n += quire::round_up(k.size() - 64, 16);
    return n;
  }
};

}  // namespace

TEST_CASE("a step's plans: decodes apart from chunks, one for each class of layers, within what was made room for") {
  const quire::extents e{3, 2, 64};
  const quire::attention::problem shape{.q_heads = 6, .kv_heads = 2};
  const quire::kv::head_classes classes(e, std::vector<std::uint8_t>{1, 0, 0, 1, 1, 0});  // layers 0 and 2 are alike
  const quire::kv::head_split<quire::kv::raw_bf16> layout(e, classes, quire::kv::retain::sinks_window{.sinks = 4, .window = 100});
  const plan_limits limits{.units = 7, .rows = 200, .sequences = 6, .tokens = 2000};
  device_plans plans(layout, shape, limits);
  const std::vector<query_span> spans{{4, 1000, 100, 0}, {2, 63, 2, 100}, {1, 60, 10, 102}, {0, 1900, 5, 112}};
  planned memory;
  memory.make(plans, spans);
  REQUIRE(plans.spans().size() == 4);
  CHECK(plans.spans()[0].sequence == 2);
  CHECK(plans.spans()[1].sequence == 0);
  CHECK(plans.spans()[2].sequence == 4);
  CHECK(plans.first(span_part::chunk) == 2);
  CHECK(std::vector<std::uint32_t>(plans.staged().begin(), plans.staged().end()) == std::vector<std::uint32_t>{0, 1, 1, 3});
  CHECK(std::vector<std::uint32_t>(plans.stands().begin(), plans.stands().end()) == std::vector<std::uint32_t>{0, 2, 3, 6});
  for (const span_part p : {span_part::decode, span_part::chunk}) {
    CHECK(plans.of(p, 0).items == plans.of(p, 2).items);
    CHECK(plans.of(p, 0).items != plans.of(p, 1).items);
    CHECK(plans.of(p, 1).span_count == 2);
    for (const std::uint32_t layer : {0u, 1u}) {
      const auto& plan = plans.of(p, layer);
      CHECK(plan.item_count <= plans.most_items());
      CHECK(plan.slots <= plans.worst().slots);
      CHECK(plan.depth <= plans.worst().depth);
      CHECK(plan.merge_depth <= plans.worst().merge_depth);
      for (std::uint32_t i = 0; i < plan.item_count; ++i) CHECK(plan.items[i].count * shape.group() <= (p == span_part::decode ? 16 : 64));
    }
  }
  CHECK(memory.bytes() <= plans.most_bytes());

  planned none;
  none.make(plans, std::span(spans).subspan(1, 1));
  CHECK(plans.of(span_part::chunk, 1).item_count == 0);
  CHECK(plans.of(span_part::decode, 1).item_count == 4);  // two tiles, two heads
  plans.number();
  CHECK(plans.spans()[0].sequence == 0);
}

TEST_CASE("no step needs more room than its limits say") {
  const quire::extents e{1, 1, 64};
  const quire::attention::problem shape{.q_heads = 1, .kv_heads = 1};
  const quire::kv::paged<quire::kv::raw_bf16> layout(e);
  const plan_limits limits{.units = 5, .rows = 40, .sequences = 8, .tokens = 4000};
  device_plans plans(layout, shape, limits);
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    std::uint32_t x = seed * 2654435761u + 1, row = 0;
    const auto draw = [&](std::uint32_t n) { return x = x * 1664525u + 1013904223u, (x >> 8) % n; };
    std::vector<query_span> spans;
    for (std::uint32_t s = 0; s < limits.sequences && row < limits.rows; ++s) {
      const std::uint32_t n = 1 + draw(std::min(limits.rows - row, 1 + draw(limits.rows)));
      spans.push_back({s, draw(limits.tokens - n), n, row});
      row += n;
    }
    planned memory;
    memory.make(plans, spans);
    REQUIRE(memory.bytes() <= plans.most_bytes());
    for (const span_part p : {span_part::decode, span_part::chunk}) {
      REQUIRE(plans.of(p, 0).item_count <= plans.most_items());
      REQUIRE(plans.of(p, 0).depth <= plans.worst().depth);
      REQUIRE(plans.of(p, 0).merge_depth <= plans.worst().merge_depth);
      REQUIRE(plans.of(p, 0).slots <= plans.worst().slots);
    }
  }
}

TEST_CASE("waves of a step are the tiles of its spans, one after another, numbered as the sequences are packed") {
  using base = quire::kv::paged<quire::kv::raw_bf16>;
  const base pages({1, 1, 64});
  const quire::kv::overlay<base, quire::kv::rest::drop> layout(pages, {}, 1000);
  const quire::attention::problem shape{.q_heads = 1, .kv_heads = 1};
  const plan_limits limits{.units = 3, .rows = 300, .sequences = 4, .tokens = 1000};
  const std::vector<query_span> step{{7, 60, 150, 0}, {3, 128, 64, 150}, {5, 63, 2, 214}};
  device_waves waves(layout, shape, limits);
  const auto first = waves.first(step);
  REQUIRE(first.size() == 3);
  CHECK((first[0].count == 4 && first[1].count == 64 && first[2].count == 1));
  CHECK(waves.end(step, 7) == 210);
  CHECK(std::vector<std::uint32_t>(waves.rows_before(first).begin(), waves.rows_before(first).end()) == std::vector<std::uint32_t>{0, 4, 68});
  const std::vector<quire::kv::packed_sequence> packed{{5, 65}, {7, 210}, {3, 192}};
  std::vector<std::vector<query_span>> later;
  CHECK(waves.more(step));
  CHECK_FALSE(waves.more(std::span(step).subspan(1, 1)));
  REQUIRE(waves.each_later({}, step, packed, [&](const auto& plans) {
    later.emplace_back(plans.spans().begin(), plans.spans().end());
    return quire::status{};
  }));
  REQUIRE(later.size() == 3);
  REQUIRE(later[0].size() == 2);  // a decode's row comes before a tile
  CHECK((later[0][0].sequence == 0 && later[0][0].first == 64 && later[0][0].count == 1 && later[0][0].row == 215));
  CHECK((later[0][1].sequence == 1 && later[0][1].first == 64 && later[0][1].count == 64 && later[0][1].row == 4));
  CHECK((later[2].size() == 1 && later[2][0].first == 192 && later[2][0].count == 18));
  CHECK(later.size() < waves.most(limits.rows));
  device_waves whole(pages, shape, limits);  // nothing is learned from a tile
  CHECK(whole.first(step).data() == step.data());
  CHECK(whole.most(limits.rows) == 1);
}
