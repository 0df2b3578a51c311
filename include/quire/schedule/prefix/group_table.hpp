// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "../../core/status.hpp"
#include "../id_table.hpp"
#include "../request.hpp"

namespace quire::inline v0::schedule::prefix {

/// Who still needs which prefix. A request joins its group when it is known and leaves when it finishes, fails or is
/// cancelled, wherever it is then; waiting, running, preempted and swapped members count alike. So the prefix is pinned
/// when the first member joins and freed when the last one leaves, and neither preemption nor an abort can miscount.
/// Members are kept by id, never by their place in a queue. One thread at a time.
/// cost: O(1) each, O(members) for for_each_member; no allocation after construction. throws: std::bad_alloc
/// (constructor). from: BatchLLM (arXiv:2412.03594); test: tests/schedule/prefix/group_table.cpp
class group_table {
 public:
  struct record {
    std::uint32_t group = 0;    ///< as in request::group; not 0
    std::uint32_t tokens = 0;   ///< of the prefix
    std::uint32_t members = 0;  ///< that have not left
  };

  /// At most so many members at one time, in as many groups.
  explicit group_table(std::uint32_t most_members)
      : members_(most_members), groups_(most_members), member_of_(most_members), group_at_(most_members) {
    free_members_.reserve(most_members);
    free_groups_.reserve(most_members);
    for (std::uint32_t i = most_members; i-- > 0;) free_members_.push_back(i), free_groups_.push_back(i);
  }

  /// A request joins a group whose prefix has `tokens` tokens. `find(group)->members == 1` afterwards says that it is
  /// the first. fails: out_of_range (group 0, tokens that differ from the group's, an id that is a member, capacity).
  status join(request_id id, std::uint32_t group, std::uint32_t tokens) noexcept {
    constexpr std::int64_t most = 0xffffffff;
    if (group == 0) return {errc::out_of_range, "group", 0, 1, most};
    if (tokens == 0) return {errc::out_of_range, "tokens of the prefix", 0, 1, most};
    if (member_of_.find(id) != none)
      return {errc::out_of_range, "id (one that is no member)", static_cast<std::int64_t>(id)};
    if (free_members_.empty()) {
      const auto all = static_cast<std::int64_t>(members_.size());
      return {errc::out_of_range, "members", all + 1, 0, all};
    }
    std::uint32_t g = group_at_.find(group);
    if (g == none) {
      g = free_groups_.back();
      free_groups_.pop_back();
      group_at_.insert(group, g);
      groups_[g] = {{.group = group, .tokens = tokens}, none};
    } else if (groups_[g].what.tokens != tokens) {
      const std::int64_t its = groups_[g].what.tokens;
      return {errc::out_of_range, "tokens of the prefix", tokens, its, its};
    }
    const std::uint32_t m = free_members_.back();
    free_members_.pop_back();
    member_of_.insert(id, m);
    members_[m] = {.id = id, .group = g, .next = groups_[g].first};
    if (groups_[g].first != none) members_[groups_[g].first].previous = m;
    groups_[g].first = m;
    ++groups_[g].what.members;
    return {};
  }

  /// A request finishes, fails or is cancelled. Returns its group as it is now: with members 0 the last one has left,
  /// and the prefix may go. Nothing for a request that is in no group.
  std::optional<record> leave(request_id id) noexcept {
    const std::uint32_t m = member_of_.find(id);
    if (m == none) return std::nullopt;
    const member x = members_[m];
    listed& g = groups_[x.group];
    (x.previous == none ? g.first : members_[x.previous].next) = x.next;
    if (x.next != none) members_[x.next].previous = x.previous;
    member_of_.erase(id);
    free_members_.push_back(m);
    if (--g.what.members == 0) {
      group_at_.erase(g.what.group);
      free_groups_.push_back(x.group);
    }
    return g.what;
  }

  /// The group a request is a member of.
  std::optional<record> of(request_id id) const noexcept {
    const std::uint32_t m = member_of_.find(id);
    return m == none ? std::nullopt : std::optional(groups_[members_[m].group].what);
  }
  /// A group with members.
  std::optional<record> find(std::uint32_t group) const noexcept {
    const std::uint32_t g = group_at_.find(group);
    return g == none ? std::nullopt : std::optional(groups_[g].what);
  }
  /// Call f(request_id) for each member, the newest first; f must not change the table.
  template <class F>
  void for_each_member(std::uint32_t group, F f) const {
    const std::uint32_t g = group_at_.find(group);
    if (g == none) return;
    for (std::uint32_t m = groups_[g].first; m != none; m = members_[m].next) f(members_[m].id);
  }
  std::uint32_t groups() const noexcept { return static_cast<std::uint32_t>(groups_.size() - free_groups_.size()); }
  std::uint32_t members() const noexcept { return static_cast<std::uint32_t>(members_.size() - free_members_.size()); }

 private:
  static constexpr std::uint32_t none = id_table::none;
  struct member {
    request_id id = 0;
    std::uint32_t group = 0, next = none, previous = none;
  };
  struct listed {
    record what{};
    std::uint32_t first = none;
  };
  std::vector<member> members_;
  std::vector<listed> groups_;
  std::vector<std::uint32_t> free_members_, free_groups_;
  id_table member_of_, group_at_;
};

}  // namespace quire::inline v0::schedule::prefix
