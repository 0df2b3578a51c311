// SPDX-License-Identifier: Apache-2.0
// A launch of the fold that is recorded once and replayed for other steps, which only their plans in memory tell apart.
#pragma once

#include "attention/cuda/fixture.hpp"
#include "quire/core/recording.cuh"

namespace cuda_fixture {

/// Records the fold of one short sequence, replays it for more and longer ones and for fewer; rows have the bits of a launch of their own.
inline void check_replay() {
  using L = kv::paged<kv::raw_bf16>;
  using kernel = cuda::attend<L, 64, 16>;
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  constexpr std::uint32_t tokens = 2400;
  step<L> s(L({2, 2, 64}), p, 3, tokens);
  s.add(40, 1, 1), s.add(2300, 1, 2), s.add(700, 1, 3);
  const device_cache<L> cache(s.store());
  any_plan whole(s, 16);
  whole.cut_evenly(4);
  const auto want = run<kernel>(s, cache, whole);
  const std::size_t width = std::size_t{p.q_heads} * p.dim_k;

  const attention::plan_room room{.items = 8, .slots = 9, .spans = 4};
  std::vector<std::uint64_t> words(attention::plan_bytes(room) / 8 + 2);
  auto* const host = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(words.data()), attention::plan_alignment));
  device_array<std::byte> memory(attention::plan_bytes(room), "plan");
  device_array<float> q(s.queries(), "queries"), out(s.row_count() * width, "outputs");
  device_array<std::uint32_t> staged(s.staged(), "staged"), arrivals(std::vector<std::uint32_t>(room.items), "arrivals");
  const auto planned = [&](std::span<const query_span> spans) {
    attention::plan_view v;
    REQUIRE(attention::plan_step(s.layout(), p, s.layer, spans, attention::lean_split{}, {.units = room.slots, .block_rows = 16}, room, {host, memory.size()}, v));
    memory.upload({host, memory.size()});
    out.upload(std::vector<float>(out.size(), std::numeric_limits<float>::quiet_NaN()));
    return attention::bounded(attention::moved(v, host, memory.data()), room, attention::subtree_walk::depth(ceil_div(tiles_touched(tokens) + 1, piece_tiles)));
  };
  device::own_stream stream;
  REQUIRE(stream.open());
  typename kernel::call c{.view = cache.view(), .shape = p, .layer = s.layer, .plan = planned(std::span(s.spans()).first(1)), .q = q.data(), .ldq = width, .out = out.data(), .ldo = width,
                          .staging = nullptr, .staged = staged.data(), .arrivals = arrivals.data()};
  const device_array<std::byte> scratch(kernel::scratch_bytes(c.plan), "scratch");
  c.scratch = scratch.data();
  REQUIRE(kernel::launch(c, stream.get()));
  device::recording recorded;
  REQUIRE(recorded.take(stream.get(), [&] { return kernel::launch(c, stream.get()); }));

  for (const auto& [first, count] : {std::pair{0u, 1u}, {0u, 3u}, {1u, 1u}, {0u, 2u}, {2u, 1u}, {0u, 0u}}) {
    device_test::order(first + 3 * count);
    const auto again = planned(std::span(s.spans()).subspan(first, count));
    CHECK((again.items == c.plan.items && again.cuts == c.plan.cuts && again.slots == c.plan.slots && again.depth == c.plan.depth));
    REQUIRE(recorded.run(stream.get()));
    REQUIRE(device::wait(stream.get()));
    finish();
    const auto got = out.download();
    for (std::uint32_t r = 0; r < s.row_count(); ++r) {
      INFO("row " << r << " of a step of spans [" << first << ", " << first + count << ")");
      const auto at = static_cast<std::ptrdiff_t>(r * width), end = at + static_cast<std::ptrdiff_t>(width);
      if (r >= first && r < first + count) CHECK(std::equal(got.begin() + at, got.begin() + end, want.begin() + at));
      else CHECK(std::all_of(got.begin() + at, got.begin() + end, [](float x) { return x != x; }));
    }
    for (const std::uint32_t a : arrivals.download()) CHECK(a == 0);
  }
}

}  // namespace cuda_fixture
