// SPDX-License-Identifier: Apache-2.0
// A step that mixes a chunk of a prompt with decodes, dealt by cost and dealt by pieces alone: the two alternate on one cache.
// A step's time is that of its busiest worker, in processor time: what the step takes where every worker has a core of its own,
// however busy this machine is. Waiting at barriers adds little, because workers soon sleep.
#pragma once

#include <time.h>

#include "../attention/arm.hpp"

namespace quire_bench {

inline double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct mixed_row {
  std::uint32_t chunk = 0, decodes = 0, length = 0;
  double by_cost = 0, by_pieces = 0, ratio = 0;  ///< ms of the busiest worker, the same, median of by_pieces / by_cost
};

/// `layers` layers of a step: `chunk` rows of a prompt that already has `length` tokens, after `decodes` rows of as many sequences.
template <class Pair>
mixed_row measure_mixed(thread_executor& pool, std::uint32_t chunk, std::uint32_t decodes, std::uint32_t length, unsigned rounds) {
  using L = kv::paged<Pair>;
  constexpr extents model{8, 3, 64};
  const L layout(model);
  const std::uint32_t n = decodes + 1, rows = decodes + chunk;
  kv::store<L> store(layout, kv::pages_for(layout, n, length + chunk + tile_tokens, length + chunk));
  std::vector<attention::query_span> spans;
  std::mt19937 random(1);
  std::vector<float> x(64 * 64);
  for (std::uint32_t i = 0; i < n; ++i) {
    std::uint32_t s = 0;
    if (!store.open(s) || !store.reserve(s, length)) std::abort();
    const auto view = store.view();
    for (std::uint32_t layer = 0; layer < model.layers; ++layer)
      for (std::uint32_t h = 0; h < model.kv_heads; ++h)
        for (std::uint32_t tile = 0; tile < length / tile_tokens; ++tile)
          for (kv::side side : {kv::side::key, kv::side::value}) {
            const kv::tile_shape shape_of = kv::shape_of(side, 64);
            if (tile == 0) draw(shape_of, side, random, x.data());
            std::byte* to = view.sealed(s, layer, h, tile);
            const auto at = view.context(s, layer, h, tile, side);
            if (side == kv::side::key) layout.sealed().key.encode(at, shape_of, x.data(), to);
            else layout.sealed().value.encode(at, shape_of, x.data(), to + layout.sealed().value_offset(64));
          }
    const std::uint32_t count = i < decodes ? 1 : chunk;
    if (!store.commit(s, length) || !store.reserve(s, count)) std::abort();
    spans.push_back({s, length, count, i});
  }
  std::vector<float> q(std::size_t{rows} * shape.q_heads * 64), k(std::size_t{rows} * shape.kv_heads * 64), v = k, out = q;
  for (auto* to : {&q, &k, &v})
    for (float& f : *to) f = static_cast<float>(random() % 1000) * 1e-3f;
  attention::cpu::workspace<L> work(layout, shape, pool.workers(), rows, n, length + chunk + tile_tokens);
  const auto step = [&](attention::lean dealing) {
    attention::cpu::layer_call<L> call{store.view(), shape, 0, spans};
    call.q = q.data(), call.k = k.data(), call.v = v.data(), call.out = out.data(), call.dealing = dealing;
    call.ldq = call.ldo = shape.q_heads * 64, call.ldkv = shape.kv_heads * 64;
    std::vector<double> busy(pool.workers());
    pool.run([&](const team& t) {
      const double start = thread_seconds();
      for (std::uint32_t layer = 0; layer < model.layers; ++layer) {
        auto one = call;
        one.layer = layer;
        attention::cpu::attend(t, one, work);
      }
      busy[t.worker] = thread_seconds() - start;
    });
    return *std::max_element(busy.begin(), busy.end()) * 1e3;
  };
  const attention::lean by_cost{}, by_pieces{.costs = {.start = 0, .start_row = 0, .piece = 1, .piece_row = 0}};
  step(by_cost), step(by_pieces);
  std::vector<double> a, b, ratio;
  for (unsigned i = 0; i < rounds; ++i) {
    a.push_back(step(by_cost)), b.push_back(step(by_pieces));
    ratio.push_back(b.back() / a.back());
  }
  return {chunk, decodes, length, median(a), median(b), median(ratio)};
}

}  // namespace quire_bench
