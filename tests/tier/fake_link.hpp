// SPDX-License-Identifier: Apache-2.0
// A link that does what the contract allows and nobody hopes for: copies land late, out of order and sometimes not at all; bytes
// are read at the last moment, and a failed copy leaves rubbish. It watches that nobody touches what it is still working on.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "quire/tier/link.hpp"
#include "quire/tier/pool.hpp"

namespace tier_test {

using namespace quire;

class fake_link {
 public:
  struct options {
    unsigned seed = 1;
    double failing = 0;           ///< share of copies that fail
    std::uint32_t delay = 5;      ///< polls a copy takes at most
    std::uint32_t capacity = 8;
  };
  fake_link(std::span<const tier::pool_ref> pools, const options& o) : pools_(pools.begin(), pools.end()), options_(o), random_(o.seed) {}

  bool start(std::uint32_t id, const tier::copy& c, double) noexcept {
    if (moving.size() == options_.capacity || below(16) == 0) return false;
    for (const flight& f : moving)
      if (touches(f.what.to, f.what.slots, c.from, c.slots) || touches(f.what.to, f.what.slots, c.to, c.slots) || touches(f.what.from, f.what.slots, c.to, c.slots)) ++violations;
    flight f{id, c, below(options_.delay + 1), bytes_of(c.from, c.slots), bytes_of(c.to, c.slots)};
    moving.push_back(std::move(f));
    ++started;
    return true;
  }
  std::optional<tier::landing> poll(double) noexcept {
    for (flight& f : moving) f.left -= f.left != 0;
    if (moving.empty() || below(3) == 0) return std::nullopt;
    const std::size_t at = below(static_cast<std::uint32_t>(moving.size()));
    if (moving[at].left != 0) return std::nullopt;
    return land(at);
  }
  double wait(double now) noexcept {
    for (flight& f : moving) f.left = 0;
    return now;
  }
  /// Whether a copy under way writes (or, with `reads`, also reads) the slot.
  bool busy(tier::place at, bool reads) const {
    for (const flight& f : moving)
      if (touches(f.what.to, f.what.slots, at, 1) || (reads && touches(f.what.from, f.what.slots, at, 1))) return true;
    return false;
  }
  struct flight {
    std::uint32_t id;
    tier::copy what;
    std::uint32_t left;
    std::vector<std::byte> source, destination;  ///< as they were at the start
  };
  std::vector<flight> moving;
  std::uint64_t started = 0, failed = 0;
  std::uint64_t violations = 0;  ///< somebody wrote a source or a destination of a copy under way, or two copies crossed

 private:
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }
  static bool touches(tier::place a, std::uint32_t na, tier::place b, std::uint32_t nb) {
    return a.pool == b.pool && a.slot < b.slot + nb && b.slot < a.slot + na;
  }
  std::vector<std::byte> bytes_of(tier::place at, std::uint32_t slots) {
    std::vector<std::byte> bytes(slots * pools_[at.pool].slot_bytes());
    if (!pools_[at.pool].read(at.slot, bytes)) ++violations;
    return bytes;
  }
  tier::landing land(std::size_t at) {
    const flight f = std::move(moving[at]);
    moving.erase(moving.begin() + static_cast<std::ptrdiff_t>(at));
    if (bytes_of(f.what.from, f.what.slots) != f.source || bytes_of(f.what.to, f.what.slots) != f.destination) ++violations;
    tier::landing result{f.id, {}};
    if (static_cast<double>(below(1u << 20)) < options_.failing * (1u << 20)) {
      ++failed;
      result.why = {errc::io, "copy", 0, 0, 0, 5};
      if (!pools_[f.what.to.pool].write(f.what.to.slot, std::vector<std::byte>(f.source.size(), std::byte{0xdb}))) ++violations;
    } else if (!pools_[f.what.to.pool].write(f.what.to.slot, f.source)) {
      ++violations;
    }
    return result;
  }
  std::vector<tier::pool_ref> pools_;
  options options_;
  std::mt19937 random_;
};
static_assert(tier::Link<fake_link>);

}  // namespace tier_test
