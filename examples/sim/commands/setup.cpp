// SPDX-License-Identifier: Apache-2.0
#include "setup.hpp"

#include <iterator>

#include "../error.hpp"

namespace quire_sim {
namespace {

template <std::size_t N>
void override_axis(std::string& field, const std::string& wanted, const char* const (&names)[N], const char* flag) {
  if (wanted.empty()) return;
  std::string known;
  for (const char* n : names) {
    if (wanted == n) return void(field = wanted);
    known += (known.empty() ? "" : ", ") + std::string(n);
  }
  throw bad_input(std::string(flag) + " is " + legible(wanted) + ", allowed " + known);
}

}  // namespace

setup make_setup(const serve_options& o) {
  setup s{.cost = make_cost(o.cost, o.costs, "--cost-model"), .engine = o.engine, .policies = {}, .level = {}};
  s.engine.rows = o.rows != 0 ? o.rows : static_cast<std::uint32_t>(s.cost.cache_rows);
  if (s.engine.row_bytes == 0) s.engine.row_bytes = s.cost.row_bytes;
  if (s.engine.rows < s.engine.block) throw bad_input("--memory is " + std::to_string(s.engine.rows) + ", allowed at least --block " + std::to_string(s.engine.block));
  if (o.pattern == "markov") s.engine.pattern.pattern = quire::serve::simulate::priority_pattern::kind::markov;
  else if (o.pattern != "independent") throw bad_input("--priorities is " + legible(o.pattern) + ", allowed independent, markov");
  s.engine.pattern.seed = o.workload.seed;
  for (const std::string& name : o.policies) {
    policy_spec p = find_policy(name, "--policy");
    override_axis(p.order, o.order, axis_names::order, "--order");
    override_axis(p.batching, o.batching, axis_names::batching, "--batching");
    override_axis(p.admission, o.admission, axis_names::admission, "--admission");
    override_axis(p.victim, o.victim, axis_names::victim, "--victim");
    override_axis(p.preemption, o.preemption, axis_names::preemption, "--preemption");
    if (p.preemption != "recompute" && p.keeps != policy_spec::memory::swapped) {
      if (p.keeps == policy_spec::memory::cached) throw bad_input("--preemption is " + legible(p.preemption) + " with policy " + legible(p.name) + ", allowed recompute: its memory is a prefix cache");
      p.keeps = policy_spec::memory::swapped, p.groups = p.overlap = p.reuse = true;
    }
    s.policies.push_back(p);
  }
  if (s.policies.empty()) throw bad_input("--policy is empty, allowed one name and more");
  if (o.first_token > 0) s.level.first_token = o.first_token;
  if (o.gap > 0) s.level.gap = o.gap;
  return s;
}

}  // namespace quire_sim
