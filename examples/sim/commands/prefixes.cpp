// SPDX-License-Identifier: Apache-2.0
#include "prefixes.hpp"

#include <algorithm>
#include <cstdio>

#include "quire/schedule/prefix/first_level.hpp"
#include "quire/schedule/prefix/lru_replay.hpp"
#include "quire/schedule/prefix/one_level_optimum.hpp"
#include "quire/schedule/prefix/tree.hpp"

namespace quire_sim {

namespace planning = quire::schedule::prefix;

prefix_savings measure_prefixes(const trace& t, std::span<const std::uint32_t> capacities) {
  std::vector<std::span<const std::uint64_t>> prompts;
  std::vector<std::uint32_t> tokens;
  prefix_savings out;
  for (const trace_request& r : t.requests) {
    prompts.push_back(t.blocks(r));
    tokens.push_back(r.prompt_tokens);
    out.total += r.prompt_tokens;
  }
  const planning::pile<std::uint64_t> pile{.prompts = prompts, .block_tokens = t.block_tokens, .tokens = tokens};
  if (const quire::status s = check(pile); !s) throw bad_input(quire::describe(s));
  const planning::tree tree = build_tree(pile);
  out.multi_level = saved_multi_level(tree);
  out.one_level = saved(tree, first_level(tree));
  out.one_level_optimum = saved(tree, one_level_optimum(tree));
  for (const std::uint32_t capacity : capacities) {
    planning::lru_replay cache(capacity);
    std::uint64_t hit = 0;
    for (std::size_t r = 0; r < prompts.size(); ++r) hit += pile.length(r, static_cast<std::uint32_t>(cache.serve(prompts[r])));
    out.lru.push_back(hit);
  }
  return out;
}

int prefixes(const prefixes_options& o) {
  const trace t = read_trace(o.trace);
  if (t.block_tokens == 0) throw bad_input("--trace is " + legible(o.trace) + ", whose requests have no hash_ids, allowed a Mooncake trace");
  const prefix_savings s = measure_prefixes(t, o.capacities);
  const auto row = [&](const char* name, std::uint64_t saved) {
    std::printf("%-28s %12llu  %5.2f %%\n", name, static_cast<unsigned long long>(saved), 100.0 * static_cast<double>(saved) / static_cast<double>(s.total));
  };
  std::printf("%zu requests, %llu prompt tokens; saved of them:\n", t.requests.size(), static_cast<unsigned long long>(s.total));
  row("plan, all levels", s.multi_level);
  row("plan, one level", s.one_level);
  row("plan, one level (optimum)", s.one_level_optimum);
  nlohmann::ordered_json lru = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < o.capacities.size(); ++i) {
    const std::string blocks = std::to_string(o.capacities[i]);
    row(("LRU of " + blocks + " blocks").c_str(), s.lru[i]);
    lru[blocks] = s.lru[i];
  }
  if (o.output.empty()) return 0;
  const nlohmann::ordered_json report{{"trace", o.trace.substr(o.trace.find_last_of('/') + 1)},
                                      {"requests", t.requests.size()},
                                      {"block_tokens", t.block_tokens},
                                      {"total_tokens", s.total},
                                      {"saved_multi_level", s.multi_level},
                                      {"saved_one_level", s.one_level},
                                      {"saved_one_level_optimum", s.one_level_optimum},
                                      {"saved_lru", lru}};
  std::ofstream file(o.output);
  file << report.dump(2) << "\n";
  file.close();
  if (!file) throw std::runtime_error("--json " + legible(o.output) + " can't be written: " + std::strerror(errno));
  return 0;
}

}  // namespace quire_sim
