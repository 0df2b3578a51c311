// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <utility>
#include <variant>

#include "axes.hpp"

namespace quire::inline v0::schedule {

/// A run-time choice among models of one axis, itself a model of that axis: for programs whose flags choose the policy.
/// Default: the first. Hooks are those of the alternatives together; one that lacks a hook behaves as if it had none.
/// What is fixed at compile time holds for all: waiting requests are kept by tenant if one alternative is a TenantOrder
/// (the others then pay O(tenants) per admission), a counted memory is needed if one alternative needs it. The choice
/// is made before the scheduler is constructed. test: tests/schedule/one_of.cpp
template <class... Ms>
class one_of {
  static constexpr bool orders = (Order<Ms> && ...);
  static constexpr bool batchings = (Batching<Ms> && ...);
  static constexpr bool admissions = (Admission<Ms> && ...);
  static constexpr bool victims = (Victim<Ms> && ...);
  static constexpr bool preemptions = (Preemption<Ms> && ...);
  static_assert(orders || batchings || admissions || victims || preemptions,
                "quire::schedule::one_of: the alternatives are not all models of one axis");
  static_assert(((detail::order_hooks_well_formed<Ms>() && detail::batching_hooks_well_formed<Ms>() &&
                  detail::axis_hooks_well_formed<Ms>()) &&
                 ...),
                "quire::schedule::one_of: a hook of an alternative has the wrong signature, see axes.hpp");

 public:
  static constexpr bool by_tenant = (TenantOrder<Ms> || ...);
  static constexpr bool counts_rows = (RowCountingAxis<Ms> || ...);

  one_of() = default;
  template <class T>
  requires(std::same_as<T, Ms> || ...) one_of(T chosen) : chosen_(std::move(chosen)) {}

  /// The alternative of this type, or null when another is chosen.
  template <class T>
  const T* get_if() const noexcept {
    return std::get_if<T>(&chosen_);
  }
  std::size_t index() const noexcept { return chosen_.index(); }

  bool admit_before(const request& a, const request& b) const noexcept requires orders {
    return visit([&](const auto& m) { return m.admit_before(a, b); });
  }
  std::uint64_t version() const noexcept requires(VersionedOrder<Ms> || ...) {
    return visit([](const auto& m) -> std::uint64_t {
      if constexpr (requires { m.version(); }) return m.version();
      else return 0;
    });
  }
  bool yields(const request& a, const request& b) const noexcept requires(YieldingOrder<Ms> || ...) {
    return visit([&](const auto& m) {
      if constexpr (requires { m.yields(a, b); }) return m.yields(a, b);
      else return false;
    });
  }
  void prepare(std::uint32_t requests) requires(PreparedOrder<Ms> || ...) {
    visit([&](auto& m) {
      if constexpr (requires { m.prepare(requests); }) m.prepare(requests);
    });
  }
  std::uint64_t arrived(const request& r) noexcept requires(ArrivalOrder<Ms> || ...) {
    return visit([&](auto& m) -> std::uint64_t {
      if constexpr (requires { m.arrived(r); }) return m.arrived(r);
      else return 0;
    });
  }
  void admitted(const request& r) noexcept requires(WatchingOrder<Ms> || ...) {
    visit([&](auto& m) {
      if constexpr (requires { m.admitted(r); }) m.admitted(r);
    });
  }
  void preempted(const request& r) noexcept requires(WatchingOrder<Ms> || ...) {
    visit([&](auto& m) {
      if constexpr (requires { m.preempted(r); }) m.preempted(r);
    });
  }
  void left(const request& r) noexcept requires(WatchingOrder<Ms> || ...) {
    visit([&](auto& m) {
      if constexpr (requires { m.left(r); }) m.left(r);
    });
  }
  void served(const request& r, std::uint32_t tokens) noexcept requires(ServedOrder<Ms> || ...) {
    visit([&](auto& m) {
      if constexpr (requires { m.served(r, tokens); }) m.served(r, tokens);
    });
  }

  schedule::shape shape(const load& l) const noexcept requires batchings {
    return visit([&](const auto& m) { return m.shape(l); });
  }
  std::uint32_t chunk(const request& r, std::uint32_t room, std::uint32_t used) const noexcept
      requires(ChunkingBatching<Ms> || ...) {
    return visit([&](const auto& m) {
      if constexpr (requires { m.chunk(r, room, used); }) return m.chunk(r, room, used);
      else return room;
    });
  }
  std::uint64_t cost(std::uint32_t begin, std::uint32_t count) const noexcept requires(CostingBatching<Ms> || ...) {
    return visit([&](const auto& m) -> std::uint64_t {
      if constexpr (requires { m.cost(begin, count); }) return m.cost(begin, count);
      else return count;
    });
  }
  verdict judge(const request& r, std::uint64_t need, const load& l) const noexcept requires(Admission<Ms> || ...) {
    return visit([&](const auto& m) -> verdict {
      if constexpr (requires { m.judge(r, need, l); }) return m.judge(r, need, l);
      else return {};
    });
  }
  std::uint32_t horizon() const noexcept requires(ForesightedAxis<Ms> || ...) {
    return visit([](const auto& m) -> std::uint32_t {
      if constexpr (requires { m.horizon(); }) return m.horizon();
      else return 0;
    });
  }
  bool evict_before(const request& a, const request& b) const noexcept requires victims {
    return visit([&](const auto& m) { return m.evict_before(a, b); });
  }
  preemption_kind kind(const request& r) const noexcept requires preemptions {
    return visit([&](const auto& m) { return m.kind(r); });
  }
  status valid() const noexcept requires(ValidatedAxis<Ms> || ...) {
    return visit([](const auto& m) -> status {
      if constexpr (requires { m.valid(); }) return m.valid();
      else return {};
    });
  }

 private:
  template <class F>
  decltype(auto) visit(F f) const {
    return std::visit(f, chosen_);
  }
  template <class F>
  decltype(auto) visit(F f) {
    return std::visit(f, chosen_);
  }
  std::variant<Ms...> chosen_;
};

}  // namespace quire::inline v0::schedule
