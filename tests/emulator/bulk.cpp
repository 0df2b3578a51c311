// SPDX-License-Identifier: Apache-2.0
// Bulk copies and the barriers that count them. A copy ends at a moment that the scheduler draws; its bytes are there for nobody
// before the phase that counted it was waited for, and from then on they are what the first to wait wrote: others must have waited
// for that phase too, or come by a barrier. The engine goes its own way to memory: what threads have read or written before must be
// behind a fence_async that is itself before the copy.
#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "shadow.hpp"

namespace emulator {
namespace {

struct bulk_copy {
  std::uint64_t to, from, barrier;   ///< places
  std::uint64_t newest;              ///< the source's last write when it was asked for
  std::uint32_t bytes, thread;
  const void* pc;
};
struct copy_barrier {
  std::uint32_t arrivals, left;      ///< of a phase; those to come in this one
  std::uint32_t phase = 0;           ///< how many have ended
  std::int64_t bytes = 0;            ///< announced and not come yet
  // Who made it.
  std::uint32_t thread;
  clock_type clock;
  const void* pc;
  const clocks *gathered = nullptr, *known = nullptr, *fenced = nullptr;  ///< what arrivals of this phase knew; what phases that ended show
  const foreign_clocks* foreign = nullptr;
  std::vector<bulk_copy> come, ended;  ///< in this phase; in phases that ended and nobody has waited for
};
std::map<std::uint64_t, copy_barrier> barriers;  ///< of the block, by place
std::vector<bulk_copy> under_way;

constexpr std::uint32_t barrier_bytes = 8, most_bytes = (1u << 20) - 1;

std::string by(const fiber& me, const void* pc) { return " by " + who(me.thread) + " of block " + std::to_string(block_index()) + " at " + at(pc); }

/// The barrier at `b`, which this thread uses as others do: by atomics of the hardware.
copy_barrier& used(fiber& me, void* b, const char* what, const void* pc) {
  const std::uint64_t place = place_of(b);
  if (place == arena_map::none) elsewhere(me, b, barrier_bytes, true, pc);
  const auto i = barriers.find(place);
  if (i == barriers.end()) {
    record(fault_kind::bad_barrier, me, pc, 0, std::string(what) + by(me, pc) + " of no barrier: nobody made one at " + (place == arena_map::none ? std::string("an address that is not the device's") : describe(place)));
    stop_block();
  }
  check_order(me, place, barrier_bytes, access::atomic, pc);
  for (std::uint32_t n = 0; n < barrier_bytes; ++n) arena.writes[place + n] = me.now | site_of(pc) | event::flag;
  return i->second;
}

void end_phase(std::uint64_t place, copy_barrier& b) {
  if (b.left != 0 || b.bytes != 0) return;
  b.left = b.arrivals, ++b.phase;
  b.known = joined(b.known, std::exchange(b.gathered, nullptr));
  b.ended.insert(b.ended.end(), b.come.begin(), b.come.end());
  b.come.clear();
  wake_at_copies(place);
}

std::uint64_t newest_write(std::uint64_t place, std::size_t bytes) {
  std::uint64_t newest = 0;
  for (std::size_t i = 0; i < bytes; ++i) newest = std::max(newest, arena.writes[place + i]);
  return newest;
}

/// The bytes are there for whoever knows what `me`, the first to wait, does now.
void deliver(fiber& me, const bulk_copy& c) {
  if (newest_write(c.from, c.bytes) != c.newest)
    record(fault_kind::race, me, c.pc, 1, "a bulk copy from " + describe(c.from) + " asked for by " + who(c.thread) + " of block " + std::to_string(block_index()) + " at " + at(c.pc) +
           ", and a write there by " + who(event::thread(newest_write(c.from, c.bytes))) + " at " + at_site(event::site(newest_write(c.from, c.bytes))) + " before it was waited for");
  for (std::size_t i = 0; i < c.bytes; ++i) {
    arena.states[c.to + i] = static_cast<std::uint8_t>(valid | by_engine | (arena.states[c.from + i] & initialised));
    arena.writes[c.to + i] = me.now | site_of(c.pc);
  }
  std::memcpy(byte_at(c.to), byte_at(c.from), c.bytes);
}

}  // namespace

void begin_block_copies() noexcept { barriers.clear(), under_way.clear(); }
std::size_t copies_under_way() noexcept { return under_way.size(); }

void finish_copy(std::size_t i) {
  const bulk_copy c = under_way[i];
  under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(i));
  copy_barrier& b = barriers.at(c.barrier);
  b.bytes -= c.bytes;
  b.come.push_back(c);
  end_phase(c.barrier, b);
}

void report_unawaited_copies() {
  std::size_t count = 0;
  const bulk_copy* first = nullptr;
  for (const auto& [place, b] : barriers)
    for (const auto* left : {&b.ended, &b.come})
      for (const bulk_copy& c : *left)
        if (++count == 1) first = &c;
  if (count != 0)
    record(fault_kind::abandoned_copy, *fiber_of(first->thread), first->pc, 0, std::to_string(count) + " bulk copies that nobody waited for when block " + std::to_string(block_index()) + " ends; one was asked for by " +
           who(first->thread) + " at " + at(first->pc) + " with " + describe_barrier(first->barrier));
}

bool is_copy_barrier(std::uint64_t place) noexcept { return barriers.count(place / barrier_bytes * barrier_bytes) != 0; }
std::string describe_barrier(std::uint64_t place) {
  place = place / barrier_bytes * barrier_bytes;
  const copy_barrier& b = barriers.at(place);
  std::string text = "the barrier at " + describe(place) + " made by " + who(b.thread) + " at " + at(b.pc) + ", phase " + std::to_string(b.phase) + ": " + std::to_string(b.left) + " of " + std::to_string(b.arrivals) + " arrivals and ";
  return text + (b.bytes < 0 ? std::to_string(-b.bytes) + " bytes more have come than were announced" : std::to_string(b.bytes) + " bytes are to come");
}

void barrier_init(void* barrier, std::uint32_t arrivals) noexcept {
  const void* pc = __builtin_return_address(0);
  fiber& me = *current;
  const unseen nothing;
  const std::uint64_t place = place_of(barrier);
  const auto wrong = [&](fault_kind kind, const std::string& what) {
    record(kind, me, pc, 0, "barrier_init " + what + by(me, pc));
    stop_block();
  };
  if (place == arena_map::none) elsewhere(me, barrier, barrier_bytes, true, pc);
  if (!is_shared(place)) wrong(fault_kind::out_of_bounds, "at " + describe(place) + ", which is not shared memory,");
  if (reinterpret_cast<std::uintptr_t>(barrier) % barrier_bytes != 0) wrong(fault_kind::misaligned, "at " + describe(place));
  if (is_copy_barrier(place)) wrong(fault_kind::bad_barrier, "over " + describe_barrier(place));
  if (arrivals == 0 || arrivals > most_bytes) wrong(fault_kind::bad_barrier, "for " + std::to_string(arrivals) + " arrivals");
  note(me, place, barrier_bytes, access::write, pc);
  for (std::uint32_t n = 0; n < barrier_bytes; ++n) arena.states[place + n] |= pending;  // nobody's memory from now on
  copy_barrier& b = barriers[place] = {};
  b.arrivals = b.left = arrivals, b.thread = me.thread, b.clock = me.clock, b.pc = pc;
  tick(me);
}

void barrier_expect(void* barrier, std::uint32_t bytes) noexcept {
  const void* pc = __builtin_return_address(0);
  fiber& me = *current;
  const unseen nothing;
  copy_barrier& b = used(me, barrier, "an arrival", pc);
  if (b.left == 0 || bytes > most_bytes) {
    record(fault_kind::bad_barrier, me, pc, 0, (b.left == 0 ? "one arrival more than a phase counts" : std::to_string(bytes) + " bytes announced, which are too many,") + by(me, pc) + " at " + describe_barrier(place_of(barrier)));
    stop_block();
  }
  settle_fence(me);
  b.gathered = joined(b.gathered, known_by(me)), b.foreign = joined(b.foreign, me.knows.foreign), b.fenced = joined(b.fenced, me.fenced);
  --b.left, b.bytes += bytes;
  end_phase(place_of(barrier), b);
}

void barrier_wait(void* barrier, std::uint32_t parity) noexcept {
  const void* pc = __builtin_return_address(0);
  fiber& me = *current;
  const unseen nothing;
  copy_barrier& b = used(me, barrier, "a wait", pc);
  while (b.phase % 2 == parity % 2) wait_for_copies(me, place_of(barrier), parity, pc);
  me.knows.extra = joined(me.knows.extra, b.known), me.knows.foreign = joined(me.knows.foreign, b.foreign), me.fenced = joined(me.fenced, b.fenced);
  if (b.ended.empty()) return;
  for (const bulk_copy& c : b.ended) deliver(me, c);
  b.ended.clear();
  b.known = joined(b.known, known_by(me));
}

void copy_bulk(void* to, const void* from, std::uint32_t bytes, void* barrier) noexcept {
  const void* pc = __builtin_return_address(0);
  fiber& me = *current;
  const unseen nothing;
  const std::uint64_t place = place_of(to), source = place_of(from);
  const auto wrong = [&](fault_kind kind, const std::string& what, std::uint64_t with = 0) {
    record(kind, me, pc, with, "copy_bulk " + what + by(me, pc));
    stop_block();
  };
  if (place == arena_map::none) elsewhere(me, to, bytes, true, pc);
  if (source == arena_map::none) {
    elsewhere(me, from, bytes, false, pc);
    wrong(fault_kind::out_of_bounds, "from memory of the host");
  }
  if (!is_shared(place)) wrong(fault_kind::out_of_bounds, "to " + describe(place) + ", which is not shared memory,");
  if (is_shared(source)) wrong(fault_kind::out_of_bounds, "from " + describe(source) + ", which is not global memory,");
  if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0) wrong(fault_kind::misaligned, "to " + describe(place));
  if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0) wrong(fault_kind::misaligned, "from " + describe(source));
  if (bytes % 16 != 0 || bytes == 0) wrong(fault_kind::misaligned, "of " + std::to_string(bytes) + " bytes, no multiple of 16,");
  const copy_barrier& b = used(me, barrier, "a bulk copy", pc);
  settle_fence(me);
  if (!covered_by_fence(me, b.thread, b.clock)) wrong(fault_kind::unfenced_copy, "with no fence_async since the making of " + describe_barrier(place_of(barrier)));
  std::size_t first = 0;
  while (first < bytes && (arena.states[place + first] & pending) == 0) ++first;
  if (first < bytes && !is_copy_barrier(place + first)) wrong(fault_kind::unfinished_copy, "to " + describe(place) + " before the copy that is under way there was waited for");
  note(me, source, bytes, access::copy, pc);
  std::uint64_t with = 0;
  if (first == bytes && check_order(me, place, bytes, access::write, pc))
    if (const std::string before = unfenced_access(me, place, bytes, with); !before.empty()) wrong(fault_kind::unfenced_copy, "to " + describe(place) + " with no fence_async after " + before + ":", with);
  note(me, place, bytes, access::write, pc);
  std::memset(to, 0xff, bytes);
  for (std::size_t i = 0; i < bytes; ++i) arena.states[place + i] |= pending;
  under_way.push_back({place, source, place_of(barrier), newest_write(source, bytes), bytes, me.thread, pc});
}

}  // namespace emulator
