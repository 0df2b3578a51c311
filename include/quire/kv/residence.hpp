// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../tier/transfer_queue.hpp"

namespace quire::inline v0::kv {

/// Where a conversation is.
enum class residence : std::uint8_t {
  closed,
  running,   ///< in the store, whole; the host may hold copies of its sealed tiles
  leaving,   ///< out of the store; copies to the host are under way and hold its pages
  out,       ///< on the host (`kept` says how much of it)
  arriving,  ///< has pages in the store again, which hold nothing yet
  closing    ///< closed; copies still have to end
};
/// Why a sequence leaves: somebody waits for the rest of it, or the conversation rests until its next turn.
enum class leave_reason : std::uint8_t { preempted, idle };

struct swapper_options {
  tier::transfer_options transfers{};
  bool reuse = true;  ///< keep the host copies of a sequence that came back: only what is new is copied out the next time
};

struct swap_counts {
  std::uint64_t swaps_out = 0, swaps_in = 0;
  std::uint64_t pieces = 0;           ///< pages queued for copying, both ways
  std::uint64_t runs = 0;             ///< adjacent runs of store pages among them
  std::uint64_t saved_bytes = 0;      ///< not copied out because the host held them already, or other holders keep them here
  std::uint64_t lost_parts = 0;       ///< copies that failed
  tier::transfer_counts out, in;      ///< of the link: copies, bytes, pieces, failures
};

}  // namespace quire::inline v0::kv
