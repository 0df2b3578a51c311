// SPDX-License-Identifier: Apache-2.0
// Bounds, initialisation, pending copies and happens-before, byte by byte. After FastTrack (Flanagan and Freund, 2009): the last
// write as one event, reads as one event or, where several threads have read since the last barrier, as a set.
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <unordered_map>

#include "shadow.hpp"

namespace emulator {

constinit __thread fiber* current = nullptr;
arena_map arena;
std::uintptr_t statics_begin = 0, statics_bytes = 0, program_begin = 0;
std::uint64_t launch_floor = 0, block_floor = 0;
counters totals;

namespace {

struct allocation {
  std::string name;
  std::size_t bytes;
};
std::map<std::uint64_t, allocation> allocations;  ///< by place
std::uint64_t next_place = arena_map::global;
constexpr std::uint64_t red_zone = 256;
constexpr std::uint64_t round_trip = std::uint64_t{256} << 20;  ///< places come round again after so many bytes, not at once
std::uintptr_t readable_begin = 0, readable_bytes = 0;
std::size_t shared_in_use = 0;

/// Readers of a byte since the last barrier: lanes of a warp at a clock, or one thread of an earlier block.
struct reader {
  std::uint64_t key;  ///< clock, then the warp (or, with the flag, the thread of another block), then the site
  std::uint32_t lanes;
  constexpr bool foreign() const noexcept { return (key & event::flag) != 0; }
};
struct reader_set {
  std::uint32_t begin, count;
};
std::vector<reader> readers;
std::vector<reader_set> reader_sets;
struct remembered_join {
  std::uint64_t before = 0, me = 0, after = 0;
};
std::vector<remembered_join> joins;

std::vector<std::uint64_t> block_starts;  ///< floor of each block of the launch, rising
std::vector<std::vector<clock_type>*> kept_clocks;
std::vector<foreign_clocks*> kept_foreign;
clock_type next_clock = 1;

/// What atomics at an address have published.
struct published {
  const foreign_clocks* wide = nullptr;
  std::uint32_t block = 0;
  const clocks* local = nullptr;
};
std::unordered_map<const void*, published> publications;

void* reserve(std::size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return p;
}
/// The pages that lie wholly in elements [begin, begin + count) are zeros again and take no memory.
template <class T>
void give_back(T* plane, std::uint64_t begin, std::uint64_t count) {
  constexpr std::uintptr_t page = 4096;
  const std::uintptr_t first = (reinterpret_cast<std::uintptr_t>(plane + begin) + page - 1) / page * page, last = reinterpret_cast<std::uintptr_t>(plane + begin + count) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}
void forget_everything() {
  madvise(arena.writes, arena_map::size * 8, MADV_DONTNEED);
  madvise(arena.reads, arena_map::size * 8, MADV_DONTNEED);
  next_clock = 1;
}
void forget_launch() {
  readers.clear(), reader_sets.clear(), block_starts.clear(), publications.clear();
  joins.assign(4096, {});
  for (auto* p : kept_clocks) delete p;
  for (auto* p : kept_foreign) delete p;
  kept_clocks.clear(), kept_foreign.clear();
}
const clocks* keep(clocks c) {
  kept_clocks.push_back(new clocks(std::move(c)));
  return kept_clocks.back();
}
const foreign_clocks* keep(foreign_clocks f) {
  kept_foreign.push_back(new foreign_clocks(std::move(f)));
  return kept_foreign.back();
}

std::uint32_t serial_of(clock_type c) {
  const auto i = std::upper_bound(block_starts.begin(), block_starts.end(), event::floor(c));
  return static_cast<std::uint32_t>(i - block_starts.begin()) - 1;
}

// What a thread knows.
clock_type known_of(const fiber& me, const knowledge& k, std::uint32_t thread) noexcept {
  clock_type c = k.all;
  if (thread / warp_lanes == me.warp) c = std::max(c, k.lanes[thread % warp_lanes]);
  if (k.extra) c = std::max(c, (*k.extra)[thread]);
  return c;
}
bool knows_foreign(const fiber& me, clock_type c, std::uint32_t thread) {
  if (!me.knows.foreign) return false;
  const std::uint32_t block = serial_of(c);
  for (const block_clocks& b : *me.knows.foreign)
    if (b.block == block) return c < (*b.of)[thread];
  return false;
}
bool knows(const fiber& me, std::uint64_t e) {
  const clock_type c = event::clock(e);
  const std::uint32_t thread = event::thread(e);
  if (e < launch_floor) return true;
  if (e < block_floor) return knows_foreign(me, c, thread);
  return thread == me.thread || c < known_of(me, me.knows, thread);
}
/// Readers of an earlier block of the launch count as one thread: the first.
reader seen_from_here(reader r) {
  if (r.foreign() || r.key >= block_floor || r.lanes == 0) return r;
  const std::uint32_t thread = event::thread(r.key) * warp_lanes + static_cast<std::uint32_t>(__builtin_ctz(r.lanes));
  return {event::of(event::clock(r.key), thread) | event::flag | event::site(r.key), 1};
}
/// Of `r`, the lanes that are not known to be before.
std::uint32_t unknown_lanes(const fiber& me, const reader& r) {
  const clock_type c = event::clock(r.key);
  if (r.key < launch_floor) return 0;
  if (r.foreign()) return knows_foreign(me, c, event::thread(r.key)) ? 0 : 1;
  if (c < me.knows.all) return 0;
  const std::uint32_t warp = event::thread(r.key);
  if (!me.knows.extra) {
    if (warp != me.warp) return r.lanes;
    std::uint32_t behind = 0;
    for (std::uint32_t l = 0; l < warp_lanes; ++l) behind |= (c >= me.knows.lanes[l] ? 1u : 0u) << l;
    return r.lanes & behind & ~(1u << me.lane);
  }
  std::uint32_t left = 0;
  for (std::uint32_t lanes = r.lanes; lanes != 0; lanes &= lanes - 1) {
    const auto lane = static_cast<std::uint32_t>(__builtin_ctz(lanes)), thread = warp * warp_lanes + lane;
    if (thread != me.thread && c >= known_of(me, me.knows, thread)) left |= 1u << lane;
  }
  return left;
}

struct conflict {
  std::uint64_t with;  ///< an event
  bool write, set;
  std::uint64_t place;
};

std::string memory_of(std::uint64_t place, std::size_t bytes) { return std::to_string(bytes) + (bytes == 1 ? " byte of " : " bytes of ") + describe(place); }

void report_race(fiber& me, bool writes, bool atomic, std::size_t bytes, const conflict& c, const void* pc) {
  const unseen nothing;
  const bool between = c.with < block_floor;
  const std::uint32_t thread = event::thread(c.with);
  std::string other = c.write ? (c.with & event::flag ? "an atomic by " : "a write by ") : "a read by ";
  other += who(thread);
  if (between) other += " of block " + std::to_string(block_index_of(serial_of(event::clock(c.with))));
  record(between ? fault_kind::race_between_blocks : fault_kind::race, me, pc, event::site(c.with) + (c.write ? std::uint64_t{1} << 40 : 0),
         (atomic ? std::string("an atomic on ") : writes ? "a write of " : "a read of ") + memory_of(c.place, bytes) + " by " + who(me.thread) + " of block " +
             std::to_string(block_index()) + " at " + at(pc) + ", and " + other + " at " + at_site(event::site(c.with)) +
             (between ? ", with no fence and atomic between them" : ", with no barrier between them"));
}

/// The first write in the stretch that the thread does not know of.
bool unknown_write(fiber& me, std::uint64_t place, std::size_t bytes, bool atomic, conflict& out) {
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    const std::uint64_t w = arena.writes[place + i];
    if (w == last) continue;
    last = w;
    if ((is_shared(place) && w < block_floor) || (atomic && (w & event::flag) != 0) || knows(me, w)) continue;
    out = {w, true, false, place + i};
    return true;
  }
  return false;
}
bool unknown_read(fiber& me, std::uint64_t place, std::size_t bytes, conflict& out) {
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    const std::uint64_t r = arena.reads[place + i];
    if (r == last) continue;
    last = r;
    if (r < launch_floor || (is_shared(place) && r < block_floor)) continue;
    if ((r & event::flag) == 0) {
      if (knows(me, r)) continue;
      out = {r, false, false, place + i};
      return true;
    }
    const reader_set s = reader_sets[event::site(r)];
    for (std::uint32_t j = 0; j < s.count; ++j) {
      const reader one = seen_from_here(readers[s.begin + j]);
      const std::uint32_t lanes = unknown_lanes(me, one);
      if (lanes == 0) continue;
      const std::uint32_t thread = one.foreign() ? event::thread(one.key) : event::thread(one.key) * warp_lanes + static_cast<std::uint32_t>(__builtin_ctz(lanes));
      out = {event::of(event::clock(one.key), thread) | event::site(one.key), false, false, place + i};
      return true;
    }
  }
  return false;
}

/// The readers of a byte once `me` has read it too.
std::uint64_t with_reader(fiber& me, std::uint64_t r, std::uint64_t mine) {
  constexpr std::uint64_t key_mask = ~((std::uint64_t{1} << event::site_bits) - 1);
  const bool set = (r & event::flag) != 0;
  if (!set && knows(me, r)) return mine;
  remembered_join& memo = joins[(r * 0x9e3779b97f4a7c15u ^ (mine >> event::thread_at) * 0xbf58476d1ce4e5b9u) >> 52];
  if (memo.before == r && memo.me == (mine & key_mask)) return memo.after;
  reader next[2 * warp_lanes];
  std::uint32_t count = 0;
  const reader myself{event::of(event::clock(mine), me.warp) | event::site(mine), 1u << me.lane};
  bool there = false;
  const auto take = [&](reader one) {
    one = seen_from_here(one);
    if (one.foreign()) {
      if (unknown_lanes(me, one) == 0) return;
      for (std::uint32_t i = 0; i < count; ++i)
        if (next[i].foreign()) {  // of other blocks' readers the last one stands for all
          next[i] = one;
          return;
        }
      next[count++] = one;
      return;
    }
    one.lanes = unknown_lanes(me, one);
    if (event::thread(one.key) == me.warp) {
      one.lanes |= myself.lanes;
      one.key = std::max(one.key & key_mask, myself.key & key_mask) | event::site(mine);
      there = true;
    }
    if (one.lanes != 0) next[count++] = one;
  };
  if (set) {
    const reader_set s = reader_sets[event::site(r)];
    for (std::uint32_t j = 0; j < s.count; ++j) take(readers[s.begin + j]);
  } else if (r < block_floor) {
    take({r | event::flag, 1});
  } else {
    take({event::of(event::clock(r), event::thread(r) / warp_lanes) | event::site(r), 1u << event::thread(r) % warp_lanes});
  }
  if (!there) next[count++] = myself;
  std::uint64_t result = mine;
  if (count != 1 || next[0].lanes != myself.lanes || next[0].foreign()) {
    reader_sets.push_back({static_cast<std::uint32_t>(readers.size()), count});
    readers.insert(readers.end(), next, next + count);
    result = event::floor(event::clock(mine)) | event::flag | (reader_sets.size() - 1);
  }
  memo = {r, mine & key_mask, result};
  return result;
}

/// What is wrong with the states of a stretch.
void bad_states(fiber& me, std::uint64_t place, std::size_t bytes, access kind, const void* pc) {
  const unseen nothing;
  const bool writes = kind == access::write;
  const std::string access = (writes ? "a write of " : "a read of ");
  const std::string by = " by " + who(me.thread) + " of block " + std::to_string(block_index()) + " at " + at(pc);
  for (std::size_t i = 0; i < bytes; ++i)
    if ((arena.states[place + i] & valid) == 0) {
      record(fault_kind::out_of_bounds, me, pc, 0, access + std::to_string(bytes) + " bytes at " + describe(place) + by);
      stop_block();
    }
  for (std::size_t i = 0; i < bytes; ++i)
    if ((arena.states[place + i] & pending) != 0) {
      if (is_copy_barrier(place + i)) {
        record(fault_kind::bad_barrier, me, pc, 0, access + memory_of(place, bytes) + by + ", where there is " + describe_barrier(place + i));
        stop_block();
      }
      record(fault_kind::unfinished_copy, me, pc, 0, access + memory_of(place, bytes) + by + ", which a copy has yet to write");
      stop_block();
    }
  if (options().uninitialised && (kind == access::read || kind == access::atomic)) {
    record(fault_kind::uninitialised, me, pc, 0, access + memory_of(place, bytes) + by + ", which nobody wrote");  }
}

}  // namespace

std::string describe(std::uint64_t place) {
  if (place < arena_map::statics) return "dynamic shared memory + " + std::to_string(place) + " (" + std::to_string(shared_in_use) + " bytes)";
  if (place < arena_map::global) {
    const std::uint64_t v = place - arena_map::statics;
    const symbol* before = nullptr;
    for (const symbol& s : shared_variables())
      if (s.value <= v) before = &s;
    if (!before) return "thread-local memory that is no kernel's";
    return "shared variable " + before->name + " + " + std::to_string(v - before->value) + " (" + std::to_string(before->bytes) + " bytes)";
  }
  auto i = allocations.upper_bound(place);
  const bool after = i != allocations.begin();
  if (after) --i;
  const auto text = [&](const auto& a) {
    const auto distance = static_cast<std::int64_t>(place - a.first);
    return "'" + a.second.name + "' " + (distance < 0 ? "- " : "+ ") + std::to_string(std::abs(distance)) + " (" + std::to_string(a.second.bytes) + " bytes)";
  };
  if (i == allocations.end()) return "global memory where nothing is allocated";
  if (after && place - i->first >= i->second.bytes)
    if (const auto next = std::next(i); next != allocations.end() && next->first - place < place - (i->first + i->second.bytes)) i = next;
  return "global memory " + text(*i);
}

void prepare_memory() {
  if (!arena.base) {
    arena.base = static_cast<std::byte*>(reserve(arena_map::size));
    arena.states = static_cast<std::uint8_t*>(reserve(arena_map::size));
    arena.writes = static_cast<std::uint64_t*>(reserve(arena_map::size * 8));
    arena.reads = static_cast<std::uint64_t*>(reserve(arena_map::size * 8));
    program_begin = UINTPTR_MAX;
    for (const segment& s : program_segments()) program_begin = std::min(program_begin, s.begin);
  }
  std::size_t bytes = 0;
  statics_begin = reinterpret_cast<std::uintptr_t>(local_segment(bytes)), statics_bytes = std::min<std::size_t>(bytes, arena_map::global - arena_map::statics);
}

void* allocate(std::size_t bytes, const char* name) {
  const unseen nothing;
  prepare_memory();
  const std::uint64_t room = (bytes + red_zone - 1) / red_zone * red_zone + red_zone;
  if (next_place + room > arena_map::global + round_trip) next_place = arena_map::global;
  std::uint64_t place = next_place + red_zone;
  for (auto i = allocations.begin(); i != allocations.end(); ++i)  // round again: the first gap that holds it
    if (i->first < place + room && place < i->first + i->second.bytes + red_zone) place = (i->first + i->second.bytes + 2 * red_zone - 1) / red_zone * red_zone;
  if (place + room > arena_map::size) throw std::bad_alloc();
  next_place = place + room - red_zone;
  allocations[place] = {name, bytes};
  std::memset(arena.base + place, 0xff, bytes);
  std::memset(arena.states + place, valid, bytes);
  return arena.base + place;
}

void release(void* memory) noexcept {
  const unseen nothing;
  if (!memory) return;
  const std::uint64_t place = place_of(memory);
  const auto i = allocations.find(place);
  if (i == allocations.end()) return;
  std::memset(arena.states + place, 0, i->second.bytes);
  give_back(arena.base, place, i->second.bytes), give_back(arena.states, place, i->second.bytes);
  give_back(arena.writes, place, i->second.bytes), give_back(arena.reads, place, i->second.bytes);
  allocations.erase(i);
}

void written(void* memory, std::size_t bytes) noexcept {
  const std::uint64_t place = place_of(memory);
  for (std::size_t i = 0; i < bytes; ++i) arena.states[place + i] |= initialised;
}

namespace {
/// Whether a stretch is the host's, or lies in one allocation.
bool whole(std::uint64_t place, std::size_t bytes) {
  if (place == arena_map::none) return true;
  auto i = allocations.upper_bound(place);
  return i != allocations.begin() && place + bytes <= (--i)->first + i->second.bytes;
}
}  // namespace

bool copy(void* to, const void* from, std::size_t bytes) noexcept {
  const unseen nothing;
  const std::uint64_t there = place_of(to), here = place_of(from);
  if (!whole(there, bytes) || !whole(here, bytes)) return false;
  std::memcpy(to, from, bytes);
  if (there == arena_map::none) return true;
  if (here == arena_map::none) written(to, bytes);
  else std::memcpy(arena.states + there, arena.states + here, bytes);
  return true;
}

bool clear(void* to, std::size_t bytes) noexcept {
  const unseen nothing;
  if (!whole(place_of(to), bytes)) return false;
  std::memset(to, 0, bytes);
  if (place_of(to) != arena_map::none) written(to, bytes);
  return true;
}

void set_readable(const void* p, std::size_t bytes) noexcept { readable_begin = reinterpret_cast<std::uintptr_t>(p), readable_bytes = bytes; }

void begin_launch_memory(std::uint32_t) {
  forget_launch();
  if (next_clock > (1u << (event::clock_bits - 2))) forget_everything();
  launch_floor = event::floor(next_clock);
  for (const symbol& s : shared_variables())
    if (s.value + s.bytes <= statics_bytes) std::memset(arena.states + arena_map::statics + s.value, valid, s.bytes);
}

void begin_block_memory(std::uint32_t, clock_type start, std::size_t shared_bytes) {
  if (start > (1u << event::clock_bits) - (1u << 20)) {  // a very long launch: earlier blocks are taken to be before
    forget_launch(), forget_everything();
    launch_floor = event::floor(next_clock);
  } else {
    next_clock = std::max(next_clock, start);
  }
  block_floor = event::floor(next_clock);
  block_starts.push_back(block_floor);
  if (shared_in_use > shared_bytes) std::memset(arena.states + shared_bytes, 0, shared_in_use - shared_bytes);
  shared_in_use = shared_bytes;
  std::memset(arena.base, 0xff, shared_bytes);
  std::memset(arena.states, valid, shared_bytes);
  for (const symbol& s : shared_variables())
    if (s.value + s.bytes <= statics_bytes) {
      std::memset(reinterpret_cast<void*>(statics_begin + s.value), 0xff, s.bytes);
      std::memset(arena.states + arena_map::statics + s.value, valid, s.bytes);
    }
}

void unfit(fiber& me, std::uint64_t place, std::size_t bytes, access kind, const void* pc) noexcept { bad_states(me, place, bytes, kind, pc); }

bool check_order(fiber& me, std::uint64_t place, std::size_t bytes, access kind, const void* pc) noexcept {
  const unseen nothing;
  const bool writes = kind == access::write || kind == access::atomic;
  conflict c;
  if (unknown_write(me, place, bytes, kind == access::atomic, c) || (writes && unknown_read(me, place, bytes, c))) {
    report_race(me, writes, kind == access::atomic, bytes, c, pc);
    return false;
  }
  return true;
}

void join_readers(fiber& me, std::uint64_t place, std::size_t bytes, std::uint64_t mine) noexcept {
  const unseen nothing;
  const std::uint64_t floor = floor_of(me, place);
  std::uint64_t last = 0, result = mine;
  for (std::size_t i = 0; i < bytes; ++i) {
    std::uint64_t& r = arena.reads[place + i];
    if (r != last) last = r, result = r < floor ? mine : with_reader(me, r, mine);
    r = result;
  }
}

void elsewhere(fiber& me, const void* p, std::size_t bytes, bool writes, const void* pc) noexcept {
  const unseen nothing;
  const auto a = reinterpret_cast<std::uintptr_t>(p);
  if (!writes) {
    if (a - readable_begin < readable_bytes && a + bytes <= readable_begin + readable_bytes) return;
    for (const segment& s : program_segments())
      if (a >= s.begin && a + bytes <= s.end) {
        if (!s.writable) return;
        break;
      }
  }
  char text[32];
  std::snprintf(text, sizeof text, "%p", p);
  std::string where = std::string("address ") + text + ", which is no device memory";
  if (a - readable_begin < readable_bytes) where = "the launch's arguments + " + std::to_string(a - readable_begin);
  for (std::uint32_t t = 0; t < block_threads(); ++t)
    if (const auto low = reinterpret_cast<std::uintptr_t>(fiber_of(t)->stack); a - low < stack_bytes) where = "a local variable of " + who(t);
  for (const segment& s : program_segments())
    if (a >= s.begin && a < s.end) where = std::string("a variable of the host program") + (s.writable ? "" : " that is constant");
  if (a < 4096) where = "address " + std::to_string(a) + " (null)";
  record(fault_kind::out_of_bounds, me, pc, 0,
         (writes ? "a write of " : "a read of ") + std::to_string(bytes) + " bytes at " + where + " by " + who(me.thread) + " of block " + std::to_string(block_index()) + " at " + at(pc));
  stop_block();
}

// Happens-before.
void set_clock(fiber& f, clock_type c) noexcept {
  f.clock = c, f.now = event::of(c, f.thread);
  next_clock = std::max(next_clock, c + 1);
}
void tick(fiber& f) noexcept { set_clock(f, f.clock + 1); }

const foreign_clocks* joined(const foreign_clocks* a, const foreign_clocks* b) {
  if (!a || a == b) return b ? b : a;
  if (!b) return a;
  foreign_clocks r;
  auto i = a->begin(), j = b->begin();
  while (i != a->end() || j != b->end()) {
    if (j == b->end() || (i != a->end() && i->block < j->block)) {
      r.push_back(*i++);
    } else if (i == a->end() || j->block < i->block) {
      r.push_back(*j++);
    } else {
      if (i->of == j->of) {
        r.push_back(*i);
      } else {
        clocks c = *i->of;
        for (std::size_t t = 0; t < c.size(); ++t) c[t] = std::max(c[t], (*j->of)[t]);
        r.push_back({i->block, keep(std::move(c))});
      }
      ++i, ++j;
    }
  }
  return keep(std::move(r));
}
const clocks* joined(const clocks* a, const clocks* b) {
  if (!a || a == b) return b ? b : a;
  if (!b) return a;
  bool left = true, right = true;  // one of them has it all
  for (std::size_t t = 0; t < a->size(); ++t) left &= (*a)[t] >= (*b)[t], right &= (*b)[t] >= (*a)[t];
  if (left || right) return left ? a : b;
  clocks c = *a;
  for (std::size_t t = 0; t < c.size(); ++t) c[t] = std::max(c[t], (*b)[t]);
  return keep(std::move(c));
}
namespace {
std::uint32_t this_serial() noexcept { return static_cast<std::uint32_t>(block_starts.size()) - 1; }
}  // namespace

namespace {
/// Each fence covers what its thread knew, and a barrier brings them together.
void cover(clocks& c, const fiber& f) {
  if (f.fenced)
    for (std::size_t t = 0; t < c.size(); ++t) c[t] = std::max(c[t], (*f.fenced)[t]);
  if (f.async_fence_clock == 0) return;
  const knowledge& k = f.at_async_fence;
  for (std::size_t l = 0; l < warp_lanes; ++l)
    if (const std::size_t t = f.warp * warp_lanes + l; t < c.size()) c[t] = std::max(c[t], k.lanes[l]);
  if (k.extra)
    for (std::size_t t = 0; t < c.size(); ++t) c[t] = std::max(c[t], (*k.extra)[t]);
  c[f.thread] = std::max(c[f.thread], f.async_fence_clock);
}
void meet_fences(fiber* fibers, std::uint32_t threads) {
  bool alike = true;
  clock_type all = 0;
  for (std::uint32_t t = 0; t < threads; ++t) {
    alike &= fibers[t].fenced == fibers[0].fenced && fibers[t].async_fence_clock == 0;
    if (fibers[t].async_fence_clock != 0) all = std::max(all, fibers[t].at_async_fence.all);
  }
  if (alike) return;
  clocks c(threads, all);
  const clocks* before = nullptr;
  for (std::uint32_t t = 0; t < threads; ++t) {
    fiber& f = fibers[t];
    if (f.fenced == before) f.fenced = nullptr;  // taken already
    else before = f.fenced;
    cover(c, f);
  }
  const clocks* met = keep(std::move(c));
  for (std::uint32_t t = 0; t < threads; ++t) fibers[t].fenced = met, fibers[t].async_fence_clock = 0;
}
}  // namespace

void settle_fence(fiber& me) {
  if (me.async_fence_clock == 0) return;
  clocks c(block_threads(), me.at_async_fence.all);
  cover(c, me);
  me.fenced = keep(std::move(c)), me.async_fence_clock = 0;
}
void fence_async() noexcept {
  fiber& me = *current;
  const unseen nothing;
  settle_fence(me);
  tick(me);
  me.at_async_fence = me.knows, me.async_fence_clock = me.clock;
}
const clocks* known_by(fiber& me) {
  tick(me);
  clocks c(block_threads());
  for (std::uint32_t t = 0; t < c.size(); ++t) c[t] = t == me.thread ? me.clock : known_of(me, me.knows, t);
  return keep(std::move(c));
}
bool covered_by_fence(const fiber& me, std::uint32_t thread, clock_type c) noexcept { return me.fenced && c < (*me.fenced)[thread]; }

std::string unfenced_access(const fiber& me, std::uint64_t place, std::size_t bytes, std::uint64_t& with) {
  static const clocks none(most_threads);
  fiber seen;  // somebody else, who knows what fences cover
  seen.thread = seen.warp = ~0u;
  seen.knows.extra = me.fenced ? me.fenced : &none;
  conflict c;
  for (std::size_t i = 0; i < bytes; ++i)
    if ((arena.states[place + i] & by_engine) == 0 && unknown_write(seen, place + i, 1, false, c)) {
      with = event::site(c.with);
      return "a write of " + memory_of(place + i, 1) + " by " + who(event::thread(c.with)) + " at " + at_site(event::site(c.with));
    }
  if (!unknown_read(seen, place, bytes, c)) return {};
  with = event::site(c.with);
  return "a read of " + memory_of(c.place, 1) + " by " + who(event::thread(c.with)) + " at " + at_site(event::site(c.with));
}

void meet_block(fiber* fibers, std::uint32_t threads) {
  clock_type c = 0;
  const foreign_clocks* foreign = nullptr;
  for (std::uint32_t t = 0; t < threads; ++t) {
    c = std::max(c, fibers[t].clock);
    if (fibers[t].knows.foreign != foreign) foreign = joined(foreign, fibers[t].knows.foreign);
  }
  ++c;
  meet_fences(fibers, threads);
  for (std::uint32_t t = 0; t < threads; ++t) {
    fiber& f = fibers[t];
    f.knows.all = c, f.knows.extra = nullptr, f.knows.foreign = foreign;
    set_clock(f, c);
  }
}

void meet_lanes(fiber* warp, std::uint32_t mask) {
  knowledge k;
  clock_type c = 0;
  const clocks* fenced = nullptr;
  for (std::uint32_t l = 0; l < warp_lanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    const knowledge& other = warp[l].knows;
    c = std::max(c, warp[l].clock);
    k.all = std::max(k.all, other.all);
    for (std::uint32_t i = 0; i < warp_lanes; ++i) k.lanes[i] = std::max(k.lanes[i], other.lanes[i]);
    k.extra = joined(k.extra, other.extra), k.foreign = joined(k.foreign, other.foreign);
    settle_fence(warp[l]);
    fenced = joined(fenced, warp[l].fenced);
  }
  ++c;
  for (std::uint32_t l = 0; l < warp_lanes; ++l)
    if ((mask >> l & 1) != 0) k.lanes[l] = c;
  for (std::uint32_t l = 0; l < warp_lanes; ++l)
    if ((mask >> l & 1) != 0) {
      warp[l].knows = k, warp[l].fenced = fenced;
      set_clock(warp[l], c);
    }
}

void fence(bool device_wide) noexcept {
  fiber& me = *current;
  const unseen nothing;
  if (me.seen) {
    const clocks* own = nullptr;
    for (const block_clocks& b : *me.seen)
      if (b.block == this_serial()) own = b.of;
    me.knows.foreign = joined(me.knows.foreign, me.seen), me.knows.extra = joined(me.knows.extra, own);
    me.seen = nullptr;
  }
  if (me.seen_here) me.knows.extra = joined(me.knows.extra, me.seen_here), me.seen_here = nullptr;
  tick(me);
  me.at_fence = me.knows, me.fence_clock = me.clock, me.fence_wide = device_wide;
}

namespace {
/// What the fence of `me` put before the atomic that follows: all it knew then, and what others had fenced themselves.
const clocks* released(const fiber& me) {
  clocks c(block_threads());
  for (std::uint32_t t = 0; t < c.size(); ++t)
    c[t] = t == me.thread ? me.fence_clock : std::max(known_of(me, me.at_fence, t), std::min(known_of(me, me.knows, t), fiber_of(t)->fence_clock));
  return keep(std::move(c));
}
template <class T>
std::uint64_t updated(atomic how, void* at, std::uint64_t operand, std::uint64_t expected) noexcept {
  T& x = *static_cast<T*>(at);
  const T before = x, v = static_cast<T>(operand);
  using S = std::make_signed_t<T>;
  using F = std::conditional_t<sizeof(T) == 4, float, double>;
  switch (how) {
    case atomic::add: x = before + v; break;
    case atomic::exchange: x = v; break;
    case atomic::least: x = std::min(before, v); break;
    case atomic::most: x = std::max(before, v); break;
    case atomic::least_signed: x = static_cast<T>(std::min(static_cast<S>(before), static_cast<S>(v))); break;
    case atomic::most_signed: x = static_cast<T>(std::max(static_cast<S>(before), static_cast<S>(v))); break;
    case atomic::increment: x = before >= v ? 0 : before + 1; break;
    case atomic::decrement: x = before == 0 || before > v ? v : before - 1; break;
    case atomic::compare: x = before == static_cast<T>(expected) ? v : before; break;
    case atomic::both: x = before & v; break;
    case atomic::either: x = before | v; break;
    case atomic::odd: x = before ^ v; break;
    case atomic::add_f32:
    case atomic::add_f64: x = std::bit_cast<T>(std::bit_cast<F>(before) + std::bit_cast<F>(v)); break;
  }
  return before;
}
}  // namespace

std::uint64_t atomic_update(atomic how, void* at, std::uint64_t operand, std::uint64_t expected, std::uint32_t bytes) noexcept {
  const void* pc = __builtin_return_address(0);
  fiber& me = *current;
  const unseen nothing;
  yield(me, pc);
  const std::uint64_t place = place_of(at);
  if (place == arena_map::none) {
    elsewhere(me, at, bytes, true, pc);
  } else {
    if (reinterpret_cast<std::uintptr_t>(at) % bytes != 0) {
      record(fault_kind::misaligned, me, pc, 0, "an atomic on " + memory_of(place, bytes) + " by " + who(me.thread) + " of block " + std::to_string(block_index()) + " at " + emulator::at(pc));
      stop_block();
    }
    note(me, place, bytes, access::atomic, pc);
  }
  published& p = publications[at];
  me.seen = joined(me.seen, p.wide);
  if (p.local && p.block == this_serial()) me.seen_here = joined(me.seen_here, p.local);
  if (me.fence_clock != 0) {
    const clocks* c = released(me);
    if (p.block != this_serial()) p.block = this_serial(), p.local = nullptr;
    p.local = joined(p.local, c);
    if (me.fence_wide) {
      const foreign_clocks own{{this_serial(), c}};
      p.wide = joined(joined(p.wide, me.at_fence.foreign), keep(own));
    }
    tick(me);
  }
  return bytes == 4 ? updated<std::uint32_t>(how, at, operand, expected) : updated<std::uint64_t>(how, at, operand, expected);
}

// Copies. They are done as late as they may be: until then nobody may look at, or write, where they go.
void copy_async(void* to, const void* from) noexcept {
  const void* pc = __builtin_return_address(0);
  fiber& me = *current;
  const std::uint64_t place = place_of(to), source = place_of(from);
  const unseen nothing;
  const auto wrong = [&](fault_kind kind, const std::string& what) {
    record(kind, me, pc, 0, "copy_async " + what + " by " + who(me.thread) + " of block " + std::to_string(block_index()) + " at " + at(pc));
    stop_block();
  };
  if (place == arena_map::none) elsewhere(me, to, 16, true, pc);
  if (source == arena_map::none) elsewhere(me, from, 16, false, pc);
  if (!is_shared(place)) wrong(fault_kind::out_of_bounds, "to " + describe(place) + ", which is not shared memory");
  if (is_shared(source)) wrong(fault_kind::out_of_bounds, "from " + describe(source) + ", which is not global memory");
  if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0) wrong(fault_kind::misaligned, "to " + describe(place));
  if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0) wrong(fault_kind::misaligned, "from " + describe(source));
  std::uint8_t* const states = arena.states + place;
  std::uint8_t either = 0;
  for (std::size_t i = 0; i < 16; ++i) either |= states[i];
  if ((either & pending) != 0) wrong(fault_kind::unfinished_copy, "to " + describe(place) + " before the copy that is under way there has ended");
  note(me, source, 16, access::copy, pc);
  note(me, place, 16, access::write, pc);
  std::memset(to, 0xff, 16);
  for (std::size_t i = 0; i < 16; ++i) states[i] |= pending;
  me.copies.push_back({place, static_cast<const std::byte*>(from), pc});
}

void copy_commit() noexcept {
  fiber& me = *current;
  const unseen nothing;
  me.groups.push_back(static_cast<std::uint32_t>(me.copies.size()));
}

void finish_copies(fiber& me, std::uint32_t groups_left) {
  if (me.groups.size() <= groups_left) return;
  const std::size_t done = me.groups.size() - groups_left;
  const std::uint32_t count = me.groups[done - 1];
  for (std::uint32_t i = 0; i < count; ++i) {
    const async_copy& c = me.copies[i];
    const std::uint64_t from = place_of(c.from);
    std::uint8_t *const states = arena.states + c.to, *const source = arena.states + from;
    for (std::size_t b = 0; b < 16; ++b) states[b] &= static_cast<std::uint8_t>(~pending);
    note(me, from, 16, access::copy, c.pc);
    note(me, c.to, 16, access::write, c.pc);
    for (std::size_t b = 0; b < 16; ++b) states[b] = static_cast<std::uint8_t>(valid | (source[b] & initialised));
    std::memcpy(byte_at(c.to), c.from, 16);
  }
  me.copies.erase(me.copies.begin(), me.copies.begin() + count);
  me.groups.erase(me.groups.begin(), me.groups.begin() + static_cast<std::ptrdiff_t>(done));
  for (std::uint32_t& g : me.groups) g -= count;
}

void copy_wait(std::uint32_t pending_groups) noexcept {
  fiber& me = *current;
  const unseen nothing;
  finish_copies(me, pending_groups);
}

std::byte* dynamic_shared() noexcept { return arena.base; }
std::byte* byte_at(std::uint64_t place) noexcept {
  return place < arena_map::statics || !is_shared(place) ? arena.base + place : reinterpret_cast<std::byte*>(statics_begin + (place - arena_map::statics));
}

}  // namespace emulator
