// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "../axes.hpp"
#include "../id_table.hpp"

namespace quire::inline v0::schedule::order {

struct tenant_weight {
  std::uint32_t tenant = 0;
  double weight = 1;
};
/// What service costs, and whose counts for how much.
struct fair_options {
  double input = 1;                      ///< per prompt token
  double output = 2;                     ///< per generated token
  std::vector<tenant_weight> weights{};  ///< 1 for who is not named; twice the weight, twice the service
};

/// Virtual token counters: the service each flow (a tenant, or a tenant in a class) has received, divided by its
/// weight. A flow that comes back from having nothing waiting is lifted to the least counter of those that wait, so
/// idling earns nothing; when nobody waits, to the counter of the flow that waited last. Memory for every flow with a
/// live request and as many idle ones; beyond that the idle flow with the least counter is forgotten, which the lift
/// makes good. `arrived` answers an index that stays while the flow has live requests. cost: O(1), O(flows) when a flow
/// comes back. from: VTC (OSDI 2024, arXiv:2401.00588); test: tests/schedule/order/service_counters.cpp
class service_counters {
 public:
  explicit service_counters(fair_options o = {}) : options_(std::move(o)) {}

  void prepare(std::uint32_t requests) {
    flows_.clear();
    flows_.reserve(std::size_t{requests} * 2);
    index_ = id_table(requests * 2);
  }
  /// A request of `flow` waits. `rivals(key)`: whether a flow is one that `flow` is compared with.
  template <class Rivals>
  std::uint32_t arrived(std::uint64_t flow, std::uint32_t tenant, Rivals rivals) noexcept {
    const std::uint32_t i = open(flow, tenant);
    account& x = flows_[i];
    if (x.waiting == 0) {
      double least = std::numeric_limits<double>::infinity();
      for (const account& y : flows_)
        if (y.waiting > 0 && rivals(y.key)) least = std::min(least, y.counter);
      if (std::isinf(least)) {  // nobody waits: as far as who waited last
        std::uint64_t last = 0;
        for (const account& y : flows_)
          if (rivals(y.key) && y.emptied > last) last = y.emptied, least = y.counter;
      }
      if (std::isfinite(least)) x.counter = std::max(x.counter, least);
    }
    ++x.waiting, ++x.live;
    return i;
  }
  /// Its pages are there: its prompt is charged, but not again after a preemption.
  void admitted(std::uint64_t i, const request& r) noexcept {
    stop_waiting(i);
    if (r.so_far.preemptions == 0) charge(i, options_.input * r.prompt_tokens);
  }
  void preempted(std::uint64_t i) noexcept { ++flows_[i].waiting; }
  void served(std::uint64_t i, const request& r, std::uint32_t tokens) noexcept {
    if (r.so_far.computed + tokens == r.known_tokens()) charge(i, options_.output);
  }
  void left(std::uint64_t i, const request& r) noexcept {
    if (!r.so_far.running) stop_waiting(i);
    --flows_[i].live;
  }

  double operator[](std::uint64_t i) const noexcept { return flows_[i].counter; }
  /// The counter of a flow; 0 if it is not known.
  double of(std::uint64_t flow) const noexcept {
    const std::uint32_t i = index_.find(flow);
    return i == id_table::none ? 0 : flows_[i].counter;
  }
  status valid() const noexcept {
    const auto cost = [](double c) { return c >= 0 && std::isfinite(c); };
    if (!cost(options_.input) || !cost(options_.output))
      return {errc::out_of_range, "fair_options.input or output (negative or not finite)", 0};
    for (const tenant_weight& w : options_.weights)
      if (!(w.weight > 0) || std::isinf(w.weight))
        return {errc::out_of_range, "fair_options.weights: a weight of tenant (not positive and finite)", w.tenant};
    return {};
  }

 private:
  struct account {
    std::uint64_t key = 0;
    double counter = 0, weight = 1;
    std::uint64_t emptied = 0;  ///< when its last waiting request stopped waiting
    std::uint32_t waiting = 0, live = 0;
  };

  void charge(std::uint64_t i, double cost) noexcept { flows_[i].counter += cost / flows_[i].weight; }
  void stop_waiting(std::uint64_t i) noexcept {
    if (--flows_[i].waiting == 0) flows_[i].emptied = ++clock_;
  }
  std::uint32_t open(std::uint64_t flow, std::uint32_t tenant) noexcept {
    std::uint32_t i = index_.find(flow);
    if (i != id_table::none) return i;
    if (flows_.size() < flows_.capacity()) {
      i = static_cast<std::uint32_t>(flows_.size());
      flows_.push_back({});
    } else {  // fewer live requests than accounts: one is idle
      for (std::uint32_t j = 0; j < flows_.size(); ++j)
        if (flows_[j].live == 0 && (i == id_table::none || flows_[j].counter < flows_[i].counter)) i = j;
      index_.erase(flows_[i].key);
    }
    flows_[i] = {.key = flow};
    for (const tenant_weight& w : options_.weights)
      if (w.tenant == tenant) flows_[i].weight = w.weight;
    index_.insert(flow, i);
    return i;
  }

  fair_options options_;
  std::vector<account> flows_;
  id_table index_{0};
  std::uint64_t clock_ = 0;
};

}  // namespace quire::inline v0::schedule::order
