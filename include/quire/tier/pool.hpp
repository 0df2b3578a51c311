// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "../core/status.hpp"
#include "huge_pages.hpp"

namespace quire::inline v0::tier {

/// Equal slots of bytes somewhere: on a device, in host memory, in a file. `read` and `write` take adjacent slots from `slot` on,
/// a whole number of them. Calls on different slots may come from different threads. Who owns which slot is not a pool's matter.
/// fails: out_of_range (no such slots), corrupt (a slot does not hold what was written; `value` is the first such), io.
template <class P>
concept Pool = requires(P p, const P c, std::uint32_t slot, std::span<std::byte> to, std::span<const std::byte> from) {
  { c.slots() } noexcept -> std::same_as<std::uint32_t>;
  { c.slot_bytes() } noexcept -> std::same_as<std::size_t>;
  { p.read(slot, to) } noexcept -> std::same_as<status>;
  { p.write(slot, from) } noexcept -> std::same_as<status>;
};
/// A pool whose slots have addresses, one behind the other.
template <class P>
concept MappedPool = Pool<P> && requires(P p, std::uint32_t slot) {
  { p.at(slot) } noexcept -> std::same_as<std::byte*>;
};

/// Whether [slot, slot + bytes / slot_bytes) are whole slots of a pool.
inline status check_slots(std::uint32_t slot, std::size_t bytes, std::uint32_t slots, std::size_t slot_bytes) noexcept {
  if (slot_bytes == 0 ? bytes != 0 : bytes % slot_bytes != 0)
    return {errc::out_of_range, "bytes of whole slots", static_cast<std::int64_t>(bytes), static_cast<std::int64_t>(slot_bytes), static_cast<std::int64_t>(slot_bytes)};
  const std::uint64_t end = slot + std::uint64_t{slot_bytes == 0 ? 0 : bytes / slot_bytes};
  if (end > slots) return {errc::out_of_range, "slot", static_cast<std::int64_t>(end) - 1, 0, std::int64_t{slots} - 1};
  return {};
}

/// Slots in memory: its own, or borrowed from whoever owns them (the arena of a store's page pool, which on a CPU is the device).
/// throws (constructor that owns): std::bad_alloc. test: tests/tier/pool.cpp
class memory_pool {
 public:
  memory_pool(std::uint32_t slots, std::size_t slot_bytes) : slots_(slots), slot_bytes_(slot_bytes), owned_(slot_bytes * slots), base_(owned_.data()) {}
  memory_pool(std::byte* base, std::uint32_t slots, std::size_t slot_bytes) noexcept : slots_(slots), slot_bytes_(slot_bytes), base_(base) {}

  std::uint32_t slots() const noexcept { return slots_; }
  std::size_t slot_bytes() const noexcept { return slot_bytes_; }
  std::byte* at(std::uint32_t slot) noexcept { return base_ + slot * slot_bytes_; }
  status read(std::uint32_t slot, std::span<std::byte> to) noexcept {
    const status s = check_slots(slot, to.size(), slots_, slot_bytes_);
    if (s && !to.empty()) std::memcpy(to.data(), at(slot), to.size());
    return s;
  }
  status write(std::uint32_t slot, std::span<const std::byte> from) noexcept {
    const status s = check_slots(slot, from.size(), slots_, slot_bytes_);
    if (s && !from.empty()) std::memcpy(at(slot), from.data(), from.size());
    return s;
  }

 private:
  std::uint32_t slots_ = 0;
  std::size_t slot_bytes_ = 0;
  huge_block owned_;
  std::byte* base_ = nullptr;
};
static_assert(MappedPool<memory_pool>);

/// Any pool, by reference: what links move bytes between. Copyable; the pool outlives it and does not move.
class pool_ref {
 public:
  template <Pool P>
    requires(!std::same_as<std::remove_cv_t<P>, pool_ref>)
  pool_ref(P& pool) noexcept : object_(&pool), slots_(pool.slots()), slot_bytes_(pool.slot_bytes()) {
    read_ = [](void* p, std::uint32_t slot, std::span<std::byte> to) noexcept { return static_cast<P*>(p)->read(slot, to); };
    write_ = [](void* p, std::uint32_t slot, std::span<const std::byte> from) noexcept { return static_cast<P*>(p)->write(slot, from); };
    if constexpr (MappedPool<P>) base_ = slots_ != 0 ? pool.at(0) : nullptr, mapped_ = true;
  }
  std::uint32_t slots() const noexcept { return slots_; }
  std::size_t slot_bytes() const noexcept { return slot_bytes_; }
  bool mapped() const noexcept { return mapped_; }
  std::byte* at(std::uint32_t slot) noexcept { return base_ + slot * slot_bytes_; }
  status read(std::uint32_t slot, std::span<std::byte> to) noexcept { return read_(object_, slot, to); }
  status write(std::uint32_t slot, std::span<const std::byte> from) noexcept { return write_(object_, slot, from); }

 private:
  void* object_ = nullptr;
  status (*read_)(void*, std::uint32_t, std::span<std::byte>) noexcept = nullptr;
  status (*write_)(void*, std::uint32_t, std::span<const std::byte>) noexcept = nullptr;
  std::byte* base_ = nullptr;
  std::uint32_t slots_ = 0;
  std::size_t slot_bytes_ = 0;
  bool mapped_ = false;
};
static_assert(MappedPool<pool_ref>);

/// Copies adjacent slots from one pool to another, straight: one of both has addresses.
/// fails: unsupported_shape (slots of different sizes, neither pool mapped), out_of_range, corrupt, io.
inline status copy_slots(pool_ref from, std::uint32_t first, pool_ref to, std::uint32_t at, std::uint32_t slots) noexcept {
  const std::size_t bytes = slots * from.slot_bytes();
  if (from.slot_bytes() != to.slot_bytes())
    return {errc::unsupported_shape, "bytes of a slot", static_cast<std::int64_t>(from.slot_bytes()), static_cast<std::int64_t>(to.slot_bytes()), static_cast<std::int64_t>(to.slot_bytes())};
  if (from.mapped()) {
    if (status s = check_slots(first, bytes, from.slots(), from.slot_bytes()); !s) return s;
    return to.write(at, {from.at(first), bytes});
  }
  if (!to.mapped()) return {errc::unsupported_shape, "mapped pools of a copy", 0, 1, 2};
  if (status s = check_slots(at, bytes, to.slots(), to.slot_bytes()); !s) return s;
  return from.read(first, {to.at(at), bytes});
}

}  // namespace quire::inline v0::tier
