// SPDX-License-Identifier: Apache-2.0
// quire-sim serve and capacity: policies side by side on one workload, and the load each of them carries.
#pragma once

#include <string>
#include <vector>

#include "../simulation.hpp"
#include "../workloads.hpp"

namespace quire_sim {

/// What both commands are told.
struct serve_options {
  workload_options workload;
  engine_options engine;
  cost_options costs;
  std::vector<std::string> policies{"prefill-first", "chunked"};
  std::string cost = "a100-mistral-7b";
  std::string order, batching, admission, victim, preemption;  ///< instead of the policies' own; empty: theirs
  std::uint32_t rows = 0;                                      ///< of memory; 0: as the machine has
  std::string pattern = "independent";
  double first_token = 0, gap = 0;  ///< service level; 0: none
  std::string json;
};
struct serve_command : serve_options {
  std::string plot, perfetto;
};
struct capacity_command : serve_options {
  double start = 1, delay = 2, precision = 0.025;
  std::uint32_t trials = 20;
};

/// Print a table, write what was asked for. Return the exit status. fails: bad_input, std::runtime_error (files).
int serve(const serve_command& o);
int capacity(const capacity_command& o);

}  // namespace quire_sim
