// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../../core/status.hpp"
#include "../id_table.hpp"
#include "../request.hpp"
#include "group_table.hpp"
#include "plan.hpp"

namespace quire::inline v0::schedule::prefix {

struct window_options {
  std::uint32_t max_waiting = 16384;  ///< requests that are added and not taken
  std::uint32_t max_members = 32768;  ///< of groups, waiting or taken and not left
  std::uint32_t every = 256;          ///< requests that came since the last plan call for another
  double seconds = 1;                 ///< so does one of them that came so long ago
  double ttl = 30;                    ///< seconds; a request that has waited so long is passed by none that came later
  plan_options plan{};
};

/// What a request is submitted to a scheduler with.
struct planned_request {
  request_id id = 0;
  std::uint32_t group = 0;   ///< 0: none
  std::uint32_t tokens = 0;  ///< of the group's prefix, the first ones of this prompt
  std::uint64_t rank = 0;    ///< grows from one taken request to the next
};

/// The plan for requests that keep coming: they wait here and are taken one by one, in planned order, when a scheduler
/// has room. Now and then (`every`, `seconds`, or nothing planned is left) all that wait are planned anew. A group
/// opens when its first member is taken; from then on its members are fixed, those that wait come first in the next
/// plan, and each counts until it leaves, whatever a scheduler does meanwhile. So `leave` says when to unpin a prefix.
/// Where `max_members` has no room for a group, its requests go without.
/// cost: add, leave O(1); take O(1) and now and then a plan, which alone allocates. One thread at a time.
/// throws: std::invalid_argument, std::bad_alloc (constructor), std::bad_alloc (take).
/// from: BatchLLM (arXiv:2412.03594), extended to streams; test: tests/schedule/prefix/window.cpp
template <std::integral Symbol>
class window {
 public:
  explicit window(const window_options& options = {})
      : options_(checked(options)),
        slots_(options.max_waiting),
        index_(options.max_waiting),
        groups_(options.max_members) {
    free_.reserve(options.max_waiting);
    for (std::uint32_t s = options.max_waiting; s-- > 0;) free_.push_back(s);
  }

  /// A request comes and waits. The prompt is a view that must stand until the request is taken or leaves;
  /// decode_tokens is how many it is expected to generate (decode_estimate.hpp). `now` does not go back.
  /// fails: out_of_range (an id that waits or is a member, max_waiting, the prompt), not_finite (decode_tokens, now).
  status add(request_id id, std::span<const Symbol> prompt, double decode_tokens, double now) noexcept {
    constexpr std::int64_t longest = 0xfffffffe;
    if (prompt.size() > static_cast<std::uint64_t>(longest))
      return {errc::out_of_range, "tokens of the prompt", static_cast<std::int64_t>(prompt.size()), 0, longest};
    if (!std::isfinite(decode_tokens)) return {errc::not_finite, "decode_tokens"};
    if (!std::isfinite(now)) return {errc::not_finite, "now"};
    if (index_.find(id) != none || groups_.of(id))
      return {errc::out_of_range, "id (one that is not known)", static_cast<std::int64_t>(id)};
    if (free_.empty())
      return {errc::out_of_range, "waiting requests", std::int64_t{options_.max_waiting} + 1, 0, options_.max_waiting};
    const std::uint32_t s = free_.back();
    free_.pop_back();
    index_.insert(id, s);
    slots_[s] = {.id = id,
                 .ticket = ++tickets_,
                 .prompt = prompt,
                 .decode = std::max(decode_tokens, 0.0),
                 .since = now,
                 .older = newest_};
    (newest_ == none ? oldest_ : slots_[newest_].newer) = s;
    newest_ = s;
    if (fresh_++ == 0) fresh_since_ = now;
    return {};
  }

  /// The next request, or nothing when none waits.
  std::optional<planned_request> take(double now) {
    if (oldest_ == none) return std::nullopt;
    if (fresh_ >= options_.every || (fresh_ > 0 && now - fresh_since_ >= options_.seconds)) replan();
    std::uint32_t s = oldest_;
    if (now - slots_[s].since < options_.ttl) {
      while (next_ < sequence_.size() && !waits(sequence_[next_])) ++next_;
      if (next_ == sequence_.size()) replan();
      s = sequence_[next_].slot;
    }
    planned_request out{.id = slots_[s].id, .rank = ++taken_};
    if (!groups_.of(out.id)) open(slots_[s].candidate);
    if (const auto g = groups_.of(out.id)) out.group = g->group, out.tokens = g->tokens;
    forget(s);
    return out;
  }

  /// A request finishes, fails or is cancelled, waiting or taken. Returns its group as it is now: with members 0 the
  /// last one has left. Nothing if it is in no open group.
  std::optional<group_table::record> leave(request_id id) noexcept {
    if (const std::uint32_t s = index_.find(id); s != none) forget(s);
    return groups_.leave(id);
  }

  std::uint32_t waiting() const noexcept { return options_.max_waiting - static_cast<std::uint32_t>(free_.size()); }
  const group_table& groups() const noexcept { return groups_; }
  std::uint64_t plans() const noexcept { return plans_; }  ///< made so far

 private:
  static constexpr std::uint32_t none = id_table::none;
  struct slot {
    request_id id = 0;
    std::uint64_t ticket = 0;  ///< order of coming; 0 when the slot is free
    std::span<const Symbol> prompt{};
    double decode = 0, since = 0;
    std::uint32_t older = none, newer = none;  ///< in the order of coming
    std::uint32_t candidate = none;            ///< of the last plan
  };
  struct place {  // of the sequence; stale when the slot has another ticket
    std::uint32_t slot = 0;
    std::uint64_t ticket = 0;
  };

  static const window_options& checked(const window_options& o) {
    const auto refuse = [](const char* field, const std::string& value, const char* allowed) {
      throw std::invalid_argument("window_options." + std::string(field) + " is " + value + ", allowed " + allowed);
    };
    const auto count = [&](const char* field, std::uint32_t value, std::uint32_t low) {
      if (value < low || value == none)
        refuse(field, std::to_string(value), (std::to_string(low) + " to 4294967294").c_str());
    };
    count("max_waiting", o.max_waiting, 1);
    count("max_members", o.max_members, 2);
    count("every", o.every, 1);
    count("plan.tile", o.plan.tile, 1);
    if (!(o.seconds >= 0)) refuse("seconds", std::to_string(o.seconds), "0 and more");
    if (!(o.ttl >= 0)) refuse("ttl", std::to_string(o.ttl), "0 and more");
    return o;
  }
  bool waits(const place& p) const noexcept { return slots_[p.slot].ticket == p.ticket; }

  void forget(std::uint32_t s) noexcept {
    const slot x = slots_[s];
    (x.older == none ? oldest_ : slots_[x.older].newer) = x.newer;
    (x.newer == none ? newest_ : slots_[x.newer].older) = x.older;
    const bool first = x.older == none || slots_[x.older].ticket <= planned_;  // of the fresh ones, if it is one
    if (x.ticket > planned_ && --fresh_ > 0 && first) fresh_since_ = slots_[x.newer].since;
    index_.erase(x.id);
    slots_[s] = {};
    free_.push_back(s);
  }

  /// All that wait, anew: first what waits of open groups, group by group, then the rest as planned.
  void replan() {
    std::vector<std::uint32_t> loose;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> bound;  // group, slot
    for (std::uint32_t s = oldest_; s != none; s = slots_[s].newer) {
      slots_[s].candidate = none;
      if (const auto g = groups_.of(slots_[s].id)) bound.emplace_back(g->group, s);
      else loose.push_back(s);
    }
    std::stable_sort(bound.begin(), bound.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<std::span<const Symbol>> prompts;
    std::vector<double> decode;
    for (const std::uint32_t s : loose) prompts.push_back(slots_[s].prompt), decode.push_back(slots_[s].decode);
    const plan made = make_plan(pile<Symbol>{.prompts = prompts}, decode, options_.plan);

    sequence_.clear();
    for (const auto& [number, s] : bound) sequence_.push_back({s, slots_[s].ticket});
    candidates_ = made.groups;
    for (group& g : candidates_) g.begin += static_cast<std::uint32_t>(sequence_.size());
    for (const std::uint32_t r : made.sequence) {
      slots_[loose[r]].candidate = made.places[r].group - 1;  // 0, no group, becomes none
      sequence_.push_back({loose[r], slots_[loose[r]].ticket});
    }
    next_ = 0;
    fresh_ = 0;
    planned_ = tickets_;
    ++plans_;
  }

  /// Fix the members of a planned group: those that still wait, if they are two and more and there is room for them.
  void open(std::uint32_t candidate) noexcept {
    if (candidate == none) return;
    const group& g = candidates_[candidate];
    const auto planned = std::span(sequence_).subspan(g.begin, g.members);
    const auto still = std::count_if(planned.begin(), planned.end(), [&](const place& p) { return waits(p); });
    if (still < 2 || static_cast<std::uint64_t>(still) > options_.max_members - groups_.members()) return;
    if (++last_ == 0) ++last_;
    for (const place& p : planned)
      if (waits(p)) static_cast<void>(groups_.join(slots_[p.slot].id, last_, g.tokens));  // can't fail: room, new ids
  }

  window_options options_;
  std::vector<slot> slots_;
  std::vector<std::uint32_t> free_;
  id_table index_;
  group_table groups_;
  std::vector<place> sequence_;
  std::vector<group> candidates_;
  std::size_t next_ = 0;
  std::uint64_t tickets_ = 0, planned_ = 0, taken_ = 0, plans_ = 0;  ///< planned_: ticket of the newest that is
  std::uint32_t oldest_ = none, newest_ = none, last_ = 0;
  std::uint32_t fresh_ = 0;  ///< that came since the last plan and wait
  double fresh_since_ = 0;
};

}  // namespace quire::inline v0::schedule::prefix
