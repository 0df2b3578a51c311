// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "link.hpp"

namespace quire::inline v0::tier {

/// Whether somebody waits for a transfer.
enum class urgency : std::uint8_t { foreground, background };

/// One slot to be copied; `tag` is the caller's.
struct piece {
  place from{}, to{};
  lane way = lane::out;
  std::uint64_t bytes = 0;
  std::uint32_t tag = 0;
};

/// A piece that is over; `last`: its transfer is over too, and its number may be given to another.
struct arrival {
  std::uint32_t transfer = 0;
  piece what;
  status why{};  ///< cancelled: it was never started; other errors: the destination holds anything
  bool last = false;
};

struct transfer_options {
  std::uint32_t pieces = 4096;             ///< pushed and not reported
  std::uint32_t copies = 4;                ///< of one direction given to the link at once: what is urgent waits for so many
  std::uint64_t copy_bytes = 16u << 20;    ///< most bytes that adjacent pieces make one copy of; 0: every piece is a copy
  double background_bytes_per_second = std::numeric_limits<double>::infinity();  ///< of one direction, what is urgent counted first
};

struct transfer_counts {
  std::uint64_t pieces = 0, copies = 0, bytes = 0;  ///< started
  std::uint64_t failed = 0, cancelled = 0;          ///< pieces
};

/// Transfers over one link: lists of pieces that are pushed at once, started in order of urgency and then of pushing, with
/// neighbours joined to one copy, and reported piece by piece. Pieces that touch the same slot are copied in the order they were
/// pushed, whatever their urgency. Never waits outside `wait`. One thread at a time; pools are known by number and slots.
/// cost: push, start and report constant a piece; cancel, promote and a `poll` that starts something also walk the pieces that
/// are queued and cannot start yet. No allocation after construction. throws (constructor): std::bad_alloc.
/// from: FastSwitch (arXiv:2411.18424); test: tests/tier/transfer_queue.cpp
template <Link K>
class transfer_queue {
 public:
  /// `pool_slots[p]`: slots of pool number p. The link outlives the queue and belongs to it.
  transfer_queue(K& link, std::span<const std::uint32_t> pool_slots, const transfer_options& options = {})
      : link_(&link), options_(options), nodes_(options.pieces), transfers_(options.pieces), copies_(lanes * std::max(options.copies, 1u)) {
    for (const std::uint32_t slots : pool_slots) turns_.emplace_back(slots);
    for (std::uint32_t n = options.pieces; n-- != 0;) nodes_[n].next = std::exchange(free_node_, n), transfers_[n].next = std::exchange(free_transfer_, n);
    for (std::uint32_t c = static_cast<std::uint32_t>(copies_.size()); c-- != 0;) copies_[c].next = std::exchange(free_copy_, c);
  }
  transfer_queue(const transfer_queue&) = delete;
  transfer_queue& operator=(const transfer_queue&) = delete;

  /// Pieces that may still be pushed.
  std::uint32_t room() const noexcept { return options_.pieces - used_; }
  /// Nothing queued, nothing moving, nothing to report.
  bool idle() const noexcept { return used_ == 0; }
  const transfer_counts& counts(lane way) const noexcept { return counts_[index(way)]; }

  /// Queues all pieces or none. fails: out_of_range (no pieces, more than `room`, no such slot, a slot copied onto itself).
  status push(std::span<const piece> pieces, urgency how, std::uint32_t& transfer) noexcept {
    if (pieces.empty() || pieces.size() > room())
      return {errc::out_of_range, "pieces of a transfer", static_cast<std::int64_t>(pieces.size()), 1, room()};
    for (const piece& p : pieces) {
      if (p.from == p.to) return {errc::out_of_range, "places of a piece", 1, 2, 2};
      for (const place at : {p.from, p.to}) {
        if (at.pool >= turns_.size()) return {errc::out_of_range, "pool", at.pool, 0, static_cast<std::int64_t>(turns_.size()) - 1};
        if (at.slot >= turns_[at.pool].size()) return {errc::out_of_range, "slot", at.slot, 0, static_cast<std::int64_t>(turns_[at.pool].size()) - 1};
      }
    }
    transfer = std::exchange(free_transfer_, transfers_[free_transfer_].next);
    transfers_[transfer] = {static_cast<std::uint32_t>(pieces.size()), none};
    for (const piece& p : pieces) {
      const std::uint32_t n = std::exchange(free_node_, nodes_[free_node_].next);
      nodes_[n] = {.what = p, .transfer = transfer, .turn = {turn_at(p.from).given++, turn_at(p.to).given++}};
      append(queue_of(how, p.way), n);
      ++used_;
    }
    return {};
  }
  /// Somebody waits for it now.
  void promote(std::uint32_t transfer) noexcept {
    for (const lane way : {lane::out, lane::in}) {
      list& from = queue_of(urgency::background, way);
      for (std::uint32_t n = from.first, after; n != none; n = after) {
        after = nodes_[n].next;
        if (nodes_[n].transfer == transfer) unlink(from, n), append(queue_of(urgency::foreground, way), n);
      }
    }
  }
  /// Withdraws the pieces that are not started; they and those under way are reported as ever.
  void cancel(std::uint32_t transfer) noexcept {
    for (auto& queues : queues_)
      for (list& from : queues)
        for (std::uint32_t n = from.first, after; n != none; n = after) {
          after = nodes_[n].next;
          if (nodes_[n].transfer != transfer) continue;
          nodes_[n].cancelled = true;
          if (may_start(n)) unlink(from, n), finish(n, {errc::cancelled, "transfer", transfer});
        }
  }

  /// Takes note of what has landed, starts what may start, and names a piece that is over.
  std::optional<arrival> poll(double now) noexcept {
    if (over_.first == none) advance(now);
    const std::uint32_t n = over_.first;
    if (n == none) return std::nullopt;
    unlink(over_, n);
    transfer_record& t = transfers_[nodes_[n].transfer];
    const arrival a{nodes_[n].transfer, nodes_[n].what, nodes_[n].why, --t.pieces == 0};
    if (a.last) t.next = std::exchange(free_transfer_, a.transfer);
    nodes_[n].transfer = none, nodes_[n].next = std::exchange(free_node_, n);
    --used_;
    return a;
  }
  /// f(piece) for every piece that is pushed and not reported. Linear in `pieces`.
  template <class F>
  void for_each(F&& f) const {
    for (const node& n : nodes_)
      if (n.transfer != none) f(n.what);
  }
  /// Returns when `poll` may have something to name, with the time then; at once when nothing is queued or moving.
  double wait(double now) noexcept {
    if (over_.first == none) advance(now);
    if (over_.first != none) return now;
    if (moving_[0] + moving_[1] != 0) return link_->wait(now);
    double then = std::numeric_limits<double>::infinity();  // only the budget holds back what is queued
    for (const lane way : {lane::out, lane::in})
      if (queue_of(urgency::background, way).first != none) then = std::min(then, allowed_[index(way)]);
    return then == std::numeric_limits<double>::infinity() ? now : std::max(now, then);
  }

 private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  struct turns {
    std::uint32_t given = 0, over = 0;  ///< pieces that were pushed for a slot, pieces of those that are over
  };
  struct node {
    piece what;
    std::uint32_t transfer = none;
    std::uint32_t turn[2] = {};           ///< of the source slot, of the destination slot
    std::uint32_t before = none, next = none;
    bool cancelled = false;
    status why{};
  };
  struct list {
    std::uint32_t first = none, last = none;
  };
  struct transfer_record {
    std::uint32_t pieces = 0, next = none;
  };
  struct copy_record {
    list pieces;
    std::uint32_t next = none;
  };

  static constexpr std::uint32_t index(lane way) noexcept { return static_cast<std::uint32_t>(way); }
  list& queue_of(urgency how, lane way) noexcept { return queues_[static_cast<std::uint32_t>(how)][index(way)]; }
  turns& turn_at(place at) noexcept { return turns_[at.pool][at.slot]; }

  void append(list& to, std::uint32_t n) noexcept {
    nodes_[n].before = to.last, nodes_[n].next = none;
    (to.last != none ? nodes_[to.last].next : to.first) = n;
    to.last = n;
  }
  void unlink(list& from, std::uint32_t n) noexcept {
    const std::uint32_t before = nodes_[n].before, next = nodes_[n].next;
    (before != none ? nodes_[before].next : from.first) = next;
    (next != none ? nodes_[next].before : from.last) = before;
  }
  /// All earlier pieces that touch its slots are over.
  bool may_start(std::uint32_t n) noexcept {
    const piece& p = nodes_[n].what;
    return turn_at(p.from).over == nodes_[n].turn[0] && turn_at(p.to).over == nodes_[n].turn[1];
  }
  void finish(std::uint32_t n, const status& why) noexcept {
    const piece& p = nodes_[n].what;
    ++turn_at(p.from).over, ++turn_at(p.to).over;
    transfer_counts& c = counts_[index(p.way)];
    if (!why) ++(why.code == errc::cancelled ? c.cancelled : c.failed);
    nodes_[n].why = why;
    append(over_, n);
  }
  void advance(double now) noexcept {
    while (const auto landed = link_->poll(now)) {
      copy_record& c = copies_[landed->id];
      --moving_[index(nodes_[c.pieces.first].what.way)];
      for (std::uint32_t n = c.pieces.first, after; n != none; n = after) {
        after = nodes_[n].next;
        unlink(c.pieces, n);
        finish(n, landed->why);
      }
      c.next = std::exchange(free_copy_, landed->id);
    }
    for (const urgency how : {urgency::foreground, urgency::background})
      for (const lane way : {lane::out, lane::in}) start(queue_of(how, way), how, index(way), now);
  }
  /// Starts from one queue what the window, the budget and the link allow.
  void start(list& from, urgency how, std::uint32_t way, double now) noexcept {
    for (std::uint32_t n = from.first, after; n != none; n = after) {
      after = nodes_[n].next;
      if (!may_start(n)) continue;
      if (nodes_[n].cancelled) {
        unlink(from, n);
        finish(n, {errc::cancelled, "transfer", nodes_[n].transfer});
        continue;
      }
      if (moving_[way] == copies_.size() / lanes || (how == urgency::background && now < allowed_[way])) return;
      const piece& p = nodes_[n].what;
      copy c{p.from, p.to, 1, p.way, p.bytes};
      std::uint32_t end = after;  // the pieces [n, end) of the queue are one copy
      while (end != none && joins(c, end)) ++c.slots, c.bytes += nodes_[end].what.bytes, end = nodes_[end].next;
      if (!link_->start(free_copy_, c, now)) return;
      copy_record& record = copies_[free_copy_];
      free_copy_ = record.next;
      for (std::uint32_t m = n; m != end;) {
        const std::uint32_t next = nodes_[m].next;
        unlink(from, m);
        append(record.pieces, m);
        m = next;
      }
      ++moving_[way];
      counts_[way].pieces += c.slots, ++counts_[way].copies, counts_[way].bytes += c.bytes;
      allowed_[way] = std::max(allowed_[way], now) + static_cast<double>(c.bytes) / options_.background_bytes_per_second;
      after = end;
    }
  }
  bool joins(const copy& c, std::uint32_t n) noexcept {
    const piece& p = nodes_[n].what;
    return p.from == place{c.from.pool, c.from.slot + c.slots} && p.to == place{c.to.pool, c.to.slot + c.slots} && c.bytes + p.bytes <= options_.copy_bytes &&
           !nodes_[n].cancelled && may_start(n);
  }

  K* link_;
  transfer_options options_;
  std::vector<std::vector<turns>> turns_;  ///< [pool][slot]
  std::vector<node> nodes_;
  std::vector<transfer_record> transfers_;
  std::vector<copy_record> copies_;
  std::uint32_t free_node_ = none, free_transfer_ = none, free_copy_ = none, used_ = 0;
  std::array<std::array<list, lanes>, 2> queues_;  ///< [urgency][lane]
  list over_;                                      ///< finished, not reported
  std::array<std::uint32_t, lanes> moving_{};
  std::array<double, lanes> allowed_{};            ///< when a background copy may start next
  std::array<transfer_counts, lanes> counts_{};
};

}  // namespace quire::inline v0::tier
