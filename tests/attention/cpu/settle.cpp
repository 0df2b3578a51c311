// SPDX-License-Identifier: Apache-2.0
// Stepwise layouts against a plain simulation in double: one token after the other, one softmax over what is still kept,
// scores summed, choices made when a tile fills.
#include "quire/attention/cpu/settle.hpp"

#include <cstring>

#include "attention/fixture.hpp"
#include "catch.hpp"
#include "quire/kv/layout/overlay.hpp"

using namespace fixture;

namespace {

using half = kv::codec_pair<kv::raw<f16>>;   // sealed copies that differ from exact rows, by known amounts
using kv::retain::importance;

enum class place : std::uint8_t { open, exact, sealed, summed, gone };

/// What one kv head does with its tokens.
struct plan {
  bool overlay = false, drop = false, mean = false;
  importance policy{};
  kv::visibility sees{};
  float bias_cap = std::numeric_limits<float>::infinity();
};

float halved(float x) { return f16::from(x).to_float(); }

/// out [tokens][group][dim] of one kv head.
std::vector<double> simulate(const plan& what, const attention::problem& p, const rows& data, std::uint32_t head, std::vector<place>& places) {
  const std::uint32_t n = data.tokens, dim = p.dim_k;
  std::vector<double> out(std::size_t{n} * p.group() * dim), scores(n, 0.0);
  places.assign(n, place::open);
  const auto k = [&](std::uint32_t t, std::uint32_t i) { return data.k[t * data.kv_width + head * dim + i]; };
  const auto v = [&](std::uint32_t t, std::uint32_t i) { return data.v[t * data.kv_width + head * dim + i]; };
  for (std::uint32_t q = 0; q < n; ++q) {
    const std::uint32_t tile = q / 64;
    std::vector<double> mean_k(dim, 0.0), mean_v(dim, 0.0);
    std::uint32_t summed = 0;
    for (std::uint32_t t = 0; t <= q; ++t)
      if (places[t] == place::summed) {
        ++summed;
        for (std::uint32_t i = 0; i < dim; ++i) mean_k[i] += static_cast<double>(halved(k(t, i))), mean_v[i] += static_cast<double>(halved(v(t, i)));
      }
    for (std::uint32_t h = 0; h < p.group(); ++h) {
      const float* query = &data.q[q * data.q_width + (head * p.group() + h) * dim];
      std::vector<double> logit(q + 2, -1e300);
      for (std::uint32_t t = 0; t <= q; ++t) {
        if (places[t] == place::gone || places[t] == place::summed) continue;
        if ((places[t] != place::exact && !what.sees.sees(q, t)) || !kv::visibility{0, p.window}.sees(q, t)) continue;
        double dot = 0;
        for (std::uint32_t i = 0; i < dim; ++i) dot += static_cast<double>(query[i]) * static_cast<double>(places[t] == place::sealed ? halved(k(t, i)) : k(t, i));
        logit[t] = dot / std::sqrt(static_cast<double>(dim)) - (p.alibi ? static_cast<double>(p.alibi[head * p.group() + h]) * (q - t) : 0.0);
      }
      if (summed != 0) {
        double dot = 0;
        for (std::uint32_t i = 0; i < dim; ++i) dot += static_cast<double>(query[i]) * mean_k[i] / summed;
        logit[q + 1] = dot / std::sqrt(static_cast<double>(dim)) + std::min<double>(std::log(static_cast<double>(summed)), static_cast<double>(what.bias_cap));
      }
      const double top = *std::max_element(logit.begin(), logit.end());
      double sum = 0;
      for (double& x : logit) sum += x = x > -1e299 ? std::exp(x - top) : 0.0;
      double* o = &out[(q * p.group() + h) * dim];
      for (std::uint32_t t = 0; t <= q; ++t) {
        scores[t] += logit[t] / sum;
        for (std::uint32_t i = 0; i < dim; ++i) o[i] += logit[t] / sum * static_cast<double>(places[t] == place::sealed ? halved(v(t, i)) : v(t, i));
      }
      for (std::uint32_t i = 0; i < dim && summed != 0; ++i) o[i] += logit[q + 1] / sum * mean_v[i] / summed;
    }
    if (q % 64 != 63) continue;
    for (std::uint32_t t = tile * 64; t <= q; ++t) places[t] = what.overlay ? place::exact : place::sealed;
    if (what.overlay) {
      std::vector<importance::candidate> all;
      for (std::uint32_t t = 0; t <= q; ++t)
        if (places[t] == place::exact) all.push_back({static_cast<float>(scores[t]), t, t});
      const std::uint32_t keep = what.policy.choose(all, q + 1);
      for (std::size_t i = keep; i < all.size(); ++i) places[all[i].position] = what.drop ? place::gone : place::sealed;
    }
    if (what.mean)
      for (std::uint32_t t = tiles_touched(what.sees.sinks) * 64; t < what.sees.window_begin(q + 1); ++t) places[t] = place::summed;
  }
  return out;
}

/// Kernel and simulation side by side, and the same bits for other chunks and numbers of workers.
template <kv::Layout L>
void check(const L& layout, const attention::problem& p, const rows& data, const std::vector<plan>& plans, double bound, std::uint32_t whole = 0) {
  std::vector<float> first;
  for (const auto& [chunk, workers] : {std::pair{256u, 2u}, {1u, 2u}, {7u, 1u}, {64u, 3u}, {100u, 4u}, {700u, 3u}}) {
    kv::store<L> store(layout, kv::pages_for(layout, 1, data.tokens, chunk + whole));
    std::uint32_t s = 0;
    REQUIRE(store.open(s));
    if (whole != 0) REQUIRE(store.read_whole_until(s, whole));
    const auto out = run(store, s, p, data, chunk, workers);
    REQUIRE(store.check());
    CHECK(store.bytes(s) == kv::sequence_bytes(layout, data.tokens));
    INFO("chunk " << chunk << " workers " << workers);
    if (first.empty()) {
      first = out;
      for (std::uint32_t head = 0; head < p.kv_heads; ++head) {
        std::vector<place> places;
        const auto want = simulate(plans[head], p, data, head, places);
        double most = 0;
        std::uint32_t at = 0;
        for (std::uint32_t q = 0; q < data.tokens; ++q)
          for (std::uint32_t i = 0; i < p.group() * p.dim_k; ++i) {
            const double d = std::fabs(want[q * p.group() * p.dim_k + i] - static_cast<double>(out[q * data.q_width + head * p.group() * p.dim_k + i]));
            if (!(d <= most)) most = d, at = q;
          }
        INFO("head " << head << " query " << at);
        CHECK(most < bound);
        if constexpr (L::overlays) {
          if (!plans[head].overlay) continue;
          // every token that is still there stands in one place: the overlay or a live bit of its sealed copy
          const auto view = store.view();
          const std::uint32_t held = layout.policy().budget(data.tokens / 64 * 64);
          std::vector<std::uint8_t> exact(data.tokens, 0);
          for (std::uint32_t i = 0; i < held; ++i) ++exact[view.overlay(s, 0, head, i / 64).positions[i % 64]];
          for (std::uint32_t t = 0; t < data.tokens / 64 * 64; ++t) {
            REQUIRE(exact[t] == (places[t] == place::exact));
            if (!plans[head].drop) REQUIRE((view.state(s, 0, head).live[t / 64] >> t % 64 & 1) == (places[t] == place::sealed));
          }
        }
      }
    } else {
      REQUIRE(std::memcmp(first.data(), out.data(), out.size() * sizeof(float)) == 0);
    }
  }
}

constexpr std::uint32_t tokens = 700;

}  // namespace

TEST_CASE("mixed precision keeps every token and chooses who stays exact as a plain simulation does") {
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 24, .dim_v = 24};
  const rows data(tokens, p, 21);
  for (const importance policy : {importance{.share = 0.3f}, importance{.share = 0.2f, .least = 16, .recent = 0.25f}, importance{.share = 0.3f, .per_row = true},
                                  importance{.share = 1, .recent = 0}, importance{.share = 0, .least = 90, .most = 90}}) {
    CAPTURE(policy.share, policy.least);
    using base = kv::paged<half, kv::raw_f32>;
    check(kv::overlay<base>(base({1, 2, 24}), policy, tokens), p, data, std::vector(2, plan{.overlay = true, .policy = policy}), 3e-5);
  }
}

TEST_CASE("windows and slopes go by where the tokens of an overlay stood") {
  const float slopes[] = {0.05f, 0.25f, 0.03f, 0.02f, 0.01f, 0.004f};
  for (const std::uint32_t window : {kv::visibility::everything, 150u}) {
    const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 24, .dim_v = 24, .window = window, .alibi = slopes};
    const rows data(tokens, p, 27);
    using base = kv::paged<half, kv::raw_f32>;
    check(kv::overlay<base>(base({1, 2, 24}), {.share = 0.3f, .recent = 0.2f}, tokens), p, data, std::vector(2, plan{.overlay = true, .policy = {.share = 0.3f, .recent = 0.2f}}), 3e-5);
  }
}

TEST_CASE("eviction loses exactly the tokens that a plain simulation drops") {
  const attention::problem p{.q_heads = 2, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  const rows data(tokens, p, 22);
  for (const importance policy : {importance{.share = 0.3f}, importance{.share = 0, .least = 130, .most = 130, .recent = 0.5f}}) {
    using base = kv::paged<kv::raw_f32, kv::raw_f32>;
    check(kv::overlay<base, kv::rest::drop>(base({1, 2, 64}), policy, tokens), p, data, std::vector(2, plan{.overlay = true, .drop = true, .policy = policy}), 3e-5);
  }
}

TEST_CASE("a compensation token stands for every dropped token") {
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 24, .dim_v = 24};
  const rows data(tokens, p, 23);
  const std::uint8_t table[] = {1, 0};
  const kv::head_classes classes({1, 2, 24}, table);
  using L = kv::head_split<half, kv::raw_f32, kv::remainder::mean_token>;
  const auto go = [&](auto policy, float cap, std::uint32_t whole = 0) {
    const L layout({1, 2, 24}, classes, policy, {}, {}, {.bias_cap = cap});
    check(layout, p, data, {plan{}, plan{.mean = true, .sees = layout.group_sees(1).whole_to(whole / 64 * 64), .bias_cap = cap}}, 3e-5, whole);
  };
  go(kv::retain::scaled_window{.sinks = 4, .least = 100, .share = 4}, std::numeric_limits<float>::infinity());
  go(kv::retain::sinks_window{.sinks = 64, .window = 150}, 2.0f);
  go(kv::retain::scaled_window{.sinks = 4, .least = 100, .share = 4}, std::numeric_limits<float>::infinity(), 530);  // a prompt read whole, cut down at 512
}

TEST_CASE("queries of a prompt that is read whole see what a cache of everything shows them") {
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  constexpr std::uint32_t all = 1500, prompt_tokens = 1350;  // pieces between sinks and window: a plan that leaves them out would show
  const rows data(all, p, 26);
  const std::uint8_t none[] = {0, 0};
  const kv::head_classes classes({1, 2, 64}, none);
  const kv::head_split<half, kv::raw_f32> split({1, 2, 64}, classes, kv::retain::sinks_window{10, 100});
  const kv::paged<half, kv::raw_f32> whole({1, 2, 64});
  kv::store a(split, kv::pages_for(split, 1, all, all));
  kv::store b(whole, kv::pages_for(whole, 1, all, 64));
  std::uint32_t s = 0, t = 0;
  REQUIRE(a.open(s));
  REQUIRE(a.read_whole_until(s, prompt_tokens));
  REQUIRE(b.open(t));
  const auto x = run(a, s, p, data, 70, 2), y = run(b, t, p, data, 33, 3);
  const std::size_t prompt = prompt_tokens * data.q_width;
  REQUIRE(std::memcmp(x.data(), y.data(), prompt * sizeof(float)) == 0);
  for (std::size_t at = prompt; at < x.size(); at += data.q_width) REQUIRE(std::memcmp(&x[at], &y[at], data.q_width * sizeof(float)) != 0);
}

TEST_CASE("a compensation token is exact where dropped keys and dropped values are equal") {
  const attention::problem p{.q_heads = 3, .kv_heads = 1, .dim_k = 64, .dim_v = 64};
  rows data(640, p, 24);
  for (std::uint32_t t = 64; t < 448; ++t)
    for (std::uint32_t i = 0; i < 64; ++i) data.k[t * 64 + i] = static_cast<float>(i % 5) * 0.25f, data.v[t * 64 + i] = static_cast<float>(i % 3) - 1;
  const std::uint8_t none[] = {0};
  const kv::head_classes classes({1, 1, 64}, none);
  const kv::head_split<kv::raw_f32, kv::raw_f32, kv::remainder::mean_token> razor({1, 1, 64}, classes, kv::retain::sinks_window{64, 128});
  const kv::paged<kv::raw_f32, kv::raw_f32> whole({1, 1, 64});
  kv::store a(razor, kv::pages_for(razor, 1, 640, 64));
  kv::store b(whole, kv::pages_for(whole, 1, 640, 64));
  std::uint32_t s = 0;
  REQUIRE(a.open(s));
  REQUIRE(b.open(s));
  const auto x = run(a, s, p, data, 64, 2), y = run(b, s, p, data, 64, 2);
  REQUIRE(a.bytes(s) < b.bytes(s));
  for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(x[i] == Approx(y[i]).margin(3e-5));
}

TEST_CASE("an overlay composes with a head split and with compensation") {
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  const rows data(tokens, p, 25);
  const importance policy{.share = 0.3f};
  const std::uint8_t table[] = {1, 0};
  const kv::head_classes classes({1, 2, 64}, table);
  using base = kv::head_split<half, kv::raw_f32, kv::remainder::mean_token>;
  const base split({1, 2, 64}, classes, kv::retain::sinks_window{64, 150});
  check(kv::overlay<base>(split, policy, tokens), p, data, {plan{.overlay = true, .policy = policy}, plan{.mean = true, .sees = split.group_sees(1)}}, 3e-5);
}

TEST_CASE("sequences of a batch choose as each does alone") {
  const attention::problem p{.q_heads = 3, .kv_heads = 1, .dim_k = 64, .dim_v = 64};
  using base = kv::paged<half, kv::raw_f32>;
  const kv::overlay<base> layout(base({1, 1, 64}), {.share = 0.3f}, 512);
  const rows one(300, p, 31), two(300, p, 32);
  kv::store alone(layout, kv::pages_for(layout, 2, 512, 64)), both(layout, kv::pages_for(layout, 2, 512, 150));
  std::uint32_t a = 0, b = 0;
  REQUIRE(alone.open(a));
  REQUIRE(alone.open(b));
  const auto x = run(alone, a, p, one, 300, 1), y = run(alone, b, p, two, 300, 1);
  REQUIRE(both.open(a));
  REQUIRE(both.open(b));
  thread_executor pool(2);
  attention::cpu::workspace<kv::overlay<base>> work(layout, p, 2, 150, 2, 512);
  std::vector<float> q(150 * one.q_width), k(150 * one.kv_width), v(150 * one.kv_width), out(q.size());
  std::uint32_t at[2] = {0, 0};
  while (at[0] < 300 || at[1] < 300) {  // uneven steps of both
    const std::uint32_t n[2] = {std::min(50u, 300 - at[0]), std::min(100u, 300 - at[1])};
    for (std::uint32_t i = 0; i < 2; ++i) {
      const rows& from = i == 0 ? one : two;
      const std::uint32_t row = i == 0 ? 0 : n[0];
      std::copy_n(&from.q[at[i] * one.q_width], n[i] * one.q_width, &q[row * one.q_width]);
      std::copy_n(&from.k[at[i] * one.kv_width], n[i] * one.kv_width, &k[row * one.kv_width]);
      std::copy_n(&from.v[at[i] * one.kv_width], n[i] * one.kv_width, &v[row * one.kv_width]);
      REQUIRE(both.reserve(i == 0 ? a : b, n[i]));
    }
    const attention::query_span spans[] = {{a, at[0], n[0], 0}, {b, at[1], n[1], n[0]}};
    attention::cpu::layer_call<kv::overlay<base>> c{both.view(), p, 0, spans};
    c.q = q.data(), c.k = k.data(), c.v = v.data(), c.ldq = c.ldo = one.q_width, c.ldkv = one.kv_width, c.out = out.data();
    pool.run([&](const team& t) { attention::cpu::attend(t, c, work); });
    REQUIRE(std::memcmp(out.data(), &x[at[0] * one.q_width], n[0] * one.q_width * sizeof(float)) == 0);
    REQUIRE(std::memcmp(&out[n[0] * one.q_width], &y[at[1] * one.q_width], n[1] * one.q_width * sizeof(float)) == 0);
    for (std::uint32_t i = 0; i < 2; ++i) {
      REQUIRE(both.commit(i == 0 ? a : b, n[i]));
      at[i] += n[i];
    }
  }
}
