// SPDX-License-Identifier: Apache-2.0
// Needs a GPU: what CUB sums, and a captured graph that plans anew for whatever lengths lie on the device.
#include "quire/attention/cuda/cub_sums.cuh"

#include <random>

#include "device/memory.hpp"
#include "quire/kv/layout/paged.hpp"

using device_test::device_array;
using namespace quire;
using attention::plan_cut, attention::plan_item, attention::query_span;

namespace {

using layout_type = kv::paged<kv::raw_bf16>;
using planner = attention::cuda::planner<layout_type, attention::lean_split, attention::cuda::cub_sums>;

struct stream_and_graph {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  stream_and_graph() { REQUIRE(cudaStreamCreate(&stream) == cudaSuccess); }
  ~stream_and_graph() {
    if (ready) cudaGraphExecDestroy(ready);
    if (graph) cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
  }
};

}  // namespace

TEST_CASE("cuda: sums of CUB are sums") {
  if (!device_test::device_or_skip()) return;
  const attention::cuda::cub_sums sums;
  std::mt19937 random(1);
  for (const std::uint32_t n : {1u, 2u, 31u, 1000u, 70001u}) {
    std::vector<std::uint32_t> counts(n);
    std::vector<std::uint64_t> lengths(n);
    std::vector<plan_cut> cuts(n);
    for (std::uint32_t i = 0; i < n; ++i) {
      counts[i] = random() % 7, lengths[i] = random();
      cuts[i] = i == 0 ? plan_cut{} : plan_cut{cuts[i - 1].item + static_cast<std::uint32_t>(random() % 2), cuts[i - 1].piece};
    }
    const std::size_t bytes = sums.bytes(n);
    const device_array<std::byte> scratch(bytes + 1, "scratch");
    const device_array<std::uint32_t> in(counts, "counts"), before(n, "before"), kept(1, "kept");
    const device_array<std::uint64_t> long_in(lengths, "lengths"), ends(n, "ends");
    const device_array<plan_cut> begins(cuts, "begins"), distinct(n, "distinct");
    REQUIRE(sums.exclusive(scratch.data(), bytes, in.data(), before.data(), n, {}));
    REQUIRE(sums.inclusive(scratch.data(), bytes, long_in.data(), ends.data(), n, {}));
    REQUIRE(sums.distinct(scratch.data(), bytes, begins.data(), distinct.data(), kept.data(), n, {}));
    device_test::finish();
    const auto a = before.download();
    const auto b = ends.download();
    std::uint32_t sum = 0;
    std::uint64_t long_sum = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
      REQUIRE(a[i] == sum);
      REQUIRE(b[i] == (long_sum += lengths[i]));
      sum += counts[i];
    }
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    REQUIRE(kept.download()[0] == cuts.size());
    const auto c = distinct.download();
    REQUIRE(std::equal(cuts.begin(), cuts.end(), c.begin()));
  }
}

TEST_CASE("cuda: a captured graph plans for the lengths it finds") {
  if (!device_test::device_or_skip()) return;
  const layout_type layout({1, 3, 64});
  const attention::problem p{.q_heads = 9, .kv_heads = 3};
  const attention::plan_shape asked{.units = 132, .block_rows = 16};
  const attention::plan_room room{.items = 3 * 16 * 8, .slots = 132, .spans = 16};
  const attention::cuda::cub_sums sums;
  const device_array<std::byte> memory(attention::plan_bytes(room), "plan"), scratch(planner::scratch_bytes(room, sums), "scratch");
  device_array<query_span> lengths(16, "lengths");
  lengths.upload(std::vector<query_span>(16));
  stream_and_graph g;
  attention::plan_view v;
  REQUIRE(cudaStreamBeginCapture(g.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  const status started = planner::start(layout, p, 0, lengths.data(), 16, {}, asked, room, 1u << 17, memory.data(), scratch.data(), sums, g.stream, v);
  REQUIRE(cudaStreamEndCapture(g.stream, &g.graph) == cudaSuccess);
  REQUIRE(started);
  REQUIRE(cudaGraphInstantiate(&g.ready, g.graph, 0) == cudaSuccess);
  std::mt19937 random(2);
  for (int step = 0; step < 20; ++step) {
    std::vector<query_span> spans(16);
    std::uint32_t row = 0;
    for (std::uint32_t s = 0; s < spans.size(); ++s) {
      spans[s] = {s, static_cast<std::uint32_t>(random() % 100000), static_cast<std::uint32_t>(random() % 4 == 0 ? random() % 30 : random() % 2), row};
      row += spans[s].count;
    }
    lengths.upload(spans);
    REQUIRE(cudaGraphLaunch(g.ready, g.stream) == cudaSuccess);
    device_test::finish();
    std::vector<std::uint64_t> words(attention::plan_bytes(room) / 8 + 1);
    attention::plan_view host;
    REQUIRE(attention::plan_step(layout, p, 0, spans, attention::lean_split{}, asked, room, std::as_writable_bytes(std::span(words)), host));
    const auto bytes = memory.download();
    REQUIRE(std::memcmp(bytes.data(), host.items, host.item_count * sizeof(plan_item)) == 0);
    REQUIRE(std::memcmp(bytes.data() + attention::places_of(room).cuts, host.cuts, (room.slots + 1) * sizeof(plan_cut)) == 0);
  }
}
