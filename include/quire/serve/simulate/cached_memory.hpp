// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "../../core/status.hpp"
#include "../../schedule/id_table.hpp"
#include "../../schedule/memory.hpp"
#include "simulated_memory.hpp"
#include "workload.hpp"

namespace quire::inline v0::serve::simulate {

/// How `cached_memory` treats rows. Unit: rows, unless said.
struct cached_memory_options {
  std::uint32_t rows = 1u << 16;         ///< of the whole memory, rounded down to blocks
  std::uint32_t block = 16;              ///< rows of one; divides the workload's block_tokens
  bool cache = true;                     ///< full blocks stay after release, found by name, least recently used evicted
  bool pin_groups = false;               ///< a group's shared blocks stay until its last request has finished
  std::uint32_t wait_for = 0xffffffffu;  ///< admission waits for another's computation that saves at least so many rows
};

/// What became of rows. Unit: rows, unless said.
struct cached_memory_counters {
  std::uint64_t hit = 0;           ///< found at admission
  std::uint64_t evicted = 0;       ///< blocks taken from the cache
  std::uint64_t evicted_pins = 0;  ///< blocks of open groups among them: only when nothing else was left
  std::uint64_t waits = 0;         ///< admissions put off because another request computes what this one needs
  std::uint64_t most_held = 0;     ///< blocks in use by requests or groups at once
};

/// The memory of a simulated machine: it counts blocks and knows their names, but holds no bytes. Requests reserve
/// rows; with a cache, full blocks are found again by name by whoever needs the same rows (RadixAttention on block
/// names). cost: O(blocks of the request) at admission and release, O(1) amortised else. from: SGLang
/// (arXiv:2312.07104), BatchLLM (arXiv:2412.03594) for the pins; test: tests/serve/simulate/cached_memory.cpp
class cached_memory {
 public:
  cached_memory(const workload& w, cached_memory_options o)
      : workload_(&w),
        o_(o),
        total_(o.rows / o.block),
        free_(total_),
        index_(total_),
        flying_(total_),
        sequences_(w.jobs.size()) {
    for (const job& j : w.jobs) {
      if (j.request.group >= groups_.size()) groups_.resize(j.request.group + 1);
      ++groups_[j.request.group].open;
    }
  }
  cached_memory(const cached_memory&) = delete;
  cached_memory& operator=(const cached_memory&) = delete;

  status fits(std::uint32_t rows) const noexcept {
    if (blocks_of(rows) <= total_) return {};
    return {errc::out_of_pages, "rows of one sequence", rows, 1, std::int64_t{total_} * o_.block};
  }
  /// fails: not_ready while another request computes rows of this one.
  status admit(schedule::request_id id) {
    sequence& s = sequences_[id];
    const job& j = workload_->jobs[id];
    s.blocks.clear();
    s.rows = 0;
    if (!o_.cache) return {};
    const std::uint32_t most = (std::max(s.known, j.request.prompt_tokens) - 1) / o_.block;
    const std::uint32_t hits = leading(j, most);
    if (const std::uint32_t other = in_flight(j, hits, most); other != none && other != id) {
      ++counters_.waits;
      return {errc::not_ready, "rows that another request computes", std::int64_t{hits} * o_.block};
    }
    for (std::uint32_t i = 0; i < hits; ++i) hold(index_.find(name(j, i)));
    for (std::uint32_t i = 0; i < hits; ++i) s.blocks.push_back(index_.find(name(j, i)));
    s.rows = hits * o_.block;
    holding_ += hits != 0;
    counters_.hit += s.rows;
    s.named = hits;
    if (o_.wait_for != 0xffffffffu) announce(static_cast<std::uint32_t>(id), j, hits);
    return {};
  }
  std::uint32_t resident(schedule::request_id id) const noexcept { return sequences_[id].rows; }
  /// Rows of a waiting request that the cache holds now: a hint for orders that look for hits.
  std::uint32_t found(schedule::request_id id) const noexcept {
    const job& j = workload_->jobs[id];
    return o_.cache ? leading(j, (j.request.prompt_tokens - 1) / o_.block) * o_.block : 0;
  }
  status reserve(schedule::request_id id, std::uint32_t rows) {
    sequence& s = sequences_[id];
    const std::uint32_t want = blocks_of(std::uint64_t{s.rows} + rows) - static_cast<std::uint32_t>(s.blocks.size());
    const bool alone = holding_ == (s.blocks.empty() ? 0u : 1u);
    if (want > free_ && !evict(want - free_, alone)) return {errc::out_of_pages, "blocks", want, 0, free_ + unused_};
    free_ -= want;
    s.rows += rows;
    holding_ += s.blocks.empty() && want != 0;
    s.blocks.insert(s.blocks.end(), want, none);
    counters_.most_held = std::max(counters_.most_held, std::uint64_t{total_ - free_ - unused_});
    return {};
  }
  void release(schedule::request_id id) { let_go(static_cast<std::uint32_t>(id)); }
  schedule::preemption_kind preempt(schedule::request_id id, schedule::preemption_kind) {
    let_go(static_cast<std::uint32_t>(id));
    return schedule::preemption_kind::recompute;
  }

  std::uint64_t capacity_tokens() const noexcept { return std::uint64_t{total_} * o_.block; }
  std::uint64_t free_tokens() const noexcept { return std::uint64_t{free_ + unused_} * o_.block; }

  // What the loop of a simulation tells and asks.
  void at(double) noexcept {}
  void settle() noexcept {}
  double starts_at(double now) const noexcept { return now; }
  double wakes_at() const noexcept { return std::numeric_limits<double>::infinity(); }
  /// The request is over, however it ended; the last of a group takes the group's blocks along.
  void ended(schedule::request_id id) {
    const std::uint32_t g = workload_->jobs[id].request.group;
    if (--groups_[g].open == 0 && g != 0) unpin(g);
  }
  /// Rows [0, rows) of the request are computed: its full blocks can be found from now on.
  void computed(schedule::request_id id, std::uint32_t rows) {
    sequence& s = sequences_[id];
    s.known = std::max(s.known, rows + 1);
    if (!o_.cache) return;
    const job& j = workload_->jobs[id];
    for (const std::uint32_t full = rows / o_.block; s.named < full; ++s.named)
      publish(static_cast<std::uint32_t>(id), j, s.named);
  }

  const cached_memory_counters& counters() const noexcept { return counters_; }
  const cached_memory_options& options() const noexcept { return o_; }
  /// Every block is free, unused in the cache, or held; for tests.
  bool consistent() const noexcept {
    std::uint64_t unused = 0, cached = 0;
    for (const entry& e : entries_) cached += e.live, unused += e.live && e.holders == 0;
    std::uint64_t own = 0;
    for (const sequence& s : sequences_)
      for (const std::uint32_t b : s.blocks) own += b == none;
    return unused == unused_ && cached + own + free_ == total_;
  }

 private:
  static constexpr std::uint32_t none = schedule::id_table::none;

  struct sequence {
    std::vector<std::uint32_t> blocks;  ///< entries of the cache; `none`: a block of its own
    std::uint32_t rows = 0;             ///< reserved
    std::uint32_t known = 0;            ///< tokens that may be asked for again
    std::uint32_t named = 0;            ///< leading blocks that were offered to the cache
    std::uint32_t announced = 0;        ///< end of the blocks it said it would compute
  };
  struct entry {
    std::uint64_t name = 0;
    std::uint32_t holders = 0, group = 0;  ///< requests; the group counts as one
    std::uint32_t before = none, after = none;
    bool live = false;
  };
  struct group {
    std::uint32_t open = 0;  ///< requests that have not ended
    std::vector<std::uint32_t> pinned;
  };

  std::uint32_t blocks_of(std::uint64_t rows) const noexcept {
    return static_cast<std::uint32_t>((rows + o_.block - 1) / o_.block);
  }
  std::uint64_t name(const job& j, std::uint32_t i) const noexcept { return workload_->block(j, i, o_.block); }

  std::uint32_t leading(const job& j, std::uint32_t most) const noexcept {
    std::uint32_t hits = 0;
    while (hits < most && index_.find(name(j, hits)) != none) ++hits;
    return hits;
  }
  /// Who computes block `hits` of `j` now, if waiting for it saves enough.
  std::uint32_t in_flight(const job& j, std::uint32_t hits, std::uint32_t most) const noexcept {
    if (o_.wait_for == 0xffffffffu || hits >= most) return none;
    const std::uint32_t who = flying_.find(name(j, hits));
    if (who == none) return none;
    std::uint32_t end = hits + 1;
    while (end < most && (end - hits) * o_.block < o_.wait_for && flying_.find(name(j, end)) == who) ++end;
    return (end - hits) * o_.block >= o_.wait_for ? who : none;
  }
  void announce(std::uint32_t id, const job& j, std::uint32_t from) {
    sequence& s = sequences_[id];
    const std::uint32_t end = std::min(workload_->sharable_tokens(j), j.request.prompt_tokens - 1) / o_.block;
    s.announced = from;
    for (; s.announced < end && flying_count_ < total_; ++s.announced) {
      if (flying_.find(name(j, s.announced)) != none) break;
      flying_.insert(name(j, s.announced), id), ++flying_count_;
    }
  }
  void landed(std::uint32_t id, const job& j, std::uint32_t i) {
    if (i < sequences_[id].announced && flying_.find(name(j, i)) == id) flying_.erase(name(j, i)), --flying_count_;
  }
  void publish(std::uint32_t id, const job& j, std::uint32_t i) {
    landed(id, j, i);
    const std::uint64_t n = name(j, i);
    if (index_.find(n) != none) return;  // someone else was first: this copy stays private
    std::uint32_t e = none;
    if (spare_.empty()) e = static_cast<std::uint32_t>(entries_.size()), entries_.push_back({});
    else e = spare_.back(), spare_.pop_back();
    entries_[e] = {.name = n, .holders = 1, .live = true};
    index_.insert(n, e);
    sequences_[id].blocks[i] = e;
    const std::uint32_t g = j.request.group;
    if (!o_.pin_groups || g == 0 || (i + 1) * o_.block > j.group_tokens) return;
    ++entries_[e].holders;
    entries_[e].group = g;
    groups_[g].pinned.push_back(e);
  }

  void hold(std::uint32_t e) noexcept {
    if (entries_[e].holders++ == 0) unlink(e), --unused_;
  }
  void drop(std::uint32_t e) noexcept {
    if (--entries_[e].holders != 0) return;
    ++unused_;
    entry& x = entries_[e];
    x.after = none, x.before = newest_;
    (newest_ == none ? oldest_ : entries_[newest_].after) = e;
    newest_ = e;
  }
  void unlink(std::uint32_t e) noexcept {
    entry& x = entries_[e];
    (x.before == none ? oldest_ : entries_[x.before].after) = x.after;
    (x.after == none ? newest_ : entries_[x.after].before) = x.before;
  }
  void let_go(std::uint32_t id) {
    sequence& s = sequences_[id];
    for (std::size_t i = s.blocks.size(); i-- > 0;)  // tail first, so that it is evicted first
      if (s.blocks[i] == none) ++free_;
      else drop(s.blocks[i]);
    holding_ -= !s.blocks.empty();
    const job& j = workload_->jobs[id];
    for (std::uint32_t i = s.named; i < s.announced; ++i) landed(id, j, i);
    s.blocks.clear();
    s.rows = s.named = s.announced = 0;
  }
  bool evict(std::uint32_t count, bool alone) {
    if (count > unused_ && !(alone && unpin_some(count)))
      return false;  // nothing but pins in the way: waiting won't help
    for (; count > 0; --count) {
      const std::uint32_t e = oldest_;
      unlink(e);
      --unused_;
      remove(e);
      ++counters_.evicted;
    }
    return true;
  }
  void remove(std::uint32_t e) noexcept {
    index_.erase(entries_[e].name);
    entries_[e].live = false;
    spare_.push_back(e);
    ++free_;
  }
  bool unpin_some(std::uint32_t count) {
    for (std::uint32_t g = 1; g < groups_.size() && unused_ < count; ++g) {
      counters_.evicted_pins += groups_[g].pinned.size();
      let_pins_go(g);
    }
    return unused_ >= count;
  }
  void let_pins_go(std::uint32_t g) {
    for (std::size_t i = groups_[g].pinned.size(); i-- > 0;) drop(groups_[g].pinned[i]);
    groups_[g].pinned.clear();
  }
  /// The group has ended: its blocks go back at once instead of waiting to be the oldest.
  void unpin(std::uint32_t g) {
    const std::vector<std::uint32_t> pinned = groups_[g].pinned;
    let_pins_go(g);
    for (const std::uint32_t e : pinned)
      if (entries_[e].holders == 0) unlink(e), --unused_, remove(e);
  }

  const workload* workload_;
  cached_memory_options o_;
  std::uint32_t total_, free_, unused_ = 0;  ///< blocks: all, without content, in the cache and held by nobody
  std::vector<entry> entries_;
  std::vector<std::uint32_t> spare_;
  std::uint32_t oldest_ = none, newest_ = none;
  schedule::id_table index_, flying_;  ///< names of cached blocks; names of blocks being computed, and by whom
  std::uint32_t flying_count_ = 0, holding_ = 0;  ///< holding_: requests with blocks
  std::vector<sequence> sequences_;
  std::vector<group> groups_;
  cached_memory_counters counters_{};
};
static_assert(SimulatedMemory<cached_memory>);

}  // namespace quire::inline v0::serve::simulate
