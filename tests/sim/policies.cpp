// SPDX-License-Identifier: Apache-2.0
#include "sim/policies.hpp"

#include <set>

#include "catch.hpp"
#include "sim/error.hpp"

using namespace quire_sim;

TEST_CASE("policies have names of their own and point at models that exist") {
  std::set<std::string> names;
  const auto is_one_of = [](const std::string& name, const auto& all) { return std::find(std::begin(all), std::end(all), name) != std::end(all); };
  for (const policy_spec& p : known_policies()) {
    CAPTURE(p.name);
    REQUIRE(names.insert(p.name).second);
    REQUIRE(find_policy(p.name, "--policy").name == p.name);
    REQUIRE_FALSE(p.about.empty());
    REQUIRE(is_one_of(p.order, axis_names::order));
    REQUIRE(is_one_of(p.batching, axis_names::batching));
    REQUIRE(is_one_of(p.admission, axis_names::admission));
    REQUIRE(is_one_of(p.victim, axis_names::victim));
    REQUIRE(is_one_of(p.preemption, axis_names::preemption));
  }
}

TEST_CASE("engines' names stand for policies, an unknown one lists what there is") {
  REQUIRE(find_policy("vllm", "--policy").batching == "prefill-first");
  REQUIRE(find_policy("sarathi", "--policy").batching == "chunked");
  REQUIRE(find_policy("fastswitch", "--policy").reuse);
  try {
    static_cast<void>(find_policy("lifo", "--policy"));
    FAIL("accepted");
  } catch (const bad_input& e) {
    REQUIRE_THAT(e.what(), Catch::Contains("--policy is 'lifo'") && Catch::Contains("orca") && Catch::Contains("swap-reuse"));
  }
}
