// SPDX-License-Identifier: Apache-2.0
// Heads that keep the mean of what they drop: sums and mean tokens of a step on a device, and rows that read them.
#pragma once

#include "attention/cuda/fixture.hpp"
#include "catch.hpp"

namespace settle_check {

using namespace cuda_fixture;

/// Host memory that a store takes for a device's: it leaves what stands there to kernels.
class far_memory final : public tier::memory {
 public:
  std::byte* allocate(std::size_t bytes) override { return static_cast<std::byte*>(::operator new(bytes, std::align_val_t{256})); }
  void release(std::byte* at) noexcept override { ::operator delete(at, std::align_val_t{256}); }
  void clear(std::byte* to, std::size_t bytes) noexcept override { std::memset(to, 0, bytes); }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept override { std::memcpy(to, from, bytes); }
  status write(std::byte* to, std::span<const std::byte> from) noexcept override { return std::memcpy(to, from.data(), from.size()), status{}; }
  status read(const std::byte* from, std::span<std::byte> to) noexcept override { return std::memcpy(to.data(), from, to.size()), status{}; }
  status failure() const noexcept override { return {}; }
};

/// Sums as the CPU makes them (equal on the emulator, where the order is the CPU's and nothing is fused), and rows within `bound` of the double reference.
template <class Sealed, std::uint32_t Rows>
void check(double bound) {
  using L = kv::head_split<Sealed, kv::raw_bf16, kv::remainder::mean_token>;
  constexpr std::uint32_t dim = 64;
  const extents e{2, 2, dim};
  const kv::head_classes classes(e, std::vector<std::uint8_t>{0, 1, 1, 0});  // of the step's layer head 1 drops
  const L layout(e, classes, kv::retain::sinks_window{.sinks = 5, .window = 70});
  const attention::problem p{.q_heads = 4, .kv_heads = 2, .dim_k = dim, .dim_v = dim};
  far_memory memory;
  step<L> s(layout, p, 7, 600, &memory);
  s.add(500, 1, 1);
  s.add(250, 71, 2);    // drops tiles between its own
  s.add(319, 1, 3);     // fills a tile
  s.add(60, 0, 4);
  s.add(3, 2, 5);       // drops nothing
  s.add_whole(330, 60, 6);   // sums what its prompt dropped, and then a tile more
  s.add_whole(128, 1, 7);    // the prompt's end lets nothing go
  const device_cache<L> cache(s.store());
  any_plan plan(s, Rows);
  plan.cut_evenly(3);
  const auto out = run<cuda::attend<L, dim, Rows>>(s, cache, plan);
  INFO("largest error " << worst(s, out));
  CHECK(worst(s, out) < bound);
  for (std::uint32_t n = 0; n < s.spans().size(); ++n) {
    const query_span& span = s.spans()[n];
    const auto want = s.sums(span, (span.first + span.count) / tile_tokens), got = cache.state(n).download();
    CAPTURE(n);
    if (device_test::emulated) CHECK((got == want));
    for (std::size_t i = 0; i < want.size() / sizeof(float); ++i) {
      const float a = reinterpret_cast<const float*>(want.data())[i], b = reinterpret_cast<const float*>(got.data())[i];
      if (!(std::fabs(a - b) <= 1e-4f * (1 + std::fabs(a)))) FAIL("sum " << i << ": " << b << " for " << a);
    }
  }
}

}  // namespace settle_check
