// SPDX-License-Identifier: Apache-2.0
// quire-sim prefixes: what prompts share, as a pile that is known ahead, and what an LRU cache would have found.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "../traces.hpp"

namespace quire_sim {

struct prefixes_options {
  std::string trace{};                                        ///< a file with block ids
  std::vector<std::uint32_t> capacities{500, 2000, 8000, 32000};  ///< of the LRU cache, in blocks
  std::string output{};                                       ///< JSON file to write as well; empty: none
};

/// Tokens of a trace's prompts and how many of them need not be computed.
struct prefix_savings {
  std::uint64_t total = 0;
  std::uint64_t multi_level = 0;        ///< every shared beginning computed once
  std::uint64_t one_level = 0;          ///< groups by greedy first-level maximisation
  std::uint64_t one_level_optimum = 0;  ///< the best groups there are
  std::vector<std::uint64_t> lru;       ///< by capacity
};
/// Precondition: the trace has block ids.
prefix_savings measure_prefixes(const trace& t, std::span<const std::uint32_t> capacities);

/// Prints the savings and writes them. Returns the exit status. fails: bad_input, std::runtime_error (the file).
int prefixes(const prefixes_options& o);

}  // namespace quire_sim
