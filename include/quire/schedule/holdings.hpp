// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "memory.hpp"
#include "slot.hpp"

namespace quire::inline v0::schedule::detail {

/// A memory with the hooks it lacks filled in, and the books a slot keeps of it.
template <Memory M>
class holdings {
 public:
  explicit holdings(M& memory) : memory_(&memory) {}

  /// Whether so many rows can be held at all.
  status fits(std::uint64_t rows) {
    if constexpr (BoundedMemory<M>) return memory_->fits(static_cast<std::uint32_t>(rows));
    else return {};
  }
  std::uint64_t capacity() {
    if constexpr (CountedMemory<M>) return memory_->capacity_tokens();
    else return 0;
  }
  std::uint64_t free() {
    if constexpr (CountedMemory<M>) return memory_->free_tokens();
    else return 0;
  }
  std::uint64_t leaving() {
    if constexpr (LeavingMemory<M>) return memory_->leaving_tokens();
    else return 0;
  }
  /// Open the sequence; what is there already counts as computed.
  status open(slot& x) {
    status r{};
    if constexpr (AdmittingMemory<M>) r = memory_->admit(x.r.id);
    if (!r) return r;
    x.held = true;
    if constexpr (ResidentMemory<M>)
      x.reserved = x.r.so_far.computed = x.r.so_far.resident =
          std::min(memory_->resident(x.r.id), x.r.known_tokens() - 1);
    x.arriving = ReadyMemory<M>;
    return r;
  }
  status secure(slot& x, std::uint64_t rows) {
    if (rows <= x.reserved) return {};
    const status r = memory_->reserve(x.r.id, static_cast<std::uint32_t>(rows) - x.reserved);
    if (r) x.reserved = static_cast<std::uint32_t>(rows);
    return r;
  }
  /// Notices when the rows of `x` have arrived, and which of them have not.
  void poll(slot& x) {
    if constexpr (ReadyMemory<M>) {
      if (!x.arriving || !memory_->ready(x.r.id)) return;
      x.arriving = false;
      if constexpr (ResidentMemory<M>)
        if (const std::uint32_t rows = memory_->resident(x.r.id); rows < x.r.so_far.computed)
          x.reserved = x.r.so_far.computed = x.r.so_far.resident = rows;
    }
  }
  /// The pages go back; the request returns. Answers what became of its rows.
  preemption_kind preempt(slot& x, preemption_kind kind) {
    forget(x);
    if constexpr (PreemptingMemory<M>) return x.kept = memory_->preempt(x.r.id, kind);
    memory_->release(x.r.id);
    x.held = false;
    return preemption_kind::recompute;
  }
  /// Everything goes back, also what memory kept of a waiting request.
  void close(slot& x) {
    if (!x.held) return;
    forget(x);
    memory_->release(x.r.id);
    x.held = false;
  }

 private:
  static void forget(slot& x) noexcept {
    x.reserved = x.r.so_far.computed = x.r.so_far.resident = 0;
    x.arriving = false;
  }
  M* memory_;
};

}  // namespace quire::inline v0::schedule::detail
