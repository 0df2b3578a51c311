// SPDX-License-Identifier: Apache-2.0
// Decode attention of sequences that share a prefix: every sequence folds it for itself, or it is folded once for all of
// them. The two alternate on the same cache, 30 layers of it, and every round reads the prefix with plain loads.
// usage: bench_cascade [--workers N] [--rounds N] [--own TOKENS] [--json FILE]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../bandwidth.hpp"
#include "../flags.hpp"
#include "quire/attention/cpu/attend.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/kv/store.hpp"

using namespace quire;
using namespace quire_bench;

namespace {

constexpr attention::problem shape{.q_heads = 9, .kv_heads = 3};
constexpr extents heads{30, 3, 64};
using int4_hadamard = kv::codec_pair<kv::hadamard<kv::integer<4, kv::group::column>>, kv::hadamard<kv::integer<4, kv::group::row>>>;

struct row {
  std::string codec;
  std::uint32_t members = 0, prefix = 0;
  double alone = 0, together = 0, ratio = 0, read = 0;  ///< ms a step, ms, medians of alone / together, GB/s
};

template <class Pair>
row measure(const char* name, thread_executor& pool, std::uint32_t members, std::uint32_t prefix, std::uint32_t own, unsigned rounds) {
  using L = kv::paged<Pair>;
  const L layout(heads);
  kv::store_options<L> options = kv::pages_for(layout, members, prefix + own + 64, 64);
  options.pages[0] = prefix / tile_tokens + members * (own / tile_tokens + 2);
  kv::store<L> store(layout, options);
  std::vector<std::uint32_t> sequences(members);
  if (!store.open(sequences[0]) || !store.reserve(sequences[0], prefix)) std::abort();
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(64 * 64);
  const auto view = store.view();
  for (std::uint32_t layer = 0; layer < heads.layers; ++layer)
    for (std::uint32_t h = 0; h < heads.kv_heads; ++h)
      for (std::uint32_t tile = 0; tile < prefix / tile_tokens; ++tile)
        for (kv::side side : {kv::side::key, kv::side::value}) {
          for (float& value : x) value = normal(random);
          std::byte* to = view.sealed(sequences[0], layer, h, tile);
          const kv::tile_shape s = kv::shape_of(side, heads.head_dim);
          const auto at = view.context(sequences[0], layer, h, tile, side);
          if (side == kv::side::key) layout.sealed().key.encode(at, s, x.data(), to);
          else layout.sealed().value.encode(at, s, x.data(), to + layout.sealed().value_offset(heads.head_dim));
        }
  if (!store.commit(sequences[0], prefix)) std::abort();
  for (std::uint32_t i = 1; i < members; ++i)
    if (!store.fork(sequences[0], sequences[i])) std::abort();
  std::vector<attention::query_span> spans;
  for (std::uint32_t i = 0; i < members; ++i) {
    if (!store.reserve(sequences[i], own) || !store.commit(sequences[i], own) || !store.reserve(sequences[i], 1)) std::abort();
    spans.push_back({sequences[i], prefix + own, 1, i});
  }
  std::vector<float> q(std::size_t{members} * shape.q_heads * 64), k(std::size_t{members} * shape.kv_heads * 64), v = k, out = q;
  for (auto* rows : {&q, &k, &v})
    for (float& value : *rows) value = normal(random);
  attention::cpu::workspace<L> work(layout, shape, pool.workers(), members, members, prefix + own + 64);
  attention::cohort_plan plan(members);
  const auto step = [&](bool together) {
    const double start = seconds();
    attention::cpu::layer_call<L> call{store.view(), shape, 0, spans};
    call.q = q.data(), call.k = k.data(), call.v = v.data(), call.out = out.data();
    call.ldq = call.ldo = shape.q_heads * 64, call.ldkv = shape.kv_heads * 64;
    if (together) plan.find(call.view, std::span<const attention::query_span>(spans), attention::block_tokens(shape)), call.cohorts = &plan;
    pool.run([&](const team& t) {
      for (std::uint32_t layer = 0; layer < heads.layers; ++layer) {
        auto one = call;
        one.layer = layer;
        attention::cpu::attend(t, one, work);
      }
    });
    return (seconds() - start) * 1e3;
  };
  step(false), step(true);
  std::vector<double> alone, together, ratio, read;
  for (unsigned i = 0; i < rounds; ++i) {
    alone.push_back(step(false)), together.push_back(step(true));
    ratio.push_back(alone.back() / together.back());
    read.push_back(read_bandwidth(pool, store.view().base[0], std::size_t{prefix / tile_tokens} * kv::page_bytes(layout, 0)) * 1e-9);
  }
  return {name, members, prefix, median(alone), median(together), median(ratio), median(read)};
}

}  // namespace

int main(int argc, char** argv) {
  unsigned workers = std::max(1u, std::thread::hardware_concurrency()), rounds = 9, own = 128;
  const char* json = nullptr;
  if (const int wrong = quire_bench::read_flags(argc, argv, {{"--workers", &workers}, {"--rounds", &rounds}, {"--own", &own}}, {{"--json", &json}})) return wrong;
  thread_executor pool(workers);
  std::vector<row> rows;
  std::printf("%-14s %8s %8s %12s %12s %8s %10s\n", "codec", "members", "prefix", "alone ms", "together ms", "ratio", "read GB/s");
  for (const std::uint32_t members : {2u, 8u, 32u})
    for (const std::uint32_t prefix : {512u, 2048u, 8192u}) {
      rows.push_back(measure<kv::raw_bf16>("bf16", pool, members, prefix, own, rounds));
      rows.push_back(measure<int4_hadamard>("int4-hadamard", pool, members, prefix, own, rounds));
      for (auto r = rows.end() - 2; r != rows.end(); ++r)
        std::printf("%-14s %8u %8u %12.3f %12.3f %8.2f %10.1f\n", r->codec.c_str(), r->members, r->prefix, r->alone, r->together, r->ratio, r->read);
    }
  if (json == nullptr) return 0;
  std::FILE* f = std::fopen(json, "w");
  if (f == nullptr) return std::fprintf(stderr, "--json %s: cannot be written\n", json), 2;
  std::fprintf(f, "{\"workers\": %u, \"rounds\": %u, \"own_tokens\": %u, \"rows\": [\n", workers, rounds, own);
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::fprintf(f, "  {\"codec\": \"%s\", \"members\": %u, \"prefix\": %u, \"alone_ms\": %.4f, \"together_ms\": %.4f, \"ratio\": %.3f, \"read_gb_per_second\": %.2f}%s\n",
                 rows[i].codec.c_str(), rows[i].members, rows[i].prefix, rows[i].alone, rows[i].together, rows[i].ratio, rows[i].read, i + 1 < rows.size() ? "," : "");
  std::fprintf(f, "]}\n");
  return std::fclose(f) == 0 ? 0 : 2;
}
