// SPDX-License-Identifier: Apache-2.0
// The whole program's arithmetic on a real model: against another program's choices, and against itself with other
// threads, chunks and batches, where not one bit may differ.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "catch.hpp"
#include "lm/backend.hpp"
#include "lm/gguf.hpp"
#include "lm/tokenizer.hpp"
#include "lm/weights.hpp"
#include "model_file.hpp"
#include "prompts.hpp"

#include "lm/heads.hpp"  // last: it brings std::quoted, which would be found for std::string beside ours

using namespace quire_lm;

namespace {

struct loaded {
  gguf::file file;
  tokenizer tok;
  model_weights weights;
  explicit loaded(const std::string& path) : file(gguf::file::open(path)), tok(file), weights(file) {
    if (const std::string heads = committed_heads(weights.config.name); !heads.empty()) weights.heads = read_head_scores(heads, weights.config);
  }
};

/// The model, read once for all tests of a process; null, with a message, where there is none.
const loaded* model() {
  static std::unique_ptr<loaded> m;
  if (const std::string path = model_file(); !m && !path.empty()) m = std::make_unique<loaded>(path);
  return m.get();
}

std::unique_ptr<backend> make(const loaded& m, std::string_view kv, std::uint32_t threads = 2, std::uint32_t rows = 256,
                              std::uint32_t sequences = 1) {
  return choose_instruction_set().make(m.weights, {.kv = kv, .threads = threads, .max_rows = rows, .sequences = sequences, .max_tokens = 1024});
}

void require_ok(const quire::status& s) {
  INFO(quire::describe(s));
  REQUIRE(s);
}

std::vector<token> encode(const loaded& m, std::string_view text) {
  return m.tok.encode(text, {.add_special = true, .parse_special = true});
}

/// That many tokens of ordinary text: the prompts one after another, over and over.
std::vector<token> long_prompt(const loaded& m, std::size_t tokens) {
  std::vector<token> out;
  while (out.size() < tokens)
    for (const auto& p : lm_test::prompts)
      for (const token t : encode(m, p.prompt)) out.push_back(t);
  out.resize(tokens);
  return out;
}

token likeliest(std::span<const float> logits) {
  return static_cast<token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Appends tokens in steps of at most max_rows(); leaves the last one's logits.
void feed(backend& b, std::uint32_t sequence, std::span<const token> tokens, std::span<float> logits) {
  while (!tokens.empty()) {
    const auto part = tokens.first(std::min<std::size_t>(tokens.size(), b.max_rows()));
    tokens = tokens.subspan(part.size());
    const auto n = static_cast<std::uint32_t>(part.size());
    require_ok(b.reserve(sequence, n));
    const quire::serve::model_input in{sequence, b.length(sequence), part, tokens.empty()};
    require_ok(b.step(b, {&in, 1}, logits.data()));
    require_ok(b.commit(sequence, n));
  }
}

/// What a greedy run chose, and the logits it chose from.
struct trace {
  std::vector<token> ids;
  std::vector<std::vector<float>> logits;
};

trace run(backend& b, std::span<const token> prompt, std::size_t tokens) {
  trace t;
  std::uint32_t s = 0;
  require_ok(b.open(s));
  std::vector<float> logits(b.vocabulary());
  feed(b, s, prompt, logits);
  for (;;) {
    t.ids.push_back(likeliest(logits));
    t.logits.push_back(logits);
    if (t.ids.size() == tokens) break;
    feed(b, s, {&t.ids.back(), 1}, logits);
  }
  b.close(s);
  return t;
}

void require_same(const trace& a, const trace& b) {
  REQUIRE(a.ids == b.ids);
  REQUIRE(a.logits.size() == b.logits.size());
  for (std::size_t i = 0; i < a.logits.size(); ++i) {
    INFO("after " << i << " generated tokens");
    REQUIRE(std::memcmp(a.logits[i].data(), b.logits[i].data(), a.logits[i].size() * sizeof(float)) == 0);
  }
}

void require_same_bits(std::string_view kv) {
  const loaded* m = model();
  if (m == nullptr) return;
  const auto prompt = long_prompt(*m, 300);
  const trace want = run(*make(*m, kv, 1, 256), prompt, 8);
  for (std::uint32_t threads = 2; threads <= 4; ++threads) {
    INFO("threads " << threads);
    require_same(want, run(*make(*m, kv, threads, 64), prompt, 8));
  }
  for (const std::uint32_t chunk : {1u, 7u, 64u, 256u}) {
    INFO("chunk " << chunk);
    require_same(want, run(*make(*m, kv, 2, chunk), prompt, 8));
  }
}

}  // namespace

// Bounds from what 8-bit activations cost on this model: over these prompts llama.cpp with an f32 cache agrees with llama.cpp
// with its f16 cache on 9 of 20 prompts, its logits stand 0.22 RMS from those of the same weights in f32 arithmetic, and the
// widest gap at a first difference between the two is 0.30. An error in a layer, a norm or the tokenizer is far outside.
TEST_CASE("greedy tokens agree with llama.cpp as often as it agrees with itself") {
  const loaded* m = model();
  if (m == nullptr) return;
  const auto b = make(*m, "f32");
  constexpr std::size_t total = std::size(lm_test::prompts);
  static_assert(total == 20);
  std::size_t equal = 0;
  float widest = 0;
  for (std::size_t i = 0; i < total; ++i) {
    const auto& [prompt, theirs] = lm_test::prompts[i];
    const trace ours = run(*b, encode(*m, prompt), theirs.size());
    const auto at = static_cast<std::size_t>(std::mismatch(theirs.begin(), theirs.end(), ours.ids.begin()).first - theirs.begin());
    if (at == theirs.size()) {
      ++equal;
      continue;
    }
    // Up to here the histories are one: a near tie may fall either way, because the two round activations differently.
    const auto& logits = ours.logits[at];
    const float gap = logits[static_cast<std::size_t>(ours.ids[at])] - logits[static_cast<std::size_t>(theirs[at])];
    INFO("prompt " << i << ", generated token " << at << ": ours " << ours.ids[at] << ", theirs " << theirs[at]);
    CHECK(gap <= 0.5f);
    widest = std::max(widest, gap);
  }
  INFO("widest gap at a first difference " << widest);
  CHECK(equal >= 9);
  std::printf("%zu of %zu prompts agree in all 16 tokens; widest gap at a first difference %.4f\n", equal, total, static_cast<double>(widest));
}

TEST_CASE("threads and chunks change no bit with f32") { require_same_bits("f32"); }
TEST_CASE("threads and chunks change no bit with bf16") { require_same_bits("bf16"); }
TEST_CASE("threads and chunks change no bit with int8") { require_same_bits("int8"); }
TEST_CASE("threads and chunks change no bit with int4-hadamard") { require_same_bits("int4-hadamard"); }
TEST_CASE("threads and chunks change no bit with split-int4") { require_same_bits("split-int4"); }
TEST_CASE("threads and chunks change no bit with gear-2") { require_same_bits("gear-2"); }
TEST_CASE("threads and chunks change no bit with mikv-2") { require_same_bits("mikv-2"); }
TEST_CASE("threads and chunks change no bit with h2o") { require_same_bits("h2o"); }
TEST_CASE("threads and chunks change no bit with razor") { require_same_bits("razor:window=64"); }

TEST_CASE("sequences that step together equal each alone") {
  const loaded* m = model();
  if (m == nullptr) return;
  const std::vector<std::vector<token>> prompts{encode(*m, lm_test::prompts[1].prompt), long_prompt(*m, 350), encode(*m, lm_test::prompts[17].prompt)};
  constexpr std::size_t tokens = 8, n = 3;
  for (const char* kv : {"f32", "bf16", "int4-hadamard", "split-int4"}) {
    INFO(kv);
    const auto b = make(*m, kv, 2, 512, n);
    std::vector<trace> alone;
    for (const auto& p : prompts) alone.push_back(run(*b, p, tokens));

    std::vector<trace> together(n);
    std::vector<std::uint32_t> s(n);
    for (auto& handle : s) require_ok(b->open(handle));
    std::vector<float> logits(n * b->vocabulary());
    for (std::size_t round = 0; round < tokens; ++round) {
      std::vector<quire::serve::model_input> inputs;
      for (std::size_t i = 0; i < n; ++i) {
        const std::span<const token> next = round == 0 ? std::span<const token>(prompts[i]) : std::span<const token>(&together[i].ids.back(), 1);
        require_ok(b->reserve(s[i], static_cast<std::uint32_t>(next.size())));
        inputs.push_back({s[i], b->length(s[i]), next, true});
      }
      require_ok(b->step(*b, inputs, logits.data()));
      for (std::size_t i = 0; i < n; ++i) {
        require_ok(b->commit(s[i], static_cast<std::uint32_t>(inputs[i].tokens.size())));
        const auto row = std::span<const float>(logits).subspan(i * b->vocabulary(), b->vocabulary());
        together[i].logits.emplace_back(row.begin(), row.end());
        together[i].ids.push_back(likeliest(row));
      }
    }
    REQUIRE(b->check());
    for (std::size_t i = 0; i < n; ++i) {
      INFO("sequence " << i);
      require_same(alone[i], together[i]);
    }
  }
}

TEST_CASE("a sequence holds the bytes its formula says and comes back from an image bit for bit") {
  const loaded* m = model();
  if (m == nullptr) return;
  const auto text = long_prompt(*m, 500);
  for (const cache_name& kv : cache_names) {
    INFO(kv.name);
    const auto b = make(*m, kv.name, 2, 256, 2);
    std::vector<float> logits(b->vocabulary());
    std::uint32_t grown = 0, whole = 0;
    require_ok(b->open(grown));
    for (const std::uint32_t length : {1u, 63u, 64u, 65u, 500u}) {
      INFO("length " << length);
      feed(*b, grown, std::span<const token>(text).first(length).subspan(b->length(grown)), logits);
      REQUIRE(b->length(grown) == length);
      CHECK(b->bytes(grown) == b->formula_bytes(length));
    }
    std::vector<std::byte> image(b->image_bytes(grown));
    require_ok(b->export_to(grown, image));
    feed(*b, grown, std::span<const token>(text).last(20), logits);
    const std::vector<float> stayed = logits;
    b->close(grown);
    require_ok(b->import_from(image, whole));
    CHECK(b->length(whole) == 500);
    CHECK(b->bytes(whole) == b->formula_bytes(500));
    feed(*b, whole, std::span<const token>(text).last(20), logits);
    CHECK(std::memcmp(stayed.data(), logits.data(), stayed.size() * sizeof(float)) == 0);
    CHECK(b->check());
  }
}
