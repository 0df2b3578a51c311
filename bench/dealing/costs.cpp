// SPDX-License-Identifier: Apache-2.0
// What a piece costs to fold, by the query rows it is folded for, and what beginning an item costs: the numbers behind
// attention/plan/dealing.hpp. One thread; items of one and of sixteen pieces over a cache that stays in L2 and one far larger.
// Then what dealing by them is worth: steps that mix a chunk of a prompt with decodes.
// usage: bench_dealing [--workers N] [--rounds N] [--megabytes N] [--json FILE]
#include <cstdio>
#include <thread>

#include "../flags.hpp"
#include "mixed.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"

using namespace quire;
using namespace quire_bench;

namespace {

using int4 = kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>;
using int4_hadamard = kv::codec_pair<kv::hadamard<kv::integer<4, kv::group::column>>, kv::hadamard<kv::integer<4, kv::group::row>>>;

struct row {
  const char* codec = "";
  std::uint32_t rows = 0, head_dim = 0;
  bool in_l2 = false;
  double piece = 0, start = 0;  ///< ns
};

/// ns of a piece in a long item, and of everything else that an item takes.
template <class Pair>
row measure(const char* codec, std::uint32_t group, std::uint32_t tokens, std::uint32_t dim, bool in_l2, unsigned rounds, std::size_t bytes) {
  using L = kv::paged<Pair>;
  const attention::problem p{.q_heads = group, .kv_heads = 1, .dim_k = dim, .dim_v = dim};
  const L layout({1, 1, dim});
  const std::uint32_t whole = in_l2 ? 16 : static_cast<std::uint32_t>(bytes / (piece_tiles * kv::page_bytes(layout, 0)) / 16 * 16), length = whole * piece_tokens;
  kv::store<L> store(layout, kv::pages_for(layout, 1, length + piece_tokens, length));
  std::uint32_t sequence = 0;
  if (!store.open(sequence) || !store.reserve(sequence, length)) std::abort();
  const auto view = store.view();
  std::mt19937 random(1);
  std::vector<float> x(dim * tile_tokens);
  for (std::uint32_t tile = 0; tile < whole * piece_tiles; ++tile)
    for (kv::side side : {kv::side::key, kv::side::value}) {
      const kv::tile_shape s = kv::shape_of(side, dim);
      if (tile < 64) draw(s, side, random, x.data());
      std::byte* to = view.sealed(sequence, 0, 0, tile);
      const auto at = view.context(sequence, 0, 0, tile, side);
      if (side == kv::side::key) layout.sealed().key.encode(at, s, x.data(), to);
      else layout.sealed().value.encode(at, s, x.data(), to + layout.sealed().value_offset(dim));
    }
  if (!store.commit(sequence, length)) std::abort();
  const std::uint32_t rows = tokens * group;
  std::vector<float> q(std::size_t{rows} * dim), out(rows * dim);
  for (float& f : q) f = static_cast<float>(random() % 1000) * 1e-3f;
  using folder = attention::cpu::piece_folder<L>;
  const std::size_t states = std::size_t{rows} * (dim + 2);
  std::vector<float> memory((folder::scratch_bytes(p, rows) + 64) / 4 + 8 * states);
  const auto address = round_up(reinterpret_cast<std::uintptr_t>(memory.data()), 64);
  auto* scratch = reinterpret_cast<std::byte*>(address);
  float* levels = memory.data() + memory.size() - 8 * states;
  const auto at = [&](std::uint32_t level) {
    return attention::cpu::row_states{reinterpret_cast<softmax_state*>(levels + level * states), levels + level * states + 2 * rows};
  };
  folder fold(store.view(), p, rows, scratch);
  const attention::work_item item{0, 0, length, tokens, {0, 0, whole}, 0};
  const auto visit = [&](std::uint32_t from, std::uint32_t pieces) {  // as attend does with an item
    const kv::head_view head = store.view().head(sequence, 0, 0, length / tile_tokens, nullptr, 0);
    fold.begin(item, sequence, 0, head, [&](std::uint32_t i) { return q.data() + i * group * dim; });
    attention::cpu::subtree_stack stack(from, rows, dim);
    for (std::uint32_t i = from; i < from + pieces; ++i) {
      fold.fold(i, i + 1 < whole ? i + 1 : i, at(stack.filled()), attention::null_sink{});
      stack.push({0, i}, at);
    }
    stack.finish(at);
    for (std::uint32_t r = 0; r < rows; ++r) {
      const float scale = normalizer(at(0).state[r]);
      for (std::uint32_t d = 0; d < dim; ++d) out[r * dim + d] = at(0).o[r * dim + d] * scale;
      folder::finish_row(layout, out.data() + r * dim, dim);
    }
  };
  const std::uint32_t passes = in_l2 ? std::max(1u, 60 / rows) : 1;
  double most = 1e9, least = 1e9;  // the quickest rounds: other programs only add
  for (unsigned round = 0; round < rounds; ++round) {
    const double begin = seconds();
    for (std::uint32_t k = 0; k < passes; ++k)
      for (std::uint32_t i = 0; i < whole; i += 16) visit(i, 16);
    const double middle = seconds();
    for (std::uint32_t k = 0; k < passes; ++k)
      for (std::uint32_t i = 0; i < whole; ++i) visit(i, 1);
    const double end = seconds(), pieces = static_cast<double>(whole) * passes;
    most = std::min(most, (middle - begin) / pieces * 16e9), least = std::min(least, (end - middle) / pieces * 1e9);
  }
  const double piece = (most - least) / 15;
  return {codec, rows, dim, in_l2, piece, least - piece};
}

}  // namespace

int main(int argc, char** argv) {
  unsigned workers = std::max(1u, std::thread::hardware_concurrency()), rounds = 25, megabytes = 64;
  const char* json = nullptr;
  if (const int wrong = quire_bench::read_flags(argc, argv, {{"--workers", &workers}, {"--rounds", &rounds}, {"--megabytes", &megabytes}}, {{"--json", &json}})) return wrong;
  std::vector<row> table;
  std::printf("%-14s %5s %5s %7s %12s %12s\n", "codec", "dim", "rows", "cache", "piece ns", "start ns");
  for (const std::uint32_t dim : {64u, 128u})
    for (const bool in_l2 : {true, false})
      for (const auto& [group, tokens] : {std::pair{1u, 1u}, {3u, 1u}, {3u, 4u}, {3u, 16u}, {3u, 64u}}) {
        if (group * tokens > 16384 / dim && tokens == 64) continue;  // more rows than attend folds together
        const std::size_t bytes = std::size_t{megabytes} << 20;
        table.push_back(measure<kv::raw_bf16>("bf16", group, tokens, dim, in_l2, rounds, bytes));
        table.push_back(measure<int4>("int4", group, tokens, dim, in_l2, rounds, bytes));
        table.push_back(measure<int4_hadamard>("int4-hadamard", group, tokens, dim, in_l2, rounds, bytes));
        for (auto r = table.end() - 3; r != table.end(); ++r)
          std::printf("%-14s %5u %5u %7s %12.0f %12.0f\n", r->codec, r->head_dim, r->rows, r->in_l2 ? "L2" : "memory", r->piece, r->start);
      }
  thread_executor pool(workers);
  std::vector<mixed_row> steps;
  std::printf("\n%6s %8s %8s %12s %12s %8s   bf16, %u workers\n", "chunk", "decodes", "length", "by cost ms", "by pieces ms", "ratio", workers);
  for (const std::uint32_t length : {1024u, 4096u})
    for (const auto& [chunk, decodes] : {std::pair{0u, 4u}, {60u, 4u}, {64u, 4u}, {252u, 4u}, {64u, 32u}}) {
      steps.push_back(measure_mixed<kv::raw_bf16>(pool, chunk, decodes, length, rounds));
      const mixed_row& r = steps.back();
      std::printf("%6u %8u %8u %12.3f %12.3f %8.2f\n", r.chunk, r.decodes, r.length, r.by_cost, r.by_pieces, r.ratio);
    }
  if (json == nullptr) return 0;
  std::FILE* f = std::fopen(json, "w");
  if (f == nullptr) return std::fprintf(stderr, "--json %s: cannot be written\n", json), 2;
  std::fprintf(f, "{\"isa\": \"%s\", \"workers\": %u, \"rounds\": %u, \"megabytes\": %u, \"pieces\": [", simd::isa_name(), workers, rounds, megabytes);
  for (std::size_t i = 0; i < table.size(); ++i)
    std::fprintf(f, "%s\n  {\"codec\": \"%s\", \"head_dim\": %u, \"rows\": %u, \"cache\": \"%s\", \"piece_ns\": %.1f, \"start_ns\": %.1f}", i ? "," : "", table[i].codec,
                 table[i].head_dim, table[i].rows, table[i].in_l2 ? "L2" : "memory", table[i].piece, table[i].start);
  std::fprintf(f, "\n], \"steps\": [");
  for (std::size_t i = 0; i < steps.size(); ++i)
    std::fprintf(f, "%s\n  {\"chunk\": %u, \"decodes\": %u, \"length\": %u, \"by_cost_ms\": %.4f, \"by_pieces_ms\": %.4f, \"ratio\": %.3f}", i ? "," : "", steps[i].chunk,
                 steps[i].decodes, steps[i].length, steps[i].by_cost, steps[i].by_pieces, steps[i].ratio);
  std::fprintf(f, "\n]}\n");
  return std::fclose(f) == 0 ? 0 : 2;
}
