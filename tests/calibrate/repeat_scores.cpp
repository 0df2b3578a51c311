// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/repeat_scores.hpp"

#include <algorithm>
#include <cmath>
#include <thread>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "quire/attention/cpu/attend.hpp"
#include "quire/attention/sink.hpp"
#include "quire/kv/codec/raw.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/kv/store.hpp"

using namespace quire;
using namespace quire::calibrate;

static_assert(attention::ScoreSink<repeat_scores::sink>);

namespace {

/// Attention weights of synthetic heads, dense and in double, and the calls a kernel would make.
struct dense {
  repeat_shape shape;
  std::vector<float> logits;  // [layers][q_heads][query][key]
  std::uint32_t n = shape.probe.tokens();

  dense(const repeat_shape& s, std::uint64_t seed) : shape(s) {
    splitmix64 random(seed);
    logits.resize(std::size_t{s.layers} * s.q_heads * n * n);
    for (float& x : logits) x = static_cast<float>(6 * random.unit() - 3);
  }
  float& at(std::uint32_t layer, std::uint32_t head, std::uint32_t query, std::uint32_t key) {
    return logits[((std::size_t{layer} * shape.q_heads + head) * n + query) * n + key];
  }
  std::pair<double, double> reference(std::uint32_t layer, std::uint32_t head) {  // echo, induction
    const std::uint32_t k = shape.probe.period;
    double echo = 0, induction = 0;
    for (std::uint32_t i = k; i < n - 1; ++i) {  // without the lead token, as the definition counts
      double l = 0;
      for (std::uint32_t j = 0; j <= i + 1; ++j) l += std::exp(static_cast<double>(at(layer, head, i + 1, j)));
      for (std::uint32_t back = k; back <= i; back += k) {
        echo += std::exp(static_cast<double>(at(layer, head, i + 1, i + 1 - back))) / l;
        induction += std::exp(static_cast<double>(at(layer, head, i + 1, i + 1 - back + 1))) / l;
      }
    }
    return {echo / shape.probe.rows(), induction / shape.probe.rows()};
  }
  void tiles(const repeat_scores::sink& to, std::uint32_t layer, std::uint32_t head, std::uint32_t query, bool empty_tiles = true) {
    for (std::uint32_t slot = 0; slot * tile_tokens < (empty_tiles ? n : query + 1); ++slot) {
      float x[tile_tokens];
      for (std::uint32_t j = 0; j < tile_tokens; ++j) {
        const std::uint32_t key = slot * tile_tokens + j;
        x[j] = key <= query ? at(layer, head, query, key) : -std::numeric_limits<float>::infinity();
      }
      to.logits(attention::score_tile{shape.sequence, layer, head, query, slot}, x);
    }
  }
  void row(const repeat_scores::sink& to, std::uint32_t layer, std::uint32_t head, std::uint32_t query) {
    double m = -1e30, l = 0;
    for (std::uint32_t j = 0; j <= query; ++j) m = std::max(m, static_cast<double>(at(layer, head, query, j)));
    for (std::uint32_t j = 0; j <= query; ++j) l += std::exp(static_cast<double>(at(layer, head, query, j)) - m);
    to.row(attention::score_tile{shape.sequence, layer, head, query, 0}, static_cast<float>(m), static_cast<float>(l));
  }
  void show(repeat_scores& scores, std::uint32_t workers = 1) {
    const auto share = [&](std::uint32_t worker) {
      const repeat_scores::sink to(scores);
      std::uint32_t unit = 0;
      for (std::uint32_t layer = 0; layer < shape.layers; ++layer)
        for (std::uint32_t head = 0; head < shape.q_heads; ++head)
          for (std::uint32_t query = 0; query < n; ++query)
            if (unit++ % workers == worker) tiles(to, layer, head, query), row(to, layer, head, query);
    };
    std::vector<std::thread> threads;
    for (std::uint32_t w = 1; w < workers; ++w) threads.emplace_back(share, w);
    share(0);
    for (auto& t : threads) t.join();
  }
};

const repeat_shape small{.layers = 2, .q_heads = 4, .kv_heads = 2, .probe = {.period = 50, .repeats = 4}};

}  // namespace

TEST_CASE("scores equal those of the dense softmax") {
  for (const repeat_probe probe : {repeat_probe{50, 4}, repeat_probe{64, 3}, repeat_probe{63, 2}, repeat_probe{2, 5}, repeat_probe{127, 2}}) {
    INFO("period " << probe.period << " repeats " << probe.repeats);
    repeat_shape shape = small;
    shape.probe = probe;
    dense d(shape, 3);
    repeat_scores scores(shape);
    d.show(scores);
    REQUIRE(scores.collect());
    const auto echo = scores.echo_of_q_heads(), induction = scores.induction_of_q_heads(), kv_echo = scores.echo(), kv_induction = scores.induction();
    REQUIRE(kv_echo.size() == 4);
    for (std::uint32_t h = 0; h < 8; ++h) {
      const auto [e, i] = d.reference(h / 4, h % 4);
      CHECK(echo[h] == Approx(e).epsilon(1e-6));
      CHECK(induction[h] == Approx(i).epsilon(1e-6));
    }
    for (std::uint32_t h = 0; h < 4; ++h) {
      CHECK(kv_echo[h] == std::max(echo[2 * h], echo[2 * h + 1]));
      CHECK(kv_induction[h] == std::max(induction[2 * h], induction[2 * h + 1]));
    }
  }
}

TEST_CASE("an induction head and an echo head score one") {
  dense d(small, 1);
  const std::uint32_t k = small.probe.period;
  for (std::uint32_t query = k + 1; query < d.n; ++query) {
    d.at(0, 1, query, query - k) = 60;      // looks at its own earlier copy
    d.at(1, 2, query, query - k + 1) = 60;  // looks at what followed it
  }
  repeat_scores scores(small);
  d.show(scores);
  REQUIRE(scores.collect());
  CHECK(scores.echo()[0] == Approx(1));
  CHECK(scores.induction()[3] == Approx(1));
  CHECK(scores.induction()[0] < 0.2);
  CHECK(scores.echo()[3] < 0.2);
}

TEST_CASE("any number of workers in any order gives the same bits") {
  dense d(small, 5);
  repeat_scores one(small), many(small);
  d.show(one);
  d.show(many, 4);
  REQUIRE(one.collect());
  REQUIRE(many.collect());
  CHECK(one.echo_of_q_heads() == many.echo_of_q_heads());
  CHECK(one.induction_of_q_heads() == many.induction_of_q_heads());
}

TEST_CASE("several probes average, a broken one leaves no trace, other sequences are not looked at") {
  dense a(small, 5), b(small, 6);
  repeat_scores both(small), only_a(small), only_b(small);
  a.show(only_a), b.show(only_b);
  REQUIRE(only_a.collect());
  REQUIRE(only_b.collect());
  a.show(both);
  REQUIRE(both.collect());
  const repeat_scores::sink sink(both);
  b.tiles(sink, 0, 0, 120), b.row(sink, 0, 0, 120);
  const auto rows = std::int64_t{8} * small.probe.rows();
  CHECK(both.collect() == status{errc::out_of_range, "rows the sink saw", 1, rows, rows});
  CHECK(both.echo() == only_a.echo());
  both.discard();
  b.show(both);
  b.shape.sequence = 9;
  b.show(both);  // ignored
  REQUIRE(both.collect());
  CHECK(both.probes() == 2);
  for (std::size_t h = 0; h < 8; ++h) {
    CHECK(both.echo_of_q_heads()[h] == Approx((only_a.echo_of_q_heads()[h] + only_b.echo_of_q_heads()[h]) / 2));
    CHECK(both.induction_of_q_heads()[h] == Approx((only_a.induction_of_q_heads()[h] + only_b.induction_of_q_heads()[h]) / 2));
  }
}

TEST_CASE("tiles that no kernel shows weigh nothing") {
  dense d(small, 8);
  repeat_scores scores(small);
  const repeat_scores::sink to(scores);
  for (std::uint32_t layer = 0; layer < 2; ++layer)
    for (std::uint32_t head = 0; head < 4; ++head)
      for (std::uint32_t query = 0; query < d.n; ++query) d.row(to, layer, head, query);
  REQUIRE(scores.collect());
  for (const double x : scores.echo()) CHECK(x == 0);
}

TEST_CASE("memory is rows times repeats, and bad shapes throw") {
  const repeat_scores scores({.layers = 30, .q_heads = 9, .kv_heads = 3, .probe = {.period = 256, .repeats = 4}});
  CHECK(scores.bytes() == 270u * 768 * (6 * 4 + 1) + 2 * 270 * 8);
  CHECK(scores.echo() == std::vector<double>(90, 0.0));
  CHECK_THROWS_AS(repeat_scores({.q_heads = 3, .kv_heads = 2}), std::invalid_argument);
  CHECK_THROWS_AS(repeat_scores({.q_heads = 0}), std::invalid_argument);
  CHECK_THROWS_WITH(repeat_scores({.probe = {.period = 1}}), "out_of_range: period is 1, allowed 2 to 1048576");
}

TEST_CASE("the fold shows the sink what it needs, in chunks and with several workers") {
  const attention::problem p{.q_heads = 4, .kv_heads = 2, .dim_k = 16, .dim_v = 16};
  const repeat_shape shape{.layers = 1, .q_heads = 4, .kv_heads = 2, .probe = {.period = 90, .repeats = 3}};
  const std::uint32_t n = shape.probe.tokens();
  using pair = kv::codec_pair<kv::raw<float>, kv::raw<float>>;
  using layout_type = kv::paged<pair, pair>;
  const layout_type layout({1, 2, 16});
  splitmix64 random(3);
  std::vector<float> q(std::size_t{n} * 64), k(std::size_t{n} * 32), v(std::size_t{n} * 32), out(q.size());
  for (auto* x : {&q, &k, &v})
    for (float& f : *x) f = static_cast<float>(4 * random.unit() - 2);
  dense d(shape, 1);
  for (std::uint32_t head = 0; head < 4; ++head)
    for (std::uint32_t i = 0; i < n; ++i)
      for (std::uint32_t j = 0; j <= i; ++j) {
        double dot = 0;
        for (std::uint32_t c = 0; c < 16; ++c) dot += static_cast<double>(q[i * 64 + head * 16 + c]) * k[j * 32 + head / 2 * 16 + c];
        d.at(0, head, i, j) = static_cast<float>(dot / 4);
      }
  std::vector<double> first;
  for (std::uint32_t workers : {1u, 3u})
    for (std::uint32_t chunk : {37u, n}) {
      kv::store<layout_type> store(layout, kv::pages_for(layout, 1, n, n));
      thread_executor pool(workers);
      attention::cpu::workspace<layout_type> work(layout, p, workers, n, 1, n);
      std::uint32_t s = 0;
      REQUIRE(store.open(s));
      repeat_shape here = shape;
      here.sequence = s;
      repeat_scores scores(here);
      for (std::uint32_t at = 0; at < n; at += chunk) {
        const std::uint32_t count = std::min(chunk, n - at);
        REQUIRE(store.reserve(s, count));
        const attention::query_span span{s, at, count, 0};
        attention::cpu::layer_call<layout_type> c{store.view(), p, 0, {&span, 1}};
        c.q = q.data() + std::size_t{at} * 64, c.k = k.data() + std::size_t{at} * 32, c.v = v.data() + std::size_t{at} * 32;
        c.ldq = c.ldo = 64, c.ldkv = 32, c.out = out.data() + std::size_t{at} * 64;
        pool.run([&](const team& t) { attention::cpu::attend(t, c, work, repeat_scores::sink(scores)); });
        REQUIRE(store.commit(s, count));
      }
      REQUIRE(scores.collect());
      const auto echo = scores.echo_of_q_heads();
      for (std::uint32_t head = 0; head < 4; ++head) {
        const auto [e, i] = d.reference(0, head);
        CHECK(echo[head] == Approx(e).epsilon(2e-5));
        CHECK(scores.induction_of_q_heads()[head] == Approx(i).epsilon(2e-5));
      }
      if (first.empty()) first = echo;
      CHECK(echo == first);
    }
}
