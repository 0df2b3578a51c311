// SPDX-License-Identifier: Apache-2.0
// One kernel on one step, whatever its codec and head size: what the sweep times. Units of kernels (decode.cu, chunk.cu, append.cu, each
// compiled for every codec and head size) put themselves into the registry.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "machine.cuh"
#include "workload.hpp"

namespace device_bench {

struct plan_facts {
  std::uint32_t workers = 0, items = 0;
  double microseconds = 0;   ///< making it on the host
  double occupancy = 0;      ///< of the makespan model; 0: it has none for this plan
};

class arm {
 public:
  virtual ~arm() = default;
  /// Plans by name that it can be given.
  virtual std::vector<std::string> plans() const = 0;
  virtual plan_facts plan(const std::string& name) = 0;
  /// Fills the result with NaNs, so that what no launch writes is found.
  virtual void spoil() {}
  /// One layer's launch, and nothing else.
  virtual quire::status launch(std::uint32_t layer) = 0;
  /// Largest ‖out − reference‖ / ‖reference‖ over rows of `layer` that it picks, after a launch of it. NaN counts as infinite.
  virtual double error(std::uint32_t layer) = 0;
  /// Bytes of the last launch's result, to be compared with those of another plan.
  virtual std::vector<std::byte> result() = 0;

  std::uint64_t bytes = 0;        ///< of keys and values that one launch must read (append: write)
  double products = 0;            ///< floating-point operations of one launch
  std::uint64_t held_bytes = 0;   ///< device memory that launches of all layers touch
  std::uint32_t layers = 1;
  std::uint32_t resident_blocks = 0, shared_bytes = 0;
};

/// ‖a − b‖ / ‖b‖ of the rows of one result.
class relative_error {
 public:
  void add(double got, double want) noexcept { difference_ += (got - want) * (got - want), size_ += want * want; }
  double value() const noexcept {
    const double e = size_ > 0 ? difference_ / size_ : difference_;
    return e == e ? std::sqrt(e) : std::numeric_limits<double>::infinity();
  }

 private:
  double difference_ = 0, size_ = 0;
};
/// What rounding of queries, weights and outputs to bf16 makes of it is below a third of this. A row that misses one of its n tiles is off
/// by about 1/√n, so short rows are looked at too, and bits are compared between plans.
inline constexpr double allowed_error = 0.03;

struct kernel_entry {
  std::string part, codec;
  std::uint32_t head_dim = 0;
  std::uint64_t (*layer_bytes)(const workload& w) = nullptr;   ///< device memory for each layer
  std::unique_ptr<arm> (*make)(machine& m, const workload& w) = nullptr;
  /// Of a block; of a place in its ring; places, and how few there may be; of a sealed tile.
  std::uint32_t shared_bytes = 0, place_bytes = 0, tiles = 0, least_tiles = 0, tile_bytes = 0;
};

/// Filled before main by the units that are linked in.
inline std::vector<kernel_entry>& registry() {
  static std::vector<kernel_entry> all;
  return all;
}
struct registered {
  explicit registered(kernel_entry e) { registry().push_back(std::move(e)); }
};
/// Decodes, small shapes and shared prefixes are one unit. throws std::runtime_error: no such kernel.
inline const kernel_entry& find_kernel(const workload& w) {
  const std::string part = w.part == "cascade" || w.part == "small" ? "decode" : w.part;
  for (const kernel_entry& e : registry())
    if (e.part == part && e.codec == w.codec && e.head_dim == w.head_dim) return e;
  throw std::runtime_error("no kernel for " + w.words());
}

}  // namespace device_bench
