// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "../../core/status.hpp"
#include "../../kv/free_runs.hpp"
#include "../../schedule/memory.hpp"
#include "copy_engine.hpp"
#include "simulated_memory.hpp"
#include "workload.hpp"

namespace quire::inline v0::serve::simulate {

/// How `swapped_memory` moves rows. Unit: rows, unless said.
struct swapped_memory_options {
  std::uint32_t rows = 1u << 16;       ///< of the device, rounded down to blocks
  std::uint32_t host_rows = 1u << 19;  ///< of the host
  std::uint32_t block = 16;
  std::uint64_t row_bytes = 131072;
  std::uint32_t pieces =
      64;  ///< copies of one run of blocks: layers × 2 where each layer has its own pool, 1 where a block holds all
  bool groups = false;              ///< blocks of a sequence side by side, adjacent ones copied at once
  std::uint32_t group_blocks = 64;  ///< of a new group, if the pool has them
  bool overlap = false;             ///< steps run on while rows move; without it each step waits for all copies
  bool reuse = false;               ///< the host copy outlives the way back: only rows it lacks are copied out again
  copy_engine::options link{};
};

struct swapped_memory_counters {
  std::uint64_t bytes_out = 0, bytes_in = 0;
  std::uint64_t copies_out = 0, copies_in = 0;
  std::uint64_t blocks_out = 0, blocks_in = 0;
  std::uint64_t spared = 0;    ///< blocks that were on the host already
  std::uint64_t degraded = 0;  ///< swaps that became recomputations because the host was full
  std::uint64_t evicted = 0;   ///< host blocks taken from others
};

/// A device pool and a host pool of a simulated machine with a link in each direction. A preempted request's rows go to
/// the host and come back; so do the rows of a conversation between its turns. Counts blocks and copies, holds no
/// bytes. Without `overlap` a step waits for every copy; with it blocks that leave are free only when their copy has
/// ended, and a sequence whose rows are on their way is not ready. cost: O(blocks moved) a swap, O(transfers under way)
/// a step. from: vLLM's swap mode (arXiv:2309.06180), FastSwitch (arXiv:2411.18424); test:
/// tests/serve/simulate/swapped_memory.cpp
class swapped_memory {
 public:
  swapped_memory(const workload& w, swapped_memory_options o)
      : workload_(&w),
        o_(o),
        device_(o.rows / o.block, static_cast<std::uint32_t>(w.jobs.size())),
        host_(o.host_rows / o.block, texts(w)),
        link_(o.link),
        sequences_(w.jobs.size()),
        mirrors_(texts(w)) {}
  swapped_memory(const swapped_memory&) = delete;
  swapped_memory& operator=(const swapped_memory&) = delete;

  status fits(std::uint32_t rows) const noexcept {
    if (blocks_of(rows) <= device_.slots()) return {};
    return {errc::out_of_pages, "rows of one sequence", rows, 1, std::int64_t{device_.slots()} * o_.block};
  }
  /// Rows of the text that lie on the host get blocks and start their way back once the step is settled.
  /// fails: not_ready when blocks that are leaving will do, so that nobody else loses any for it.
  status admit(schedule::request_id id) {
    sequence& s = sequences_[id];
    mirror& m = mirror_of(id);
    s = {};
    const std::uint32_t need = blocks_of(std::max(m.rows + 1, workload_->jobs[id].request.prompt_tokens));
    if (need + promised_ > device_.free() + leaving_blocks_)
      return {errc::out_of_pages, "blocks", need, 0, device_.free()};
    if (need > device_.free()) {
      promised_ += need;  // whoever comes later in this step may not count on the same blocks
      return {errc::not_ready, "blocks that are leaving", need, 0, device_.free()};
    }
    if (const status r = take(id, blocks_of(m.rows)); !r) return r;
    s.rows = s.computed = s.arrived = m.rows;
    m.user = static_cast<std::uint32_t>(id);
    m.waits = false;
    if (m.rows != 0) incoming_.push_back(static_cast<std::uint32_t>(id)), s.ready_at = never;
    return {};
  }
  std::uint32_t resident(schedule::request_id id) const noexcept { return sequences_[id].rows; }
  bool ready(schedule::request_id id) const noexcept { return !o_.overlap || sequences_[id].ready_at <= now_; }
  status reserve(schedule::request_id id, std::uint32_t rows) {
    sequence& s = sequences_[id];
    const std::uint32_t want = blocks_of(std::uint64_t{s.rows} + rows) - static_cast<std::uint32_t>(s.blocks.size());
    if (const status r = take(id, want); !r) return r;
    s.rows += rows;
    return {};
  }
  /// The end of a request; a turn that others will follow leaves its rows to them.
  void release(schedule::request_id id) {
    const job& j = workload_->jobs[id];
    const bool goes_on = j.next_turn != job::none && sequences_[id].computed >= j.request.most_rows();
    mirror& m = mirror_of(id);
    if (!goes_on || !send(id)) drop(id);
    if (!goes_on) forget(m);
    m.user = none;
    m.waits = false;
  }
  schedule::preemption_kind preempt(schedule::request_id id, schedule::preemption_kind kind) {
    sequence& s = sequences_[id];
    mirror& m = mirror_of(id);
    m.user = none;
    m.waits = true;
    if (s.computed != 0 && s.computed <= m.rows)
      return drop(id), schedule::preemption_kind::swap;  // all is there already
    if (kind == schedule::preemption_kind::swap && send(id)) return kind;
    drop(id);
    return schedule::preemption_kind::recompute;
  }
  std::uint64_t capacity_tokens() const noexcept { return std::uint64_t{device_.slots()} * o_.block; }
  /// Blocks that are leaving count: an admission rule that took them for used would have everybody preempted for one.
  std::uint64_t free_tokens() const noexcept { return std::uint64_t{device_.free() + leaving_blocks_} * o_.block; }
  std::uint64_t leaving_tokens() const noexcept { return std::uint64_t{leaving_blocks_} * o_.block; }

  // What the loop of a simulation tells and asks.
  void at(double now) {
    now_ = now;
    promised_ = 0;
    std::erase_if(leaving_, [&](const transfer& t) {
      if (t.ends > now) return false;
      for (const std::uint32_t b : t.blocks) device_.release(b);
      leaving_blocks_ -= static_cast<std::uint32_t>(t.blocks.size());
      return true;
    });
    std::erase_if(moving_, [&](std::uint32_t id) {
      if (sequences_[id].ready_at > now) return false;
      if (!o_.reuse) forget(mirror_of(id));
      return true;
    });
  }
  /// The decisions of this step are made: rows of those who were admitted start to move.
  void settle() {
    for (const std::uint32_t id : incoming_) fetch(id);
    incoming_.clear();
  }
  double starts_at(double now) const noexcept { return o_.overlap ? now : std::max(now, link_.idle_at()); }
  double wakes_at() const noexcept {
    double first = never;
    for (const transfer& t : leaving_) first = std::min(first, t.ends);
    for (const std::uint32_t id : moving_) first = std::min(first, sequences_[id].ready_at);
    return first;
  }
  void computed(schedule::request_id id, std::uint32_t rows) noexcept { sequences_[id].computed = rows; }
  void ended(schedule::request_id) noexcept {}

  const swapped_memory_counters& counters() const noexcept { return counters_; }
  double link_busy() const noexcept { return link_.busy(); }
  /// Every block of both pools is free, held or leaving; for tests.
  bool consistent() const noexcept {
    std::uint64_t held = leaving_blocks_, mirrored = 0;
    for (const sequence& s : sequences_) held += s.blocks.size();
    for (const mirror& m : mirrors_) mirrored += m.blocks.size();
    return device_.check() && host_.check() && held + device_.free() == device_.slots() &&
           mirrored + host_.free() == host_.slots();
  }

 private:
  static constexpr std::uint32_t none = kv::free_runs::none;
  static constexpr double never = std::numeric_limits<double>::infinity();

  struct sequence {
    std::vector<std::uint32_t> blocks;
    std::uint32_t rows = 0, computed = 0;  ///< reserved; valid
    std::uint32_t arrived = 0;             ///< valid at admission
    double ready_at = 0;
  };
  /// What the host holds of a text.
  struct mirror {
    std::vector<std::uint32_t> blocks;
    std::uint32_t rows = 0;     ///< valid
    std::uint32_t user = none;  ///< the request that has its rows on the device
    bool waits = false;         ///< a preempted request will come back for it
    std::uint64_t used = 0;     ///< when, in swaps
  };
  struct transfer {
    double ends = 0;
    std::vector<std::uint32_t> blocks;
  };

  static std::uint32_t texts(const workload& w) {
    std::uint64_t most = 0;
    for (const job& j : w.jobs) most = std::max(most, j.text);
    return static_cast<std::uint32_t>(most + 1);
  }
  std::uint32_t blocks_of(std::uint64_t rows) const noexcept {
    return static_cast<std::uint32_t>((rows + o_.block - 1) / o_.block);
  }
  mirror& mirror_of(schedule::request_id id) noexcept { return mirrors_[workload_->jobs[id].text]; }

  status take(schedule::request_id id, std::uint32_t want) {
    if (want > device_.free()) return {errc::out_of_pages, "blocks", want, 0, device_.free()};
    const auto owner = o_.groups ? static_cast<std::uint32_t>(id) : none;
    for (; want > 0; --want) sequences_[id].blocks.push_back(device_.acquire(owner, std::max(want, o_.group_blocks)));
    return {};
  }
  /// Its blocks are free at once, or when copies from or to them have ended.
  void give_up(schedule::request_id id, double ends) {
    sequence& s = sequences_[id];
    if (o_.groups) device_.leave(static_cast<std::uint32_t>(id));
    if (ends > now_ && o_.overlap) {
      leaving_blocks_ += static_cast<std::uint32_t>(s.blocks.size());
      leaving_.push_back({ends, std::move(s.blocks)});
    } else {
      for (const std::uint32_t b : s.blocks) device_.release(b);
    }
    s = {};
    std::erase(moving_, static_cast<std::uint32_t>(id));
  }
  void drop(schedule::request_id id) {
    std::erase(incoming_, static_cast<std::uint32_t>(id));
    const double ready = sequences_[id].ready_at;
    give_up(id, ready == never ? 0 : ready);
  }
  void forget(mirror& m) {
    for (const std::uint32_t b : m.blocks) host_.release(b);
    m.blocks.clear();
    m.rows = 0;
  }
  /// Copies of blocks [first, end) of a sequence: adjacent on both sides, they are one.
  std::uint64_t copies(const sequence& s, const mirror& m, std::size_t first, std::size_t end) const noexcept {
    if (!o_.groups) return (end - first) * o_.pieces;
    std::uint64_t runs = first < end;
    for (std::size_t i = first + 1; i < end; ++i)
      runs += s.blocks[i] != s.blocks[i - 1] + 1 || m.blocks[i] != m.blocks[i - 1] + 1;
    return runs * o_.pieces;
  }

  /// Without overlap one batch of copies follows the other, as a thread that waits for each issues them.
  double copy(copy_engine::way w, std::uint64_t bytes, std::uint64_t n) noexcept {
    return link_.copy(w, o_.overlap ? now_ : std::max(now_, link_.idle_at()), bytes, n);
  }
  /// Rows to the host, as far as they are not there. False, and nothing changed on the host, if it has no room.
  bool send(schedule::request_id id) {
    sequence& s = sequences_[id];
    mirror& m = mirror_of(id);
    const std::uint32_t blocks = blocks_of(s.computed), clean = std::min(o_.reuse ? m.rows / o_.block : 0, blocks);
    if (!make_room(m, blocks)) return ++counters_.degraded, false;
    const std::uint64_t bytes = std::uint64_t{blocks - clean} * o_.block * o_.row_bytes,
                        n = copies(s, m, clean, blocks);
    const double ends = copy(copy_engine::way::out, bytes, n);
    counters_.bytes_out += bytes, counters_.copies_out += n, counters_.blocks_out += blocks - clean,
        counters_.spared += clean;
    m.rows = s.computed;
    m.used = ++clock_;
    give_up(id, ends);
    return true;
  }
  void fetch(std::uint32_t id) {
    sequence& s = sequences_[id];
    mirror& m = mirror_of(id);
    const std::uint32_t blocks = blocks_of(s.arrived);
    const std::uint64_t bytes = std::uint64_t{blocks} * o_.block * o_.row_bytes, n = copies(s, m, 0, blocks);
    s.ready_at = copy(copy_engine::way::in, bytes, n);
    counters_.bytes_in += bytes, counters_.copies_in += n, counters_.blocks_in += blocks;
    m.used = ++clock_;
    moving_.push_back(id);
  }
  /// Host blocks for a text, if need be at the cost of others: first copies of what is on the device, then texts that
  /// nobody waits for, the longest unused first, from their ends.
  bool make_room(mirror& mine, std::uint32_t blocks) {
    while (mine.blocks.size() + host_.free() < blocks) {
      mirror* victim = nullptr;
      for (mirror& m : mirrors_) {
        const bool spare =
            !m.blocks.empty() && &m != &mine && !m.waits && (m.user == none || sequences_[m.user].ready_at <= now_);
        if (!spare) continue;
        if (victim == nullptr || (m.user != none) > (victim->user != none) ||
            ((m.user != none) == (victim->user != none) && m.used < victim->used))
          victim = &m;
      }
      if (victim == nullptr) return false;
      for (; !victim->blocks.empty() && mine.blocks.size() + host_.free() < blocks; ++counters_.evicted) {
        host_.release(victim->blocks.back());
        victim->blocks.pop_back();
      }
      victim->rows = std::min(victim->rows, static_cast<std::uint32_t>(victim->blocks.size()) * o_.block);
    }
    const auto owner = o_.groups ? static_cast<std::uint32_t>(&mine - mirrors_.data()) : none;
    while (mine.blocks.size() < blocks)
      mine.blocks.push_back(host_.acquire(owner, std::max<std::uint32_t>(blocks, o_.group_blocks)));
    return true;
  }

  const workload* workload_;
  swapped_memory_options o_;
  kv::free_runs device_, host_;
  copy_engine link_;
  std::vector<sequence> sequences_;
  std::vector<mirror> mirrors_;  ///< by text
  std::vector<std::uint32_t> incoming_, moving_;
  std::vector<transfer> leaving_;
  std::uint32_t leaving_blocks_ = 0, promised_ = 0;  ///< promised_: of free and leaving ones, in this step
  std::uint64_t clock_ = 0;
  double now_ = 0;
  swapped_memory_counters counters_{};
};
static_assert(SimulatedMemory<swapped_memory>);

}  // namespace quire::inline v0::serve::simulate
