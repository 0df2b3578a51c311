// SPDX-License-Identifier: Apache-2.0
#include "policies.hpp"

#include "error.hpp"

namespace quire_sim {

const std::vector<policy_spec>& known_policies() {
  using memory = policy_spec::memory;
  using plan = policy_spec::plan;
  static const std::vector<policy_spec> all{
      {.name = "orca", .about = "whole prompts beside decodes, room reserved to the end", .batching = "whole", .admission = "when-it-fits"},
      {.name = "prefill-first", .about = "whole prompts before decodes (early vLLM)", .batching = "prefill-first"},
      {.name = "chunked", .about = "decodes, then chunks, in one token budget (Sarathi-Serve)"},
      {.name = "chunked-apart", .about = "chunks and decodes in steps of their own", .batching = "chunked-apart"},
      {.name = "hybrid", .about = "whole prompts beside decodes, up to --max-batched tokens", .batching = "whole"},
      {.name = "fcfs-lru", .about = "chunked, with a prefix cache that evicts the longest unused", .keeps = memory::cached},
      {.name = "fcfs-lru-wait", .about = "the same, and nobody computes what another is computing", .keeps = memory::cached, .waits = true},
      {.name = "lpm", .about = "longest cached prefix first (SGLang), with waiting", .order = "longest-prefix", .keeps = memory::cached, .waits = true},
      {.name = "batchllm-groups", .about = "planned groups, one after the other, their prefix pinned", .order = "prefix-grouped", .keeps = memory::cached, .planned = plan::groups, .pins = true, .waits = true},
      {.name = "batchllm-order", .about = "the same, groups that decode most first", .order = "prefix-grouped", .keeps = memory::cached, .planned = plan::ratio, .pins = true, .waits = true},
      {.name = "batchllm", .about = "the same, batches bounded by memory (BatchLLM)", .order = "prefix-grouped", .batching = "memory-centric", .admission = "when-it-fits", .keeps = memory::cached, .planned = plan::ratio, .pins = true, .waits = true},
      {.name = "vtc", .about = "the tenant that was served least (VTC)", .order = "fair"},
      {.name = "recompute", .about = "drawn priorities; who gives way is computed again", .order = "drawn", .victim = "drawn"},
      {.name = "recompute-cache", .about = "the same, with a prefix cache", .order = "drawn", .victim = "drawn", .keeps = memory::cached},
      {.name = "swap-sync", .about = "drawn priorities; swapped block by block while steps wait (vLLM 0.3)", .order = "drawn", .victim = "drawn", .preemption = "swap", .keeps = memory::swapped},
      {.name = "swap-groups", .about = "the same, adjacent blocks in one copy", .order = "drawn", .victim = "drawn", .preemption = "swap", .keeps = memory::swapped, .groups = true},
      {.name = "swap-async", .about = "the same, while steps run on", .order = "drawn", .victim = "drawn", .preemption = "swap", .keeps = memory::swapped, .groups = true, .overlap = true},
      {.name = "swap-reuse", .about = "the same, only what the host lacks goes out (FastSwitch)", .order = "drawn", .victim = "drawn", .preemption = "swap", .keeps = memory::swapped, .groups = true, .overlap = true, .reuse = true},
  };
  return all;
}

policy_spec find_policy(const std::string& name, const std::string& flag) {
  const std::string wanted = name == "vllm" ? "prefill-first" : name == "sarathi" ? "chunked" : name == "fastswitch" ? "swap-reuse" : name;
  std::string names;
  for (const policy_spec& p : known_policies()) {
    if (p.name == wanted) {
      policy_spec found = p;
      found.name = name;
      return found;
    }
    names += (names.empty() ? "" : ", ") + p.name;
  }
  throw bad_input(flag + " is " + legible(name) + ", allowed " + names + ", and vllm, sarathi, fastswitch for three of them");
}

}  // namespace quire_sim
