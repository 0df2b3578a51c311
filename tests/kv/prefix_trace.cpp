// SPDX-License-Identifier: Apache-2.0
// The prefix index on public traces of prompts, whose reuse is known: a block of 512 tokens stands for a tile.
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

#include "catch.hpp"
#include "quire/kv/evict/greedy_dual.hpp"
#include "quire/kv/evict/lfu.hpp"
#include "quire/kv/prefix_index.hpp"
#include "sim/trace_file.hpp"

using namespace quire;

namespace {

struct prompt {
  std::uint64_t length = 0;
  std::vector<std::int32_t> blocks;
};

std::vector<prompt> read(const std::string& file) {
  std::vector<prompt> prompts;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    prompt p;
    const auto after = [&](const char* key) { return line.substr(line.find(key) + std::strlen(key)); };
    p.length = std::stoull(after("\"input_length\":"));
    std::istringstream ids(after("\"hash_ids\": ["));
    for (std::int32_t id; ids >> id; ids.ignore(1)) p.blocks.push_back(id);
    p.blocks.resize((p.length + 511) / 512);
    prompts.push_back(p);
  }
  return prompts;
}

/// A block of 512 tokens costs as much as 8 tiles would there: weights for all, and attention that overtakes them at 4096 rows.
constexpr kv::evict::greedy_dual by_work{.row = 8.0 / 4096};

/// What an index of so many blocks saves when the prompts come one after another. The last block counts its real tokens.
struct savings {
  std::uint64_t tokens = 0;
  double work = 0;
};
template <class Policy>
savings saved(const std::vector<prompt>& prompts, std::uint32_t blocks, Policy policy = {}) {
  kv::prefix_index<std::uint32_t, Policy> index(blocks, policy);
  savings sum;
  std::vector<std::int32_t> text;
  for (const prompt& p : prompts) {
    text.clear();
    for (std::int32_t id : p.blocks) text.insert(text.end(), tile_tokens, id);
    kv::prefix_place at = index.match(1, text);
    sum.tokens += at.tiles == p.blocks.size() ? p.length : at.tiles * std::uint64_t{512};
    for (std::uint32_t t = 0; t < at.tiles; ++t) sum.work += by_work.cost(t);
    index.use(at);
    index.hold(at);
    while (at.tiles < p.blocks.size() && (!index.full() || index.evict([](std::uint32_t) {}))) {
      kv::prefix_place next = at;
      index.insert(next, text.data() + std::size_t{at.tiles} * tile_tokens, 0);
      index.hold(next);
      index.let_go(at);
      at = next;
    }
    index.let_go(at);
  }
  return sum;
}

struct known {
  const char* file;
  std::uint64_t all, unbounded;
  double lru[3];  ///< per cent that leaf-first LRU saves with 500, 2000 and 8000 blocks
};
constexpr known traces[] = {{"mooncake_conversation_trace.jsonl", 144793823, 54098411, {4.3, 5.5, 18.2}},
                            {"mooncake_synthetic_trace.jsonl", 61194628, 39852661, {4.6, 14.9, 38.0}}};

}  // namespace

TEST_CASE("an index saves of public traces what an independent count says") {
  for (const known& k : traces) {
    const std::string file = trace_file(k.file);
    if (file.empty()) continue;
    const auto prompts = read(file);
    std::uint64_t all = 0;
    for (const prompt& p : prompts) all += p.length;
    REQUIRE(all == k.all);
    CHECK(saved(prompts, 300000, kv::evict::lru{}).tokens == k.unbounded);
    const std::uint32_t blocks[] = {500, 2000, 8000};
    for (int i = 0; i < 3; ++i) {
      const savings lru = saved(prompts, blocks[i], kv::evict::lru{}), dual = saved(prompts, blocks[i], by_work);
      const savings lfu = saved(prompts, blocks[i], kv::evict::lfu{.ageing = true});
      CAPTURE(k.file, blocks[i], lru.tokens, lfu.tokens, dual.tokens, lru.work, lfu.work, dual.work);
      CHECK(100.0 * static_cast<double>(lru.tokens) / static_cast<double>(all) == Approx(k.lru[i]).margin(0.05));
      CHECK(dual.work > lru.work);  // what it is for; of tokens it may save fewer
      CHECK(lfu.tokens > lru.tokens / 2);
    }
  }
}
