// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/plan.cuh"

#include <random>

#include "device/memory.hpp"
#include "quire/kv/layout/head_split.hpp"

using namespace quire;
using namespace quire::attention;
using device_test::device_array;

namespace {

__global__ void sum_before(const std::uint32_t* in, std::uint32_t* out, std::uint32_t n) {
  std::uint32_t sum = 0;
  for (std::uint32_t i = 0; i < n; ++i) out[i] = sum, sum += in[i];
}
__global__ void sum_through(const std::uint64_t* in, std::uint64_t* out, std::uint32_t n) {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < n; ++i) out[i] = sum += in[i];
}
__global__ void keep_distinct(const plan_cut* in, plan_cut* out, std::uint32_t* count, std::uint32_t n) {
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < n; ++i)
    if (i == 0 || !(in[i] == in[i - 1])) out[kept++] = in[i];
  *count = kept;
}
/// One thread for each sum: no scratch, and it runs on the emulator.
struct plain_sums {
  std::size_t bytes(std::uint32_t) const noexcept { return 0; }
  status exclusive(std::byte*, std::size_t, const std::uint32_t* in, std::uint32_t* out, std::uint32_t n, device::stream on) const noexcept {
    return device::launch(sum_before, {.blocks = 1, .threads = 1}, on, in, out, n);
  }
  status inclusive(std::byte*, std::size_t, const std::uint64_t* in, std::uint64_t* out, std::uint32_t n, device::stream on) const noexcept {
    return device::launch(sum_through, {.blocks = 1, .threads = 1}, on, in, out, n);
  }
  status distinct(std::byte*, std::size_t, const plan_cut* in, plan_cut* out, std::uint32_t* count, std::uint32_t n, device::stream on) const noexcept {
    return device::launch(keep_distinct, {.blocks = 1, .threads = 1}, on, in, out, count, n);
  }
};
static_assert(attention::cuda::PlanSums<plain_sums>);

std::uint32_t below(std::mt19937& random, std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); }

/// Arrays of a device's plan, read back.
struct fetched {
  std::vector<plan_item> items;
  std::vector<plan_cut> cuts;
  std::vector<query_span> spans;
  attention::cuda::plan_tally tally;
};

template <class T>
std::vector<T> part(const std::vector<std::byte>& bytes, std::size_t at, std::size_t n) {
  std::vector<T> out(n);
  std::memcpy(out.data(), bytes.data() + at, n * sizeof(T));
  return out;
}

template <kv::Layout L, Policy P>
fetched plan_there(const L& layout, const problem& p, const std::vector<query_span>& spans, const P& policy, plan_shape asked, plan_room room, std::uint32_t max_tokens, plan_view& view) {
  using planner = attention::cuda::planner<L, P, plain_sums>;
  const plain_sums sums;
  const device_array<query_span> from(spans.empty() ? std::vector<query_span>(1) : spans, "spans");
  const device_array<std::byte> memory(plan_bytes(room), "plan"), scratch(planner::scratch_bytes(room, sums), "scratch");
  const attention::cuda::plan_tally* tally = nullptr;
  REQUIRE(planner::start(layout, p, 0, from.data(), static_cast<std::uint32_t>(spans.size()), policy, asked, room, max_tokens, memory.data(), scratch.data(), sums, {}, view, &tally));
  device_test::finish();
  const auto bytes = memory.download();
  const plan_places at = places_of(room);
  const auto there = scratch.download();
  return {part<plan_item>(bytes, 0, room.items), part<plan_cut>(bytes, at.cuts, room.slots + 1), part<query_span>(bytes, at.spans, room.spans),
          part<attention::cuda::plan_tally>(there, static_cast<std::size_t>(reinterpret_cast<const std::byte*>(tally) - scratch.data()), 1)[0]};
}

/// The host's plan in the same room, entry by entry. `here` and `there`: the layout as each side reads it.
template <kv::Layout L, Policy P>
void check_same(const L& here, const L& there, const problem& p, const std::vector<query_span>& spans, const P& policy, plan_shape asked, std::uint32_t spare) {
  plan_room room = plan_needs(here, p, 0, spans, policy, asked);
  room.items += spare + 1, room.slots += spare, room.spans += spare;
  std::vector<std::uint64_t> words(plan_bytes(room) / 8 + 1);
  plan_view host, device;
  REQUIRE(plan_step(here, p, 0, spans, policy, asked, room, std::as_writable_bytes(std::span(words)), host));
  std::uint32_t most = 1;
  for (const query_span& s : spans) most = std::max(most, s.first + s.count);
  const fetched got = plan_there(there, p, spans, policy, asked, room, most, device);
  REQUIRE((got.tally.fits == 1 && got.tally.items == host.item_count && got.tally.cuts == host.workers + 1));
  for (std::uint32_t i = 0; i < host.item_count; ++i)
    if (!(got.items[i] == host.items[i])) FAIL("item " << i << " of " << host.item_count << ": workers " << got.items[i].first_worker << " + " << got.items[i].workers);
  for (std::uint32_t w = 0; w <= room.slots; ++w)
    if (!(got.cuts[w] == host.cuts[w])) FAIL("cut " << w << " is " << got.cuts[w].item << ", " << got.cuts[w].piece << ", not " << host.cuts[w].item << ", " << host.cuts[w].piece);
  for (std::uint32_t s = 0; s < spans.size(); ++s) REQUIRE((got.spans[s].first == spans[s].first && got.spans[s].row == spans[s].row));
  REQUIRE((device.depth >= host.depth && device.merge_depth >= host.merge_depth));
  REQUIRE((device.slots == room.slots && device.prefix_items == 0));
}

template <Policy P>
void check_policy(const P& policy) {
  std::mt19937 random(3);
  const extents e{1, 3, 64};
  const std::uint8_t keep[] = {0, 1, 0};
  const kv::head_classes classes(e, keep);
  const device_array<kv::head_slot> table(std::span(classes.slots(), 3), "classes");
  for (int round = 0; round < 25; ++round) {
    device_test::order(static_cast<std::uint64_t>(round));
    std::vector<query_span> spans(below(random, 7));
    std::uint32_t row = 0;
    for (std::uint32_t s = 0; s < spans.size(); ++s) {
      const std::uint32_t count = below(random, 4) == 0 ? below(random, 140) : below(random, 5) != 0;
      spans[s] = {s, below(random, below(random, 2) ? 200 : 20000), count, row};
      row += count;
    }
    const std::uint32_t group = 1 + below(random, 6);
    const problem p{.q_heads = 3 * group, .kv_heads = 3};
    const plan_shape asked{.units = 1 + below(random, round % 2 ? 9 : 200), .block_rows = below(random, 2) ? 16u : 64u};
    CAPTURE(round, group, asked.units, asked.block_rows);
    const kv::paged<kv::raw_bf16> pages(e);
    check_same(pages, pages, p, spans, policy, asked, below(random, 3));
    const kv::head_split<kv::raw_bf16> split(e, classes, {.sinks = below(random, 2000), .window = 1 + below(random, 3000)});
    check_same(split, split.with_slots(table.data()), p, spans, policy, asked, below(random, 3));
  }
}

}  // namespace

TEST_CASE("cuda: a device plans what a host plans") {
  if (!device_test::device_or_skip()) return;
  check_policy(lean_split{});
  check_policy(lean_split{{.grain = 2}, 3});
  check_policy(fixed_split{{}, 5});
  check_policy(heuristic_split{});
}

TEST_CASE("cuda: a step that does not fit folds nothing and says so") {
  if (!device_test::device_or_skip()) return;
  const problem p{.q_heads = 3, .kv_heads = 3};
  const kv::paged<kv::raw_bf16> layout({1, 3, 64});
  const std::vector<query_span> spans = {{0, 5000, 1, 0}, {1, 900, 1, 1}};
  plan_view v;
  for (const plan_room room : {plan_room{5, 8, 2}, plan_room{6, 7, 2}}) {
    const fetched got = plan_there(layout, p, spans, lean_split{}, {.units = 8}, room, 5001, v);
    CHECK(got.tally.fits == 0);
    CHECK(got.tally.cuts == 1);
    for (const plan_cut& c : got.cuts) CHECK(c == got.cuts[0]);
  }
  CHECK(plan_there(layout, p, spans, lean_split{}, {.units = 8}, {6, 8, 2}, 5001, v).tally.fits == 1);
  using planner = attention::cuda::planner<kv::paged<kv::raw_bf16>, lean_split, plain_sums>;
  const auto refused = [&](plan_shape asked, plan_room room) { return planner::start(layout, p, 0, nullptr, 2, {}, asked, room, 5001, nullptr, nullptr, {}, {}, v); };
  CHECK(refused({.units = 0}, {6, 8, 2}).code == errc::unsupported_shape);
  CHECK(refused({.units = 8}, {0, 8, 2}) == status{errc::out_of_range, "items of a plan", 0, 1, 1u << 31});
  CHECK(refused({.units = 8}, {6, 8, 1}) == status{errc::out_of_range, "spans of a plan", 2, 0, 1});
}
