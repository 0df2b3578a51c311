// SPDX-License-Identifier: Apache-2.0
// What a scheduler remembers of a request beyond what its policy sees.
#pragma once

#include <cstdint>

#include "memory.hpp"
#include "request.hpp"

namespace quire::inline v0::schedule::detail {

struct slot {
  request r{};
  std::uint64_t ticket = 0;                           ///< order of submission; 0 when the slot is free
  std::uint64_t planned_in = 0;                       ///< number of the last step that holds it
  std::uint32_t reserved = 0;                         ///< rows there is room for
  std::uint32_t highest = 0;                          ///< rows ever computed
  std::uint32_t fruitless = 0;                        ///< preemptions since its last token
  preemption_kind kept = preemption_kind::recompute;  ///< what its last preemption was
  bool held = false;                                  ///< memory knows it
  bool arriving = false;                              ///< its resident rows are on their way
  bool awaiting = false;                              ///< its logits are out
  bool fed = false;                                   ///< got a token since it got its pages

  std::uint32_t left() const noexcept { return r.known_tokens() - r.so_far.computed; }
  bool decoding() const noexcept { return r.so_far.generated > 0 && left() == 1; }
  bool runnable() const noexcept { return !awaiting && !arriving; }
};

/// Whose an entry of the step is, even if its id is taken again before the step is committed.
struct planned {
  std::uint32_t slot = 0;
  std::uint64_t ticket = 0;
  std::uint64_t cost = 0;  ///< of the entry, in what the batching counts in
};

}  // namespace quire::inline v0::schedule::detail
