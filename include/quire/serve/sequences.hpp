// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../schedule/memory.hpp"
#include "generation.hpp"
#include "store.hpp"

namespace quire::inline v0::serve {

/// A text an engine works on. `g.prompt` grows by what is generated.
struct job {
  generation g;
  std::uint32_t prompt_tokens = 0;
  std::uint32_t sequence = 0;        ///< the store's handle, while `open`
  std::uint32_t reserved = 0;        ///< rows there is room for
  std::uint32_t expected = 0;        ///< rows it had at admission, if they all arrive
  bool open = false;
  bool away = false;                 ///< open, but its rows are in another tier
  bool forked = false;               ///< draws its first token from another's logits, then queues for the rest
  std::vector<request_id> copies{};  ///< texts beside this one that wait for its prompt

  std::span<const std::int32_t> known() const noexcept { return g.prompt; }
  std::span<const std::int32_t> generated() const noexcept { return known().subspan(prompt_tokens); }
};
using job_map = std::unordered_map<request_id, job>;

/// A store as a scheduler sees it: by request, with reservations that add up, and with what the store offers beyond rows
/// (remembered prefixes, another tier, forks that wait). Owns the sequences of its jobs. One thread at a time.
/// test: tests/serve/sequences.cpp
template <SequenceStore Store>
class sequences {
  static_assert(detail::store_hooks_well_formed<Store>(),
                "quire::serve: a store's hook has the wrong signature, see serve/store.hpp");

 public:
  sequences(job_map& jobs, Store& store) : jobs_(&jobs), store_(&store) {}
  ~sequences() {
    for (auto& [id, j] : *jobs_) close(j);
    for (auto& [id, g] : groups_) unpin(g);
  }
  sequences(const sequences&) = delete;
  sequences& operator=(const sequences&) = delete;

  // schedule::Memory and its hooks
  status admit(request_id id) {
    job& j = jobs_->at(id);
    std::erase(parked_, id);
    if (j.away)
      if (const status s = come_back(j); !s) return s;
    if (!j.open)
      if (const status s = open(j); !s) return s;
    j.reserved = j.expected = store_->length(j.sequence);
    return {};
  }
  std::uint32_t resident(request_id id) { return store_->length(jobs_->at(id).sequence); }
  status reserve(request_id id, std::uint32_t tokens) {
    job& j = jobs_->at(id);
    const std::uint32_t rows = j.reserved + tokens - store_->length(j.sequence);
    const status s = with_room([&] { return store_->reserve(j.sequence, rows); });
    if (s) j.reserved += tokens;
    return s;
  }
  void release(request_id id) { close(jobs_->at(id)); }
  bool ready(request_id id) requires SwappingStore<Store> {
    job& j = jobs_->at(id);
    if (!store_->present(j.sequence)) return false;
    if (const std::uint32_t rows = store_->length(j.sequence); rows < j.expected) j.reserved = rows;
    return true;
  }
  std::uint64_t leaving_tokens() requires SwappingStore<Store> { return store_->leaving_tokens(); }
  schedule::preemption_kind preempt(request_id id, schedule::preemption_kind kind) requires SwappingStore<Store> {
    using schedule::preemption_kind;
    job& j = jobs_->at(id);
    if (kind == preemption_kind::swap && j.open && (j.away || store_->swap_out(j.sequence))) {
      j.away = true;
      return preemption_kind::swap;
    }
    close(j);
    return preemption_kind::recompute;
  }
  status fits(std::uint32_t tokens) requires BoundedStore<Store> { return std::as_const(*store_).fits(tokens); }
  std::uint64_t capacity_tokens() requires CountedStore<Store> { return store_->capacity_tokens(); }
  /// What is leaving counts as free: an admission rule that didn't see it would take pages from one request after another.
  std::uint64_t free_tokens() requires CountedStore<Store> {
    if constexpr (SwappingStore<Store>) return store_->free_tokens() + store_->leaving_tokens();
    return store_->free_tokens();
  }

  // for the engine
  /// Rows that a text would find remembered now; a hint.
  std::uint32_t hit(const job& j) const {
    if constexpr (PrefixStore<Store>) return std::as_const(*store_).hit(j.known());
    return 0;
  }
  /// The job's rows have grown: what it holds may serve others from now on.
  void committed(const job& j) {
    if constexpr (PrefixStore<Store>) {
      static_cast<void>(store_->remember(j.sequence, j.known()));  // one that can't be remembered serves itself alone
      if (j.g.shared_tokens == 0 || store_->length(j.sequence) < j.g.shared_tokens) return;
      group& g = groups_[j.g.group];
      if (!std::exchange(g.pinned, true)) g.ticket = store_->pin(j.known().first(j.g.shared_tokens));
    }
  }
  /// A member of a planned group arrives or has left; the prefix stays while any of them lives.
  void joined(const job& j) {
    if (j.g.group != 0) ++groups_[j.g.group].members;
  }
  void left(const job& j) {
    const auto at = groups_.find(j.g.group);
    if (j.g.group == 0 || at == groups_.end() || --at->second.members != 0) return;
    unpin(at->second);
    groups_.erase(at);
  }
  /// `to` goes on from the rows of `from` if there is room for a copy; it gives way until it is admitted.
  void fork(const job& from, request_id id, job& to) {
    if constexpr (ForkingStore<Store>)
      if (from.open && !from.away && store_->fork(from.sequence, to.sequence)) to.open = true, parked_.push_back(id);
  }
  void forget(request_id id, job& j) {
    std::erase(parked_, id);
    close(j);
  }
  void close(job& j) {
    j.away = false;
    if (std::exchange(j.open, false)) store_->close(j.sequence);
  }

 private:
  struct group {
    std::uint32_t members = 0;
    bool pinned = false;
    std::uint64_t ticket = 0;
  };

  void unpin(const group& g) {
    if constexpr (PrefixStore<Store>)
      if (g.pinned) store_->unpin(g.ticket);
  }
  status open(job& j) {
    const status s = with_room([&] {
      if constexpr (PrefixStore<Store>) {
        if (std::as_const(*store_).coming(j.known())) return status{errc::not_ready, "prefix that another request computes"};
        return store_->open(j.known(), j.sequence);
      } else {
        return store_->open(j.sequence);
      }
    });
    j.open = static_cast<bool>(s);
    if constexpr (PromptedStore<Store>)
      if (s)
        if (const status told = store_->announce(j.sequence, j.prompt_tokens); !told) return close(j), told;
    return s;
  }
  /// ok also when its rows were lost: they are computed again then.
  status come_back(job& j) {
    if constexpr (SwappingStore<Store>) {
      const status s = with_room([&] { return store_->swap_in(j.sequence); });
      if (s.code == errc::out_of_pages || s.code == errc::not_ready) return s;
      if (s) j.away = false;
      else close(j);
    }
    return {};
  }
  /// What `take` says once no copy that only waits holds what it needs: a waiting fork is a saving, not a claim.
  template <class F>
  status with_room(F&& take) {
    for (;;) {
      const status s = take();
      if (s.code != errc::out_of_pages || parked_.empty()) return s;
      close(jobs_->at(parked_.back()));
      parked_.pop_back();
    }
  }

  job_map* jobs_;
  Store* store_;
  std::vector<request_id> parked_;  ///< forks that wait for a seat, oldest first
  std::unordered_map<std::uint32_t, group> groups_;
};

}  // namespace quire::inline v0::serve
