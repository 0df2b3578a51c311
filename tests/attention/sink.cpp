// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/sink.hpp"

#include <cmath>
#include <map>
#include <mutex>

#include "attention/fixture.hpp"
#include "catch.hpp"

using namespace fixture;
using attention::score_tile;

namespace {

/// A model of ScoreSink, and copies of it that miss one member each.
struct whole {
  static constexpr bool active = true;
  void logits(const score_tile&, const float*) const noexcept {}
  void row(const score_tile&, float, float) const noexcept {}
};
struct no_active {
  void logits(const score_tile&, const float*) const noexcept {}
  void row(const score_tile&, float, float) const noexcept {}
};
struct throwing_logits : whole {
  void logits(const score_tile&, const float*) const {}
};
struct mutable_logits : whole {
  void logits(const score_tile&, const float*) noexcept {}
};
struct no_row : whole {
  void row(const score_tile&, float, float) const noexcept = delete;
};

struct book {
  struct entry {
    std::map<std::uint32_t, std::vector<float>> tiles;  // by slot
    float m = 0, l = -1;
    int rows = 0;
    bool twice = false, late = false;
  };
  std::mutex mutex;
  std::map<std::pair<std::uint32_t, std::uint32_t>, entry> entries;  // (query, head)
};
struct recorder {
  static constexpr bool active = true;
  book* to;
  void logits(const score_tile& at, const float* x) const noexcept {
    const std::lock_guard lock(to->mutex);
    auto& e = to->entries[{at.query, at.q_head}];
    e.twice = e.twice || !e.tiles.emplace(at.slot, std::vector<float>(x, x + tile_tokens)).second;
    e.late = e.late || e.rows != 0;
  }
  void row(const score_tile& at, float m, float l) const noexcept {
    const std::lock_guard lock(to->mutex);
    auto& e = to->entries[{at.query, at.q_head}];
    e.m = m, e.l = l, ++e.rows;
  }
};

}  // namespace

static_assert(attention::ScoreSink<whole> && attention::ScoreSink<attention::null_sink> && attention::ScoreSink<recorder>);
static_assert(!attention::ScoreSink<no_active> && !attention::ScoreSink<throwing_logits> && !attention::ScoreSink<mutable_logits> && !attention::ScoreSink<no_row>);

TEST_CASE("recorded weights sum to one and give the output back") {
  const attention::problem p{.q_heads = 4, .kv_heads = 2, .dim_k = 16, .dim_v = 16};
  const std::uint32_t tokens = 1100, chunk = 130;
  with_layouts<kv::raw_f32, kv::raw_f32>({1, 2, 16}, [&](const auto& layout, const char* name) {
    using L = std::remove_cvref_t<decltype(layout)>;
    const rows data(tokens, p, 9);
    kv::store<L> store(layout, kv::pages_for(layout, 1, tokens, tokens));
    std::uint32_t s = 0;
    REQUIRE(store.open(s));
    for (std::uint32_t workers : {1u, 3u}) {
      INFO(name << " workers " << workers);
      REQUIRE(store.truncate(s, 0));
      thread_executor pool(workers);
      attention::cpu::workspace<L> work(layout, p, workers, tokens, 1, tokens);
      book seen;
      std::vector<float> out(data.q.size());
      for (std::uint32_t at = 0; at < tokens; at += at < tokens - chunk ? tokens - chunk : chunk) {
        const std::uint32_t n = at == 0 ? tokens - chunk : chunk;
        REQUIRE(store.reserve(s, n));
        const attention::query_span span{s, at, n, 0};
        attention::cpu::layer_call<L> c{store.view(), p, 0, {&span, 1}};
        c.q = data.q.data() + at * data.q_width, c.k = data.k.data() + at * data.kv_width, c.v = data.v.data() + at * data.kv_width;
        c.ldq = c.ldo = data.q_width, c.ldkv = data.kv_width, c.out = out.data() + at * data.q_width;
        if (at == 0) pool.run([&](const team& t) { attention::cpu::attend(t, c, work); });
        else pool.run([&](const team& t) { attention::cpu::attend(t, c, work, recorder{&seen}); });
        REQUIRE(store.commit(s, n));
      }
      REQUIRE(seen.entries.size() == chunk * p.q_heads);
      double sum_error = 0, logit_error = 0, out_error = 0;
      for (const auto& [key, e] : seen.entries) {
        const auto [query, q_head] = key;
        const std::uint32_t head = q_head / p.group();
        const kv::visibility sees = layout.group_sees(layout.slot(0, head).group);
        if (e.rows != 1 || e.twice || e.late) FAIL("query " << query << ": a tile came twice or the row did not come last");
        double sum = 0;
        std::vector<double> o(p.dim_v, 0.0);
        for (std::uint32_t token = 0; token <= (query | 63u); ++token) {
          const auto tile = e.tiles.find(token / tile_tokens);
          const bool visible = sees.sees(query, token);
          if (tile == e.tiles.end()) {
            if (visible) FAIL("query " << query << ": no logits of token " << token);
            continue;
          }
          const float logit = tile->second[token % tile_tokens];
          if (!visible) {
            if (logit != -std::numeric_limits<float>::infinity()) FAIL("query " << query << ": token " << token << " is not masked");
            continue;
          }
          double dot = 0;
          for (std::uint32_t d = 0; d < p.dim_k; ++d)
            dot += static_cast<double>(data.q[query * data.q_width + q_head * p.dim_k + d]) * data.k[token * data.kv_width + head * p.dim_k + d];
          logit_error = std::max(logit_error, std::fabs(dot / 4 - logit));
          const double w = std::exp(static_cast<double>(logit) - e.m) / e.l;
          sum += w;
          for (std::uint32_t d = 0; d < p.dim_v; ++d) o[d] += w * data.v[token * data.kv_width + head * p.dim_v + d];
        }
        sum_error = std::max(sum_error, std::fabs(sum - 1));
        for (std::uint32_t d = 0; d < p.dim_v; ++d) out_error = std::max(out_error, std::fabs(o[d] - out[query * data.q_width + q_head * p.dim_v + d]));
      }
      CHECK(sum_error < 1e-5);
      CHECK(logit_error < 2e-5);
      CHECK(out_error < 2e-5);
    }
  });
}
