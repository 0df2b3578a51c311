// SPDX-License-Identifier: Apache-2.0
// Blocks one after another; in a block, warps in an order that the seed draws each time, lanes of a warp likewise. A thread runs
// until it has to wait for others. When all wait and none can go on, the report says who waits where.
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <bit>
#include <csignal>
#include <cstring>
#include <mutex>
#include <numeric>

#include "quire/core/number.hpp"
#include "state.hpp"

// Constants to instrumented code (device.hpp): each thread finds its own here whenever it runs.
struct uint3 {
  unsigned x, y, z;
};
__thread uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
namespace {

namespace context = boost::context::detail;

/// Lanes of a warp that wait for the same operation with the same mask.
struct gathering {
  collective operation;
  std::uint32_t mask, arrived;
};
struct warp_state {
  std::uint32_t ready = 0;
  std::array<gathering, warp_lanes> groups{};
  std::uint32_t group_count = 0;
};

struct machine {
  std::array<fiber, most_threads> fibers;
  std::array<warp_state, most_threads / warp_lanes> warps;
  std::byte* stacks = nullptr;
  context::fcontext_t scheduler = nullptr;
  grid_shape shape{};
  std::uint32_t block = 0, ready_warps = 0, last_warp = 0, ended = 0, at_barrier = 0, predicates = 0;
  std::uint32_t spins = 0;  ///< atomics since anything else happened between threads
  reduction barrier = reduction::none;
  bool stopped = false;
  clock_type next_start = 1;
  std::uint64_t random = 1;
  void (*body)(const void*) = nullptr;
  const void* arguments = nullptr;
  std::vector<std::uint32_t> order;
  settings chosen;
} the;
std::mutex one_launch;

std::uint64_t draw() noexcept {  // splitmix64
  std::uint64_t z = the.random += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u, z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void enter(context::transfer_t from) {
  the.scheduler = from.fctx;
  auto& me = *static_cast<fiber*>(from.data);
  the.body(the.arguments);
  me.where = condition::ended;
  current = nullptr;
  context::jump_fcontext(the.scheduler, nullptr);
  __builtin_unreachable();
}

void make_ready(fiber& f) noexcept {
  the.spins = 0;
  f.where = condition::ready;
  the.warps[f.warp].ready |= 1u << f.lane;
  the.ready_warps |= 1u << f.warp;
}

/// Back to the scheduler until somebody makes this thread ready.
void suspend() noexcept {
  ++totals.switches;
  fiber* const seen_as = current;
  the.scheduler = context::jump_fcontext(the.scheduler, nullptr).fctx;
  current = seen_as;
}

void resume(fiber& f) noexcept {
  threadIdx = {f.thread, 0, 0};
  current = &f;
  f.context = context::jump_fcontext(f.context, &f).fctx;
  current = nullptr;
  if (the.stopped || f.where != condition::ended) return;
  ++the.ended, the.spins = 0;
  if (f.copies.empty() && f.groups.empty()) return;
  if (!f.copies.empty())
    record(fault_kind::abandoned_copy, f, f.copies.front().pc, 0, std::to_string(f.copies.size()) + " copies of " + who(f.thread) + " of block " + std::to_string(the.block) +
           " are under way when it ends; the first was asked for at " + at(f.copies.front().pc));
}

/// `0-31, 64` of the threads that `wanted` is true for.
template <class F>
std::string threads_where(F&& wanted, std::uint32_t& count) {
  std::string text;
  count = 0;
  for (std::uint32_t t = 0; t < the.shape.threads; ++t) {
    if (!wanted(the.fibers[t])) continue;
    std::uint32_t last = t;
    while (last + 1 < the.shape.threads && wanted(the.fibers[last + 1])) ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(t) + (last > t ? "-" + std::to_string(last) : "");
    count += last - t + 1;
    t = last;
  }
  return text;
}

/// Nobody can go on: everyone who waits, by what and where.
void report_stall() {
  std::string text;
  std::vector<const fiber*> told;
  const auto alike = [](const fiber& a, const fiber& b) {
    if (a.where != b.where || a.where == condition::ended) return a.where == b.where;
    if (a.where == condition::at_copies) return a.pc == b.pc && a.copies_of == b.copies_of && a.parity == b.parity;
    return a.pc == b.pc && (a.where == condition::at_barrier || (a.operation == b.operation && a.mask == b.mask));
  };
  const fiber* first = nullptr;
  bool at_barrier = false, at_copies = false;
  for (std::uint32_t t = 0; t < the.shape.threads; ++t) {
    const fiber& f = the.fibers[t];
    if (std::any_of(told.begin(), told.end(), [&](const fiber* o) { return alike(*o, f); })) continue;
    told.push_back(&f);
    std::uint32_t count = 0;
    const std::string which = threads_where([&](const fiber& o) { return alike(o, f); }, count);
    text += (text.empty() ? "" : "; ") + std::string(count == 1 ? "thread " : "threads ") + which;
    if (f.where == condition::ended) {
      text += count == 1 ? " has ended" : " have ended";
      continue;
    }
    if (!first) first = &f;
    at_barrier |= f.where == condition::at_barrier;
    if (f.where == condition::at_copies) {
      if (!std::exchange(at_copies, true)) first = &f;
      text += (count == 1 ? " waits (" : " wait (") + at(f.pc) + ") for a phase of parity " + std::to_string(f.parity) + " of " + describe_barrier(f.copies_of);
      continue;
    }
    char mask[16];
    std::snprintf(mask, sizeof mask, "%#x", f.mask);
    text += (count == 1 ? " waits at " : " wait at ") + std::string(f.where == condition::at_barrier ? "__syncthreads" : name(f.operation)) + " (" +
            (f.where == condition::at_barrier ? "" : "lanes " + std::string(mask) + ", ") + at(f.pc) + ")";
  }
  record(at_copies ? fault_kind::hang : at_barrier ? fault_kind::divergent_barrier : fault_kind::divergent, *first, first->pc, 0, "block " + std::to_string(the.block) + ": " + text);
}

void run_block(std::uint32_t block, std::uint32_t serial) {
  ++totals.blocks;
  the.block = block;
  the.last_warp = 31, the.ready_warps = the.ended = the.at_barrier = the.predicates = 0, the.stopped = false;
  const std::uint32_t warps = (the.shape.threads + warp_lanes - 1) / warp_lanes;
  for (std::uint32_t w = 0; w < warps; ++w) the.warps[w].ready = the.warps[w].group_count = 0;
  begin_block_memory(serial, the.next_start, the.shape.shared_bytes);
  begin_block_copies();
  const clock_type start = event::clock(block_floor);
  for (std::uint32_t t = 0; t < the.shape.threads; ++t) {
    fiber& f = the.fibers[t];
    f.thread = t, f.warp = t / warp_lanes, f.lane = t % warp_lanes;
    f.knows = {}, f.at_fence = {}, f.fence_clock = 0, f.seen = nullptr, f.seen_here = nullptr, f.fenced = nullptr, f.async_fence_clock = 0;
    f.knows.all = start;
    set_clock(f, start);
    f.copies.clear(), f.groups.clear();
    f.context = context::make_fcontext(f.stack + stack_bytes, stack_bytes, enter);
    make_ready(f);
  }
  blockIdx = {block, 0, 0};
  const bool ordered = the.chosen.seed == 0;
  while (!the.stopped) {
    // Bulk copies end now and then, and one after another where everybody waits for them.
    if (const std::size_t copies = copies_under_way(); copies != 0 && (the.ready_warps == 0 || (!ordered && draw() % 4 == 0))) {
      finish_copy(ordered ? 0 : draw() % copies);
      continue;
    }
    if (the.ready_warps == 0) break;
    std::uint32_t left = the.ready_warps;
    if (ordered) {
      const std::uint32_t later = left & ~(~0u >> (31 - the.last_warp));
      if (later != 0) left = later;  // round robin, or a warp that waits for another would starve it
    } else {
      for (auto skip = static_cast<std::uint32_t>(draw() % static_cast<unsigned>(std::popcount(left))); skip != 0; --skip) left &= left - 1;
    }
    const auto w = the.last_warp = static_cast<std::uint32_t>(std::countr_zero(left));
    const std::uint32_t lanes = std::exchange(the.warps[w].ready, 0);
    the.ready_warps &= ~(1u << w);
    const std::uint64_t how = ordered ? 1 << 5 : draw();  // an odd step and a start visit all lanes
    const std::uint32_t begin = how & 31, step = static_cast<std::uint32_t>(how >> 5 & 31) | 1;
    for (std::uint32_t i = 0; i < warp_lanes && !the.stopped; ++i) {
      const std::uint32_t lane = (begin + i * step) % warp_lanes;
      if ((lanes >> lane & 1) != 0) resume(the.fibers[w * warp_lanes + lane]);
    }
  }
  if (!the.stopped && the.ended != the.shape.threads) {
    report_stall();
    the.stopped = true;
  }
  if (!the.stopped) report_unawaited_copies();
  for (std::uint32_t t = 0; t < the.shape.threads; ++t) the.next_start = std::max(the.next_start, the.fibers[t].clock + 1);
}

[[noreturn]] void trap_at(const char* why, const void* pc) noexcept {
  fiber& me = *current;
  const unseen nothing;
  record(fault_kind::trap, me, pc, 0, std::string(why) + " by " + who(me.thread) + " of block " + std::to_string(the.block) + " at " + at(pc));
  stop_block();
}

/// Traps and wild accesses end the block, not the program.
void on_signal(int signal, siginfo_t*, void* registers) {
  if (current)
    trap_at(signal == SIGILL ? "a broken precondition (QUIRE_ASSERT) or __builtin_trap" : signal == SIGFPE ? "an integer division by zero" : "an access that no check saw coming, or a stack that is full,",
            reinterpret_cast<const void*>(static_cast<ucontext_t*>(registers)->uc_mcontext.gregs[REG_RIP] + 1));
  std::signal(signal, SIG_DFL);
  raise(signal);
}
struct signal_guard {
  static constexpr int signals[] = {SIGILL, SIGFPE, SIGSEGV};
  struct sigaction before[3];
  stack_t stack_before;
  signal_guard() noexcept {
    static std::byte stack[64 * 1024];  // a thread's stack may be what has run out
    const stack_t ours{stack, 0, sizeof stack};
    sigaltstack(&ours, &stack_before);
    struct sigaction handler {};
    handler.sa_sigaction = on_signal, handler.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    for (int i = 0; i < 3; ++i) sigaction(signals[i], &handler, &before[i]);
  }
  ~signal_guard() {
    for (int i = 0; i < 3; ++i) sigaction(signals[i], &before[i], nullptr);
    sigaltstack(&stack_before, nullptr);
  }
};

float number(collective how, std::uint32_t bits) noexcept {
  return how == collective::mma_bf16 ? std::bit_cast<float>(bits << 16) : quire::f16{static_cast<std::uint16_t>(bits)}.to_float();
}

/// Fragments of PTX's m16n8k16, f32 sums in rising order of k.
void multiply(collective how, fiber* warp) noexcept {
  ++totals.products;
  float a[16][16], b[16][8], c[16][8];
  for (std::uint32_t lane = 0; lane < warp_lanes; ++lane) {
    const std::uint32_t g = lane / 4, t = lane % 4;
    const fiber& f = warp[lane];
    for (std::uint32_t i = 0; i < 4; ++i)
      for (std::uint32_t half = 0; half < 2; ++half) a[g + i % 2 * 8][2 * t + i / 2 * 8 + half] = number(how, f.a[i] >> 16 * half & 0xffff);
    for (std::uint32_t i = 0; i < 2; ++i)
      for (std::uint32_t half = 0; half < 2; ++half) b[2 * t + i * 8 + half][g] = number(how, f.b[i] >> 16 * half & 0xffff);
    for (std::uint32_t i = 0; i < 4; ++i) c[g + i / 2 * 8][2 * t + i % 2] = f.c[i];
  }
  for (std::uint32_t row = 0; row < 16; ++row)
    for (std::uint32_t k = 0; k < 16; ++k)
      for (std::uint32_t column = 0; column < 8; ++column) c[row][column] += a[row][k] * b[k][column];
  for (std::uint32_t lane = 0; lane < warp_lanes; ++lane)
    for (std::uint32_t i = 0; i < 4; ++i) warp[lane].c[i] = c[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
}

void exchange(collective how, fiber* warp, std::uint32_t mask) noexcept {
  std::uint64_t offered[warp_lanes] = {};
  std::uint32_t sum = 0, least = ~0u, most = 0, both = ~0u, either = 0, odd = 0, set = 0;
  for (std::uint32_t l = 0; l < warp_lanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    offered[l] = warp[l].bits;
    const auto v = static_cast<std::uint32_t>(offered[l]);
    sum += v, least = std::min(least, v), most = std::max(most, v), both &= v, either |= v, odd ^= v, set |= (v != 0 ? 1u : 0u) << l;
  }
  for (std::uint32_t l = 0; l < warp_lanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    fiber& f = warp[l];
    const std::uint32_t width = f.width == 0 ? warp_lanes : f.width, base = l / width * width, in = l % width, x = f.argument;
    std::uint32_t from = l;
    switch (how) {
      case collective::shuffle: from = base + x % width; break;
      case collective::shuffle_up: from = in >= x ? l - x : l; break;
      case collective::shuffle_down: from = in + x < width ? l + x : l; break;
      case collective::shuffle_xor: from = (in ^ x) < width ? base + (in ^ x) : l; break;
      case collective::ballot: f.bits = set; continue;
      case collective::any: f.bits = set != 0; continue;
      case collective::all: f.bits = set == mask; continue;
      case collective::match:
        f.bits = 0;
        for (std::uint32_t o = 0; o < warp_lanes; ++o)
          if ((mask >> o & 1) != 0 && offered[o] == offered[l]) f.bits |= 1u << o;
        continue;
      case collective::add: f.bits = sum; continue;
      case collective::least: f.bits = least; continue;
      case collective::most: f.bits = most; continue;
      case collective::both: f.bits = both; continue;
      case collective::either: f.bits = either; continue;
      case collective::odd: f.bits = odd; continue;
      default: continue;
    }
    if ((mask >> from & 1) == 0) {
      record(fault_kind::divergent, f, f.pc, 0, std::string(name(how)) + " of " + who(f.thread) + " of block " + std::to_string(the.block) + " takes from lane " + std::to_string(from) + ", which is not in its mask, at " + at(f.pc));
      from = l;
    }
    f.bits = offered[from];
  }
}

/// Waits until every lane of `mask` is here; the last one does the work for all.
void meet(fiber& me, collective how, std::uint32_t mask, const void* pc) noexcept {
  const unseen nothing;
  me.operation = how, me.mask = mask, me.pc = pc;
  if ((mask >> me.lane & 1) == 0) {
    record(fault_kind::divergent, me, pc, 0, std::string(name(how)) + " by " + who(me.thread) + " of block " + std::to_string(the.block) + " with a mask that lacks its lane at " + at(pc));
    stop_block();
  }
  warp_state& w = the.warps[me.warp];
  std::uint32_t i = 0;
  while (i < w.group_count && (w.groups[i].operation != how || w.groups[i].mask != mask)) ++i;
  if (i == w.group_count) w.groups[w.group_count++] = {how, mask, 0};
  w.groups[i].arrived |= 1u << me.lane;
  if (w.groups[i].arrived != mask) {
    me.where = condition::at_collective;
    suspend();
    return;
  }
  w.groups[i] = w.groups[--w.group_count];
  fiber* warp = &the.fibers[me.warp * warp_lanes];
  if (how == collective::sync) meet_lanes(warp, mask);
  else if (how == collective::mma_bf16 || how == collective::mma_f16) multiply(how, warp);
  else exchange(how, warp, mask);
  for (std::uint32_t l = 0; l < warp_lanes; ++l)
    if ((mask >> l & 1) != 0 && l != me.lane) make_ready(warp[l]);
}

}  // namespace

const char* name(collective c) noexcept {
  constexpr const char* names[] = {"__syncwarp", "__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync", "__ballot_sync", "__any_sync", "__all_sync", "__match_any_sync", "__reduce_add_sync",
                                   "__reduce_min_sync", "__reduce_max_sync", "__reduce_and_sync", "__reduce_or_sync", "__reduce_xor_sync", "mma_bf16", "mma_f16"};
  return names[static_cast<unsigned>(c)];
}

fiber* fiber_of(std::uint32_t thread) noexcept { return &the.fibers[thread]; }
std::uint32_t block_threads() noexcept { return the.shape.threads; }
std::uint32_t block_index() noexcept { return the.block; }
std::uint32_t block_index_of(std::uint32_t serial) noexcept { return the.order[serial]; }
settings& options() noexcept { return the.chosen; }
const counters& counted() noexcept { return totals; }

void stop_block() noexcept {
  the.stopped = true;
  current = nullptr;
  context::jump_fcontext(the.scheduler, nullptr);
  __builtin_unreachable();
}

bool run(grid_shape shape, void (*body)(const void*), const void* arguments, std::size_t argument_bytes, const void*) noexcept {
  const unseen nothing;
  const std::lock_guard alone(one_launch);
  const std::size_t before = recorded();
  ++totals.launches;
  prepare_memory();
  if (!the.stacks) {
    constexpr std::size_t each = stack_bytes + guard_bytes;
    void* p = mmap(nullptr, each * most_threads, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    the.stacks = static_cast<std::byte*>(p);
    for (std::uint32_t t = 0; t < most_threads; ++t) {
      the.fibers[t].stack = the.stacks + t * each + guard_bytes;
      mprotect(the.stacks + t * each, guard_bytes, PROT_NONE);
    }
  }
  the.shape = shape, the.body = body, the.arguments = arguments;
  the.random = the.chosen.seed;
  the.order.resize(shape.blocks);
  std::iota(the.order.begin(), the.order.end(), 0u);
  if (the.chosen.seed != 0)
    for (std::uint32_t i = shape.blocks; i > 1; --i) std::swap(the.order[i - 1], the.order[draw() % i]);
  set_readable(arguments, argument_bytes);
  begin_launch_memory(shape.threads);
  gridDim = {shape.blocks, 1, 1}, blockDim = {shape.threads, 1, 1};

  const signal_guard guard;
  for (std::uint32_t i = 0; i < shape.blocks; ++i) {
    run_block(the.order[i], i);
    if (the.stopped || too_many()) break;
  }
  return recorded() == before;
}

int block_barrier(reduction r, int predicate) noexcept {
  const void* pc = __builtin_return_address(0);
  fiber& me = *current;
  const unseen nothing;
  if (the.at_barrier != 0 && the.barrier != r) {
    record(fault_kind::divergent_barrier, me, pc, 0, who(me.thread) + " of block " + std::to_string(the.block) + " comes to another kind of __syncthreads than others wait at, at " + at(pc));
    stop_block();
  }
  me.pc = pc, me.barrier = r;
  the.barrier = r;
  the.predicates += predicate != 0;
  const auto result = [&](std::uint32_t count) {
    return static_cast<int>(r == reduction::count ? count : r == reduction::any ? count != 0 : count == the.shape.threads);
  };
  if (++the.at_barrier != the.shape.threads) {
    me.where = condition::at_barrier;
    suspend();
    return result(static_cast<std::uint32_t>(me.bits));
  }
  const std::uint32_t count = std::exchange(the.predicates, 0);
  the.at_barrier = 0;
  meet_block(the.fibers.data(), the.shape.threads);
  for (std::uint32_t t = 0; t < the.shape.threads; ++t) {
    the.fibers[t].bits = count;
    if (t != me.thread) make_ready(the.fibers[t]);
  }
  return result(count);
}

void warp_sync(std::uint32_t mask) noexcept { meet(*current, collective::sync, mask, __builtin_return_address(0)); }
std::uint64_t shuffle(collective how, std::uint32_t mask, std::uint64_t bits, std::uint32_t argument, std::uint32_t width) noexcept {
  fiber& me = *current;
  me.bits = bits, me.argument = argument, me.width = width;
  meet(me, how, mask, __builtin_return_address(0));
  return me.bits;
}
std::uint32_t vote(collective how, std::uint32_t mask, std::uint32_t value) noexcept {
  fiber& me = *current;
  me.bits = value;
  meet(me, how, mask, __builtin_return_address(0));
  return static_cast<std::uint32_t>(me.bits);
}
void mma(collective how, float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) noexcept {
  fiber& me = *current;
  me.c = c, me.a = a, me.b = b;
  meet(me, how, ~0u, __builtin_return_address(0));
}
std::uint32_t live_lanes() noexcept {
  std::uint32_t mask = 0;
  const fiber& me = *current;
  for (std::uint32_t l = 0; l < warp_lanes; ++l) {
    const std::uint32_t t = me.warp * warp_lanes + l;
    if (t < the.shape.threads && the.fibers[t].where != condition::ended) mask |= 1u << l;
  }
  return mask;
}

void yield(fiber& me, const void* pc) noexcept {
  constexpr std::uint32_t patience = 1u << 20;
  const std::uint32_t spins = the.spins + 1;
  if (spins > patience) {
    record(fault_kind::divergent, me, pc, 0, "nothing but atomics for " + std::to_string(patience) + " turns, the last by " + who(me.thread) + " of block " + std::to_string(the.block) + " at " + at(pc));
    stop_block();
  }
  make_ready(me);
  the.spins = spins;
  suspend();
}

void wait_for_copies(fiber& me, std::uint64_t place, std::uint32_t parity, const void* pc) noexcept {
  me.copies_of = place, me.parity = parity, me.pc = pc;
  me.where = condition::at_copies;
  suspend();
}
void wake_at_copies(std::uint64_t place) noexcept {
  for (std::uint32_t t = 0; t < the.shape.threads; ++t)
    if (fiber& f = the.fibers[t]; f.where == condition::at_copies && f.copies_of == place) make_ready(f);
}

void trap(const char* why) noexcept { trap_at(why, __builtin_return_address(0)); }

}  // namespace emulator
