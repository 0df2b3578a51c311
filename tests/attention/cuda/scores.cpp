// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/scores.cuh"

#include <cstring>

#include "catch.hpp"
#include "device/memory.hpp"
#include "quire/attention/problem.hpp"
#include "quire/kv/layout/overlay.hpp"
#include "quire/kv/view.hpp"

using namespace quire;
using device_test::device_array;
namespace cuda = attention::cuda;

namespace {

using L = kv::overlay<kv::paged<kv::raw_bf16>, kv::rest::drop>;

/// What a keeper needs of a call.
struct some_call {
  kv::store_view<L> view;
  attention::problem shape;
  std::uint32_t layer = 0;
  attention::plan_view plan;
  cuda::score_rows scores;
};
struct described {
  std::int32_t position;
  std::uint32_t exact;
};

/// A thread for each row of each item: the cells of exact tile 1, and where tokens of three tiles stood.
__global__ void keep(const __grid_constant__ some_call c, std::uint32_t* positions) {
  const attention::plan_item& item = c.plan.items[blockIdx.x];
  const cuda::score_keeper<some_call> k(c, item);
  if (!k.has(threadIdx.x)) return;
  const float value = static_cast<float>(blockIdx.x * 16 + threadIdx.x);
  for (std::uint32_t token = 0; token < tile_tokens; token += 2) k.keep(threadIdx.x, 1, token, value, static_cast<float>(token));
  k.keep_top(threadIdx.x, 1, -value), k.keep_sums(threadIdx.x, value, 2 * value);
  if (blockIdx.x == 0 && threadIdx.x == 0) positions[0] = k.position(described{640, cuda::not_exact}, 3), positions[1] = k.position(described{640, 0}, 3), positions[2] = k.position(described{640, 2}, 3);
}

}  // namespace

TEST_CASE("cuda scores: every row of a step has its own cells, and overlay tokens stand where they were appended") {
  const L layout(kv::paged<kv::raw_bf16>({1, 2, 16}), {}, 256);
  constexpr std::uint32_t rows = 5, tiles = 3;
  const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = 16, .dim_v = 16};
  const std::vector<attention::query_span> spans{{0, 70, 2, 7}, {1, 10, 3, 30}};   // rows of a step lie anywhere
  std::vector<attention::plan_item> items(2);
  static_cast<attention::work_item&>(items[0]) = {0, 0, 71, 1, {}};   // of the first span the second row alone
  static_cast<attention::work_item&>(items[1]) = {1, 1, 10, 3, {}};
  const device_array<attention::query_span> device_spans(spans, "spans");
  const device_array<attention::plan_item> device_items(items, "items");
  const device_array<std::uint32_t> first(std::vector<std::uint32_t>{0, 2}, "first rows");
  const std::size_t bytes = cuda::score_rows::bytes(rows, p.q_heads, tiles);
  device_array<std::byte> memory(std::vector<std::byte>(bytes), "scores");
  std::vector<std::byte> page(2 * kv::overlay_page_bytes(layout));
  auto* const stood = reinterpret_cast<std::uint32_t*>(page.data() + kv::overlay_page_bytes(layout) + layout.raw().piece_bytes(16));
  stood[3] = 41;   // of head 0
  const device_array<std::byte> overlay(page, "overlays");
  const device_array<std::uint32_t> table(std::vector<std::uint32_t>{0, 1}, "overlay table");
  kv::store_view<L>::record record;
  record.overlay = table.data();
  const device_array<kv::store_view<L>::record> records(std::vector{record}, "sequences");
  some_call c{.view = {.layout = layout}, .shape = p, .layer = 0, .plan = {}, .scores = cuda::score_rows::in(memory.data(), rows, p.q_heads, tiles)};
  c.view.overlay_base = const_cast<std::byte*>(overlay.data()), c.view.sequences = records.data();
  c.plan.items = device_items.data(), c.plan.spans = device_spans.data(), c.scores.first = first.data();
  device_array<std::uint32_t> positions(3, "positions");
  const status launched = device::launch(&keep, {.blocks = 2, .threads = 16}, {}, c, positions.data());
  device_test::finish();
  REQUIRE(launched);
  CHECK(positions.download() == std::vector<std::uint32_t>{643, 643, 41});
  const auto got = memory.download();
  const auto* const weights = reinterpret_cast<const std::uint16_t*>(got.data());
  const auto host = cuda::score_rows::in(const_cast<std::byte*>(got.data()), rows, p.q_heads, tiles);
  CHECK(reinterpret_cast<const std::byte*>(host.tops + rows * p.q_heads * tiles) == got.data() + bytes);   // as many bytes as it says
  for (std::uint32_t r = 0; r < rows * p.q_heads; ++r) {
    const bool first_item = r / 6 == 1 && r % 6 < 3, mine = first_item || (r / 6 >= 2 && r % 6 >= 3);   // row 1 of the first kv head, rows 2 to 4 of the second
    const float value = static_cast<float>(first_item ? r % 6 : 16 + (r / 6 - 2) * 3 + r % 6 - 3);
    CAPTURE(r);
    for (std::uint32_t t = 0; t < tiles; ++t)
      for (std::uint32_t j = 0; j < tile_tokens; ++j) {
        const float want = !mine || t != 1 ? 0.0f : j % 2 == 0 ? value : static_cast<float>(j - 1);
        if (f16{weights[(r * tiles + t) * tile_tokens + j]}.to_float() != want) FAIL("tile " << t << ", token " << j);
      }
    CHECK(host.tops[r * tiles + 1] == (mine ? -value : 0.0f));
    CHECK((host.states[r].m == (mine ? value : 0.0f) && host.states[r].l == (mine ? 2 * value : 0.0f)));
  }
}
