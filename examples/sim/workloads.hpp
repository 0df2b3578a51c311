// SPDX-License-Identifier: Apache-2.0
// Workloads from flags: a trace as it is, lengths of a trace at a rate, conversations, or a grid of shared prefixes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quire/serve/simulate/workload.hpp"

namespace quire_sim {

struct workload_options {
  std::string trace{};               ///< file; or `sharegpt`, `arxiv`: lengths with the quantiles of those data sets
  double rate = 0;                   ///< requests a second; 0: the trace's own times
  double cv = 1;
  std::uint32_t requests = 0;        ///< 0: all of a trace with times, else 1000
  std::uint32_t most_tokens = 0;     ///< longer requests are left out; 0: none
  bool turns = false;                ///< conversations
  double mean_turns = 5.5;
  std::string grid{};                ///< PROMPTS,DEGREE,PREFIX,TAIL,OUTPUT; several with ';' make one pile
  bool pile = false;                 ///< all requests are there at time 0
  std::uint32_t tenants = 1;         ///< the first sends half of all requests, the others the rest alike
  std::uint32_t classes = 1;         ///< of priority, drawn for each request
  double first_token = 0;            ///< sets deadlines, if above 0
  std::uint64_t seed = 0;
};

struct named_workload {
  std::string name;
  quire::serve::simulate::workload work;
};

/// fails: bad_input that names the flag or the file.
named_workload make_workload(const workload_options& o);

/// Lengths with the given median and 90 % quantile (log-normal, by inverse distribution over a fixed grid, so that no draw
/// is needed), for when no trace is at hand: `sharegpt` 1730/5696 and 415/834, `arxiv` 2730/3702 and 167/372.
std::vector<quire::serve::simulate::lengths> synthetic_lengths(const std::string& name);

}  // namespace quire_sim
