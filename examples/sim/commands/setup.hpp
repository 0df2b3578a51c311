// SPDX-License-Identifier: Apache-2.0
// From flags to policies and an engine, for serve and capacity alike.
#pragma once

#include <vector>

#include "serve.hpp"

namespace quire_sim {

struct setup {
  cost_model cost;
  engine_options engine;
  std::vector<policy_spec> policies;
  quire::serve::simulate::service_level level;
};
/// fails: bad_input that names the flag.
setup make_setup(const serve_options& o);

}  // namespace quire_sim
