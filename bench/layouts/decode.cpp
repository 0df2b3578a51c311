// SPDX-License-Identifier: Apache-2.0
// Decode attention alone, layout by layout, and what collecting scores costs. Every layout holds the same number of tokens as a
// bf16 paged cache beside it; the two alternate, and every round reads the same memory with plain loads. Ratios are medians.
// usage: bench_layouts [--workers N] [--rounds N] [--megabytes N] [--json FILE]    megabytes: of the bf16 cache
#include <cstdio>
#include <thread>

#include "../flags.hpp"
#include "../attention/arm.hpp"
#include "quire/kv/codec/balanced.hpp"
#include "quire/kv/codec/gear.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/overlay.hpp"

using namespace quire;
using namespace quire_bench;

namespace {

using kv::group, kv::hadamard, kv::integer;
using int4_hadamard = kv::codec_pair<hadamard<integer<4, group::column>>, hadamard<integer<4, group::row>>>;
template <int Bits>
using balanced = kv::codec_pair<kv::balanced<integer<Bits, group::column, 32>>, integer<Bits, group::row, 32>>;
using gear = kv::codec_pair<kv::gear<integer<4, group::row>, 2, 2>>;
using plain = kv::paged<kv::raw_bf16>;

/// The same layout, whose steps collect no scores and choose nothing.
template <kv::Layout L>
struct silent : L {
  using L::L;
  explicit silent(const L& l) : L(l) {}
  static constexpr bool stepwise = false;
};

/// Scores of every token of a bf16 cache: what head scoring or a score-driven loader would ask for.
class all_scores {
 public:
  explicit all_scores(std::uint32_t tokens)
      : tiles_(tiles_touched(tokens) + 2), rows_(tiles_ * tile_tokens * shape.q_heads), tops_(tiles_ * shape.q_heads), states_(shape.q_heads),
        sums_(tiles_ * tile_tokens * shape.kv_heads) {}
  struct sink {
    static constexpr bool active = true;
    all_scores* to;
    void weights(const attention::score_tile& at, const float* w, float m) const noexcept {
      const std::size_t cell = at.q_head * to->tiles_ + at.slot;
      attention::cpu::keep_weights(w, to->rows_.data() + cell * tile_tokens);
      to->tops_[cell] = m;
    }
    void row(const attention::score_tile& at, float m, float l) const noexcept { to->states_[at.q_head] = {m, l}; }
  };
  /// Σ of the weights of a kv head's query heads, dealt to the team by tiles.
  void add(const team& t, std::uint32_t tokens) noexcept {
    const attention::cpu::score_recorder r{rows_.data(), tops_.data(), states_.data(), tiles_, shape.q_heads, {}};
    const range mine = t.share(tiles_touched(tokens));
    for (std::uint32_t h = 0; h < shape.kv_heads; ++h)
      for (auto i = static_cast<std::uint32_t>(mine.begin); i < mine.end; ++i)
        attention::cpu::add_weights(r, 0, 1, h * shape.group(), shape.group(), i, sums_.data() + (h * tiles_ + i) * tile_tokens);
    t.barrier();
  }

 private:
  std::size_t tiles_;
  std::vector<std::uint16_t> rows_;
  std::vector<float> tops_;
  std::vector<softmax_state> states_;
  std::vector<float> sums_;
};
static_assert(attention::ScoreSink<all_scores::sink>);

class scored_arm : public cache_arm<plain> {
 public:
  scored_arm(thread_executor& pool, std::uint32_t length) : cache_arm<plain>("bf16, every token scored", pool, plain(heads), length), scores_(length) {}
  double step(int repeat) override { return step_with(repeat, all_scores::sink{&scores_}, [&](const team& t) { scores_.add(t, tokens + 1); }); }

 private:
  all_scores scores_;
};

const std::uint8_t first_whole[] = {1, 0, 0};
const kv::head_classes classes(heads, first_whole);

template <class Pair, class Remainder = kv::remainder::none, class Streaming>
kv::head_split<Pair, kv::raw_bf16, Remainder> split(Streaming s) { return {heads, classes, s}; }

using maker = std::function<std::unique_ptr<arm>(thread_executor&, std::uint32_t)>;
template <class F>
maker layout(const char* name, F make) {
  return [=](thread_executor& pool, std::uint32_t tokens) -> std::unique_ptr<arm> {
    const auto l = make(tokens + tile_tokens);
    return std::make_unique<cache_arm<std::remove_cvref_t<decltype(l)>>>(name, pool, l, tokens);
  };
}
template <kv::rest Rest, class Base>
auto over(const Base& base, std::uint32_t tokens) { return kv::overlay<Base, Rest>(base, {.share = 0.2f}, tokens); }

const auto mikv4 = [](std::uint32_t n) { return over<kv::rest::keep>(kv::paged<balanced<4>>(heads), n); };
const auto mikv2 = [](std::uint32_t n) { return over<kv::rest::keep>(kv::paged<balanced<2>>(heads), n); };
const auto h2o = [](std::uint32_t n) { return over<kv::rest::drop>(plain(heads), n); };
const auto quiet = [](auto make) { return [=](std::uint32_t n) { return silent(make(n)); }; };

struct row {
  std::string name, beside;
  double bytes = 0, memory = 0, l2 = 0, ns = 0, read = 0;
};

/// b against a: medians of b / a.
row measure(const char* beside, const maker& a, const maker& b, thread_executor& pool, unsigned rounds, std::uint32_t tokens) {
  row out{.name = "", .beside = beside};
  for (const bool in_l2 : {false, true}) {
    const std::uint32_t n = in_l2 ? 512 : tokens;
    const auto x = a(pool, n), y = b(pool, n);
    const int repeat = in_l2 ? 200 : 1;
    x->step(repeat), y->step(repeat);
    std::vector<double> ratio, ns, read;
    for (unsigned i = 0; i < rounds; ++i) {
      const double first = x->ns_per_token(repeat), second = y->ns_per_token(repeat);
      ratio.push_back(second / first), ns.push_back(second), read.push_back(in_l2 ? 0 : x->read() * 1e-9);
    }
    out.name = y->name;
    (in_l2 ? out.l2 : out.memory) = median(ratio);
    if (!in_l2) out.ns = median(ns), out.read = median(read), out.bytes = y->token_bytes / x->token_bytes;
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned workers = std::max(1u, std::thread::hardware_concurrency()), rounds = 9, megabytes = 512;
  const char* json = nullptr;
  if (const int wrong = quire_bench::read_flags(argc, argv, {{"--workers", &workers}, {"--rounds", &rounds}, {"--megabytes", &megabytes}}, {{"--json", &json}})) return wrong;
  thread_executor pool(workers);
  const std::uint32_t tokens = tokens_for<kv::raw_bf16>(std::size_t{megabytes} << 20);
  const maker bf16 = layout("bf16", [](std::uint32_t) { return plain(heads); });
  const maker scored = [](thread_executor& p, std::uint32_t n) -> std::unique_ptr<arm> { return std::make_unique<scored_arm>(p, n); };
  struct pair {
    const char* beside;
    maker a, b;
  };
  const pair pairs[] = {
      {"bf16", bf16, layout("split 1 of 3, 64 + 256", [](std::uint32_t) { return split<kv::raw_bf16>(kv::retain::sinks_window{64, 256}); })},
      {"bf16", bf16, layout("split 1 of 3, int4 Hadamard", [](std::uint32_t) { return split<int4_hadamard>(kv::retain::sinks_window{64, 256}); })},
      {"bf16", bf16, layout("split 1 of 3, C = 5, mean token", [](std::uint32_t) { return split<kv::raw_bf16, kv::remainder::mean_token>(kv::retain::scaled_window{64, 256, 5}); })},
      {"bf16", bf16, layout("the same on GEAR", [](std::uint32_t) { return split<gear, kv::remainder::mean_token>(kv::retain::scaled_window{64, 256, 5}); })},
      {"bf16", bf16, layout("mixed precision, int4 + 20 %", mikv4)},
      {"bf16", bf16, layout("mixed precision, int2 + 20 %", mikv2)},
      {"bf16", bf16, layout("eviction to 20 %", h2o)},
      {"the same without scores", layout("", quiet(mikv4)), layout("mixed precision, int4 + 20 %", mikv4)},
      {"the same without scores", layout("", quiet(mikv2)), layout("mixed precision, int2 + 20 %", mikv2)},
      {"the same without scores", layout("", quiet(h2o)), layout("eviction to 20 %", h2o)},
      {"bf16", bf16, scored},
  };
  std::printf("%s, %u workers, %u rounds, %u tokens (%u MB in bf16)\n%-34s %-24s %7s %8s %8s %8s %7s\n", simd::isa_name(), workers, rounds, tokens, megabytes, "layout", "beside", "bytes",
              "memory", "in L2", "ns/token", "GB/s");
  std::FILE* f = json ? std::fopen(json, "w") : nullptr;
  if (json && !f) return std::fprintf(stderr, "--json %s: cannot be written\n", json), 2;
  if (f) std::fprintf(f, "{\"isa\": \"%s\", \"workers\": %u, \"rounds\": %u, \"tokens\": %u, \"bf16_megabytes\": %u, \"rows\": [", simd::isa_name(), workers, rounds, tokens, megabytes);
  bool comma = false;
  for (const pair& p : pairs) {
    const row r = measure(p.beside, p.a, p.b, pool, rounds, tokens);
    std::printf("%-34s %-24s %7.4f %8.4f %8.4f %8.3f %7.2f\n", r.name.c_str(), r.beside.c_str(), r.bytes, r.memory, r.l2, r.ns, r.read);
    std::fflush(stdout);
    if (f)
      std::fprintf(f, "%s\n {\"layout\": \"%s\", \"beside\": \"%s\", \"bytes_ratio\": %.4f, \"memory_ratio\": %.4f, \"l2_ratio\": %.4f, \"ns_per_token\": %.4f, \"read_GB_per_s\": %.3f}",
                   comma ? "," : "", r.name.c_str(), r.beside.c_str(), r.bytes, r.memory, r.l2, r.ns, r.read);
    comma = true;
  }
  if (f) std::fprintf(f, "\n]}\n"), std::fclose(f);
}
