// SPDX-License-Identifier: Apache-2.0
// Outcomes side by side: a table for people, JSON for programs, a Perfetto trace for eyes.
#pragma once

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "simulation.hpp"

namespace quire_sim {

/// All measures of one policy. Times in seconds.
nlohmann::ordered_json to_json(outcome& o, const quire::serve::simulate::service_level& level, std::uint64_t row_bytes);

/// A column for each policy, a row for each measure that any of them has.
void print_table(std::vector<outcome>& all, const quire::serve::simulate::service_level& level, std::FILE* to);

/// fails: std::runtime_error naming the flag and the file.
void write_json(const nlohmann::ordered_json& what, const std::string& path, const std::string& flag);

/// Steps as slices and loads as counters, in the JSON that Perfetto and Chrome read; one process for each policy.
class perfetto_file {
 public:
  /// fails: bad_input.
  explicit perfetto_file(const std::string& path);
  void begin(const std::string& policy);
  void step(const quire::serve::simulate::step_event& e);
  void finish();

 private:
  void event(const nlohmann::ordered_json& e);
  std::string path_;
  std::ofstream out_;
  int process_ = 0;
  bool first_ = true;
};

}  // namespace quire_sim
