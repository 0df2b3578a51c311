// SPDX-License-Identifier: Apache-2.0
// Cost models by name: machines the library knows, published fits, profiles and measurements from files.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "quire/serve/simulate/cost.hpp"

namespace quire_sim {

/// What a user says about a model and a machine that a file with times does not.
struct cost_options {
  std::uint32_t layers = 32;             ///< of the model of a profile
  double bytes_per_second = 1.2e12;      ///< at which a decode reads its rows
  double flops = 156e12;                 ///< at which chunks compute attention
};

/// A cost model chosen at run time, with the table it stands on. Movable; copies share nothing.
class cost_model {
 public:
  explicit cost_model(quire::serve::simulate::fitted_cost f) : model_(f) {}
  cost_model(quire::serve::simulate::profiled_cost c, std::vector<quire::serve::simulate::knot> table) : table_(std::move(table)), model_(c) { attach(); }
  cost_model(const cost_model& o) : table_(o.table_), model_(o.model_), row_bytes(o.row_bytes), cache_rows(o.cache_rows), source(o.source) { attach(); }
  cost_model(cost_model&&) = default;  // a moved vector keeps its buffer
  cost_model& operator=(const cost_model&) = delete;

  double seconds(const quire::serve::simulate::work& w) const noexcept {
    return std::visit([&](const auto& m) { return m.seconds(w); }, model_);
  }

 private:
  void attach() {
    if (auto* p = std::get_if<quire::serve::simulate::profiled_cost>(&model_)) p->linear = table_;
  }
  std::vector<quire::serve::simulate::knot> table_;
  std::variant<quire::serve::simulate::fitted_cost, quire::serve::simulate::profiled_cost> model_;

 public:
  std::uint64_t row_bytes = 131072;   ///< keys and values of a token
  std::uint64_t cache_rows = 438000;  ///< that fit beside the weights
  std::string source;                 ///< one line for people
};
static_assert(quire::serve::simulate::CostModel<cost_model>);

/// `name`: a machine (a100-mistral-7b, ...), `niyama`, `vidur:FILE` (mlp.csv of the Vidur simulator), `bench:FILE` (JSON of
/// quire-lm bench). fails: bad_input that names `flag`.
cost_model make_cost(const std::string& name, const cost_options& o, const std::string& flag);

/// Names that need no file, with commas.
std::string known_costs();

}  // namespace quire_sim
