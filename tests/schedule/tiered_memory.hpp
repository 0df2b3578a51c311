// SPDX-License-Identifier: Apache-2.0
// A memory with every hook: a host tier that can be full, transfers that take time both ways, shared prefixes that are
// there already or still being computed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "fake_memory.hpp"

namespace test {

struct tiered_memory : fake_memory {
  using request_id = quire::schedule::request_id;
  using kind = quire::schedule::preemption_kind;

  std::uint32_t host_rows = 0;                 ///< of the other tier
  std::uint32_t delay = 0;                     ///< ticks a transfer takes
  std::map<request_id, std::uint32_t> hits{};  ///< rows of a shared prefix, whole pages; counted as the request's own
  std::map<request_id, std::uint32_t> unready{};                   ///< admissions that are still told not_ready
  std::map<request_id, std::uint32_t> computed{};                  ///< told by the test after each step
  std::map<request_id, std::uint32_t> kept{};                      ///< rows on the host
  std::map<request_id, std::uint64_t> arrives{};                   ///< when swapped-in rows can be read
  std::vector<std::pair<std::uint64_t, std::uint32_t>> leaving{};  ///< when, pages
  std::uint64_t tick = 0, swaps = 0, refused_swaps = 0, early = 0;

  void pass_time() {
    ++tick;
    std::erase_if(leaving, [&](const auto& l) { return l.first <= tick ? outside -= l.second, true : false; });
  }
  std::uint32_t host_used() const {
    std::uint32_t n = 0;
    for (const auto& [id, r] : kept) n += r;
    return n;
  }
  std::uint64_t leaving_tokens() const {
    std::uint64_t soon = 0;
    for (const auto& l : leaving) soon += l.second;
    return soon * page_tokens;
  }
  quire::status admit(request_id id) {
    misused |= rows.count(id) != 0;
    if (const auto at = unready.find(id); at != unready.end() && at->second > 0)
      return --at->second, quire::status{quire::errc::not_ready, "prefix"};
    const std::uint32_t have = resident(id);
    if (used + outside + pages_for(have) > pages)
      return {quire::errc::out_of_pages, "pages", pages_for(have), 0, pages - used - outside};
    used += pages_for(have);
    rows[id] = have;
    if (kept.count(id)) arrives[id] = tick + delay, ++swaps;
    return {};
  }
  std::uint32_t resident(request_id id) {
    const auto k = kept.find(id), h = hits.find(id);
    return std::max(k == kept.end() ? 0u : k->second, h == hits.end() ? 0u : h->second);
  }
  bool ready(request_id id) {
    const auto at = arrives.find(id);
    if (at == arrives.end()) return true;
    if (at->second > tick) return ++early, false;
    arrives.erase(at);
    return true;
  }
  kind preempt(request_id id, kind wanted) {
    misused |= rows.count(id) == 0;
    const std::uint32_t pages_held = pages_for(rows[id]), whole = computed[id] / page_tokens * page_tokens;
    const std::uint32_t clean = kept.count(id) ? kept[id] : 0;
    kind did = wanted;
    if (wanted == kind::swap && host_used() + std::max(whole, clean) - clean > host_rows)
      did = kind::recompute, ++refused_swaps;
    if (did == kind::swap) {
      kept[id] = std::max(clean, whole);
      if (delay > 0 && whole > clean) outside += pages_held, leaving.push_back({tick + delay, pages_held});
    } else {
      kept.erase(id);
    }
    arrives.erase(id);
    fake_memory::release(id);
    return did;
  }
  void release(request_id id) {
    kept.erase(id);
    arrives.erase(id);
    computed.erase(id);
    fake_memory::release(id);
  }
  std::uint64_t capacity_tokens() const { return std::uint64_t{pages} * page_tokens; }
  std::uint64_t free_tokens() const { return std::uint64_t{pages - used - outside} * page_tokens; }
};

static_assert(quire::schedule::AdmittingMemory<tiered_memory> && quire::schedule::ResidentMemory<tiered_memory> &&
              quire::schedule::ReadyMemory<tiered_memory> && quire::schedule::PreemptingMemory<tiered_memory> &&
              quire::schedule::CountedMemory<tiered_memory> && quire::schedule::LeavingMemory<tiered_memory>);

}  // namespace test
