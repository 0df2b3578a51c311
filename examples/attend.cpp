// SPDX-License-Identifier: Apache-2.0
// The library without a model: a 4-bit cache, a chunk of prefill, one decode step.
#include <cstdio>
#include <random>
#include <vector>

#include "quire/attention/cpu/attend.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/kv/store.hpp"

int main() {
  using namespace quire;
  // example-begin
  using int4 = kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>;  // keys, values
  const kv::paged<int4> layout({.layers = 1, .kv_heads = 3, .head_dim = 64});
  kv::store cache(layout, kv::pages_for(layout, /*sequences=*/1, /*tokens=*/1024));
  const attention::problem shape{.q_heads = 9, .kv_heads = 3};
  thread_executor threads(2);
  attention::cpu::workspace<kv::paged<int4>> scratch(layout, shape, threads.workers(), /*rows=*/512, /*sequences=*/1, 1024);

  const auto step = [&](std::uint32_t sequence, std::uint32_t n, const float* q, const float* k, const float* v, float* out) -> status {
    if (status s = cache.reserve(sequence, n); !s) return s;  // all or nothing, before anything runs
    const attention::query_span rows{sequence, cache.length(sequence), n};
    const attention::cpu::layer_call<kv::paged<int4>> layer{.view = cache.view(), .shape = shape, .spans = {&rows, 1}, .q = q, .k = k, .v = v,
                                                            .ldq = 9 * 64, .ldkv = 3 * 64, .out = out, .ldo = 9 * 64};
    threads.run([&](const team& t) { attention::cpu::attend(t, layer, scratch); });
    return cache.commit(sequence, n);
  };
  // example-end

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> q(501 * 9 * 64), k(501 * 3 * 64), v(k.size()), out(q.size());
  for (auto* x : {&q, &k, &v})
    for (float& e : *x) e = normal(random);
  std::uint32_t sequence = 0;
  for (const status s : {cache.open(sequence), step(sequence, 500, q.data(), k.data(), v.data(), out.data()),
                         step(sequence, 1, &q[500 * 576], &k[500 * 192], &v[500 * 192], &out[500 * 576])})
    if (!s) return std::fprintf(stderr, "%s\n", describe(s).c_str()), 1;
  std::printf("%u tokens in %zu bytes (%.0f a token in the long run); first output %g\n", cache.length(sequence), cache.bytes(sequence),
              kv::bytes_per_token(layout), static_cast<double>(out[500 * 576]));
}
