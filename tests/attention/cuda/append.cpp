// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/append.cuh"

#include "attention/cuda/append_check.hpp"
#include "catch.hpp"

using namespace append_check;

TEST_CASE("cuda append: bytes of pages, tails and staging are the CPU's, whatever tiles spans begin and end in") {
  check<float>(kv::paged<kv::raw_bf16>({3, 2, 64}), {{0, 150}, {40, 30}, {63, 1}, {64, 64}, {100, 0}, {10, 5}, {300, 200}, {0, 1}});
  check<bf16>(kv::paged<rotated<4>>({2, 3, 32}), {{0, 130}, {63, 2}, {127, 1}, {500, 13}});
  check<f16>(kv::paged<kv::codec_pair<kv::fp8>, kv::raw_f16>({2, 2, 96}), {{1, 63}, {60, 70}, {64, 1}});
  check<float>(kv::paged<per_channel<4>>({1, 2, 64}), {{10, 200}});
  check<float>(kv::paged<kv::codec_pair<kv::integer<3, kv::group::row, 32>>>({1, 1, 40}), {{0, 64}, {5, 64}});
  check<float>(kv::paged<repaired<2>>({2, 2, 64}), {{40, 100}, {63, 1}, {10, 120}});
}

TEST_CASE("cuda append: heads in groups, and a step without staging") {
  const extents e{2, 3, 64};
  const std::uint8_t whole[] = {1, 0, 0, 0, 1, 1};
  const kv::head_classes classes(e, whole);
  check<float>(kv::head_split<per_token<4>>(e, classes, kv::retain::sinks_window{.sinks = 70, .window = 130}), {{500, 100}, {0, 70}, {639, 1}});
  check<bf16>(kv::paged<per_token<8>>({2, 2, 64}), {{63, 1}, {640, 1}, {3, 1}, {64, 64}}, nullptr, ~0u, false);
}

TEST_CASE("cuda append: keys are turned on their way in, in both styles, as core/rope.hpp turns them") {
  for (rope_style style : {rope_style::interleaved, rope_style::halves})
    for (std::uint32_t dims : {64u, 48u, 2u}) {
      const rope r{.style = style, .dims = dims};
      check<float>(kv::paged<kv::raw_bf16>({2, 2, 64}), {{0, 70}, {700, 1}}, &r);
      check<bf16>(kv::paged<rotated<4>>({1, 2, 64}), {{60, 70}}, &r);
    }
}

TEST_CASE("cuda append: a row that is not finite is reported and stored as zeros") {
  const rope r{.style = rope_style::halves, .dims = 64};
  for (std::uint32_t spoil : {0u, 3u, 64u, 89u}) {
    check<float>(kv::paged<per_token<8>>({1, 2, 64}), {{60, 90}}, nullptr, spoil);
    check<bf16>(kv::paged<kv::raw_bf16>({1, 2, 64}), {{60, 90}}, &r, spoil);
  }
}

TEST_CASE("cuda append: query rows are turned in place") {
  constexpr std::uint32_t heads = 6, dim = 96;
  for (rope_style style : {rope_style::interleaved, rope_style::halves})
    for (std::uint32_t dims : {96u, 64u}) {
      const std::vector<query_span> spans{{0, 10, 9, 0}, {1, 0, 0, 9}, {2, 777, 1, 9}};
      std::mt19937 random(dims);
      std::normal_distribution<float> normal;
      std::vector<float> x(10 * heads * dim);
      for (float& y : x) y = normal(random);
      const auto table = table_of(style, dims, 800);
      const device_array<float> device_table(table, "rotary table");
      device_array<float> device_x(x, "queries");
      const device_array<query_span> device_spans(spans, "spans");
      const status launched = cuda::rotate(cuda::rotate_call<float>{device_spans.data(), 3, heads, dim, device_x.data(), heads * dim, {device_table.data(), dims, style}}, {});
      device_test::finish();
      REQUIRE(launched);
      turn(x, heads * dim, dim, {nullptr, dims, style}, table, spans);
      const auto got = device_x.download();
      for (std::size_t i = 0; i < x.size(); ++i)
        if (!(std::fabs(got[i] - x[i]) <= 1e-6f * (1 + std::fabs(x[i])))) FAIL("element " << i << ": " << got[i] << " for " << x[i]);
    }
}
