// SPDX-License-Identifier: Apache-2.0
// A memory of equal pages that checks how the scheduler uses it.
#pragma once

#include <cstdint>
#include <map>

#include "quire/schedule/memory.hpp"

namespace test {

struct fake_memory {
  std::uint32_t pages = 0, page_tokens = 1;
  std::uint32_t used = 0, outside = 0;                          ///< outside: pages that somebody else holds
  std::map<quire::schedule::request_id, std::uint32_t> rows{};  ///< reserved, by sequence
  bool misused = false;
  quire::schedule::request_id broken = ~0ull;  ///< whose reservation meets a device error

  std::uint32_t pages_for(std::uint64_t tokens) const {
    return static_cast<std::uint32_t>((tokens + page_tokens - 1) / page_tokens);
  }
  quire::status reserve(quire::schedule::request_id id, std::uint32_t tokens) {
    misused |= tokens == 0;
    if (id == broken) return {quire::errc::device, "reserve", 0, 0, 0, 700};
    const auto at = rows.find(id);
    const std::uint32_t have = at == rows.end() ? 0 : at->second;
    const std::uint32_t more = pages_for(std::uint64_t{have} + tokens) - pages_for(have);
    if (used + outside + more > pages) return {quire::errc::out_of_pages, "pages", more, 0, pages - used - outside};
    used += more;
    rows[id] = have + tokens;
    return {};
  }
  void release(quire::schedule::request_id id) {
    const auto at = rows.find(id);
    if (at == rows.end()) return;
    used -= pages_for(at->second);
    rows.erase(at);
  }
};
static_assert(quire::schedule::Memory<fake_memory>);

/// The same, and it can say what never fits.
struct bounded_memory : fake_memory {
  quire::status fits(std::uint32_t tokens) const {
    if (pages_for(tokens) <= pages) return {};
    return {quire::errc::out_of_range, "rows of a sequence", tokens, 1, std::int64_t{pages} * page_tokens};
  }
};
static_assert(quire::schedule::BoundedMemory<bounded_memory> && !quire::schedule::BoundedMemory<fake_memory>);

}  // namespace test
