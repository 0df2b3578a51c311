// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../admission/projected.hpp"
#include "../axes.hpp"

namespace quire::inline v0::schedule::batching {

/// As many requests as memory will hold: what limits a step is the rows that running sequences will have within `steps`
/// steps, kept under `theta` of memory; `guard` tokens only bound its time and activations, and never leave a decode
/// out. Suits work that is judged by throughput. from: BatchLLM (arXiv:2412.03594), whose threshold is not published:
/// theta and the horizon are ours; test: tests/schedule/batching/memory_centric.cpp
struct memory_centric {
  static constexpr bool counts_rows = true;

  double theta = 0.95;
  std::uint32_t steps = 64;
  std::uint32_t guard = 8192;

  schedule::shape shape(const load&) const noexcept { return {.tokens = guard}; }
  std::uint32_t horizon() const noexcept { return steps; }
  verdict judge(const request& r, std::uint64_t need, const load& l) const noexcept {
    return admission::projected{theta, steps}.judge(r, need, l);
  }
  status valid() const noexcept {
    if (guard == 0) return {errc::out_of_range, "memory_centric.guard", 0, 1, 0xffffffff};
    return admission::projected{theta, steps}.valid();
  }
};
static_assert(Batching<memory_centric> && Admission<memory_centric> && ForesightedAxis<memory_centric> &&
              RowCountingAxis<memory_centric>);

}  // namespace quire::inline v0::schedule::batching
