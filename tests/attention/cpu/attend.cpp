// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/attend.hpp"

#include "attention/fixture.hpp"
#include "catch.hpp"
#include "quire/kv/codec/balanced.hpp"
#include "quire/kv/codec/fp8.hpp"
#include "quire/kv/codec/gear.hpp"

using namespace fixture;

namespace {

/// Largest difference to the double reference over the last rows, decoded one by one.
template <kv::Layout L>
double worst(const L& layout, const attention::problem& p, std::uint32_t tokens) {
  const rows data(tokens, p, 11);
  kv::store<L> store(layout, kv::pages_for(layout, 1, tokens, tokens));
  std::uint32_t s = 0;
  REQUIRE(store.open(s));
  double most = 0;
  thread_executor pool(2);
  attention::cpu::workspace<L> work(layout, p, 2, tokens, 1, tokens);
  std::vector<float> out(data.q_width * tokens);
  const auto step = [&](std::uint32_t at, std::uint32_t n) {
    REQUIRE(store.reserve(s, n));
    const attention::query_span span{s, at, n, 0};
    attention::cpu::layer_call<L> c{store.view(), p, 0, {&span, 1}};
    c.q = data.q.data() + at * data.q_width, c.k = data.k.data() + at * data.kv_width, c.v = data.v.data() + at * data.kv_width;
    c.ldq = c.ldo = data.q_width, c.ldkv = data.kv_width, c.out = out.data() + at * data.q_width;
    pool.run([&](const team& t) { attention::cpu::attend(t, c, work); });
  };
  step(0, tokens - 70);
  REQUIRE(store.commit(s, tokens - 70));
  for (std::uint32_t at = tokens - 70; at < tokens; ++at) {
    step(at, 1);
    if (at % 7 == 0 || at % 64 > 60 || at % 64 < 2)
      for (std::uint32_t h = 0; h < p.q_heads; ++h) {
        const auto want = expected(store, s, p, data, at, h);
        for (std::uint32_t i = 0; i < p.dim_v; ++i) most = std::max(most, std::fabs(want[i] - out[at * data.q_width + h * p.dim_v + i]));
      }
    REQUIRE(store.commit(s, 1));
  }
  REQUIRE_FALSE(work.take_not_finite());
  return most;
}

template <class Pair, class Raw>
void check_grid(double bound) {
  for (std::uint32_t dim : {8u, 24u, 64u, 80u, 96u, 128u, 256u})
    for (std::uint32_t group : {1u, 3u, 4u, 7u}) {
      const extents e{1, 2, dim};
      const attention::problem p{.q_heads = 2 * group, .kv_heads = 2, .dim_k = dim, .dim_v = dim};
      with_layouts<Pair, Raw>(e, [&](const auto& layout, const char* name) {
        INFO(name << " head_dim " << dim << " group " << group);
        CHECK(worst(layout, p, 400) < bound);
      });
    }
}

}  // namespace

// Bounds: f32 rounding; bf16 rounding of q and p (2⁻⁹ each, over a softmax that sums to one); codes are exact in the
// reference too, so integer codecs differ only by fixed-point coefficients: 2⁻⁸/127 of the largest q for each channel,
// times codes up to 15. Hadamard spreads the outlier channel over all codes of a token, which makes those steps larger.
TEST_CASE("f32 cache equals the double reference") { check_grid<kv::raw_f32, kv::raw_f32>(2e-5); }
TEST_CASE("f16 cache goes through the generic decode") { check_grid<kv::raw_f16, kv::raw_f32>(2e-5); }
TEST_CASE("bf16 cache equals the double reference within bf16") { check_grid<kv::raw_bf16, kv::raw_bf16>(0.15); }
TEST_CASE("int8 per token equals the double reference") { check_grid<int8_token, kv::raw_f32>(2e-3); }
TEST_CASE("int4 per token equals the double reference") { check_grid<int4_token, kv::raw_f32>(2e-3); }
TEST_CASE("int4 per channel keys equals the double reference") { check_grid<int4_channel, kv::raw_f32>(2e-3); }
TEST_CASE("int4 Hadamard equals the double reference") { check_grid<int4_hadamard, kv::raw_f32>(1e-2); }

/// fp8 and GEAR multiply in other orders than the reference; sizes that are no multiple of a lane are among them.
template <class Pair>
void check_sizes(double bound) {
  for (std::uint32_t dim : {24u, 64u, 80u, 128u}) {
    const attention::problem p{.q_heads = 6, .kv_heads = 2, .dim_k = dim, .dim_v = dim};
    with_layouts<Pair, kv::raw_f32>({1, 2, dim}, [&](const auto& layout, const char* name) {
      INFO(name << " head_dim " << dim);
      CHECK(worst(layout, p, 400) < bound);
    });
  }
}
TEST_CASE("fp8 equals the double reference within bf16 coefficients") { check_sizes<codec_pair<kv::fp8>>(0.15); }
TEST_CASE("low bits in short groups equal the double reference") {
  check_sizes<codec_pair<integer<2, group::column, 32>, integer<2, group::row, 32>>>(2e-3);
  check_sizes<codec_pair<integer<3, group::row, 32>>>(2e-3);
}
TEST_CASE("GEAR equals the double reference") {
  check_sizes<codec_pair<kv::gear<integer<4, group::row>, 2, 2>>>(2e-3);
  check_sizes<codec_pair<kv::gear<integer<2, group::row>, 3, 0>>>(2e-3);
  check_sizes<codec_pair<kv::hadamard<kv::gear<integer<4, group::row>, 2, 2>>>>(1e-2);
}
TEST_CASE("balanced keys equal the double reference, whose balancer is the state block's") {
  check_sizes<codec_pair<kv::balanced<integer<4, group::column, 32>>, integer<4, group::row>>>(4e-3);
}

TEST_CASE("softcap ALiBi sink logits and the model window equal the double reference") {
  const float slopes[] = {0.5f, 0.25f, 0.125f, 0.0625f}, sinks[] = {1.0f, -2.0f, 0.0f, 3.0f};
  attention::problem p{.q_heads = 4, .kv_heads = 2};
  p.softcap = 20, p.alibi = slopes, p.sink_logits = sinks, p.window = 150, p.scale = 0.2f;
  with_layouts<kv::raw_f32, kv::raw_f32>({1, 2, 64}, [&](const auto& layout, const char* name) {
    INFO(name);
    CHECK(worst(layout, p, 500) < 5e-5);
  });
}

TEST_CASE("sinks of several pieces before a dropped middle equal the double reference") {
  const std::uint8_t keep[] = {1, 0};
  const kv::head_classes classes({1, 2, 64}, keep);
  const attention::problem p{.q_heads = 2, .kv_heads = 2};
  for (const std::uint32_t sinks : {300u, 600u, 1200u}) {
    INFO("sinks " << sinks);
    CHECK(worst(kv::head_split<kv::raw_f32, kv::raw_f32>({1, 2, 64}, classes, {.sinks = sinks, .window = 200}), p, 2600) < 2e-5);
  }
}

TEST_CASE("a row with NaN is reported and does not spread") {
  using L = kv::paged<kv::raw_bf16>;
  const L layout({1, 2, 64});
  const attention::problem p{.q_heads = 2, .kv_heads = 2};
  rows data(100, p, 3);
  data.k[40 * data.kv_width + 5] = std::nanf("");
  kv::store<L> store(layout, kv::pages_for(layout, 1, 128));
  std::uint32_t s = 0;
  REQUIRE(store.open(s));
  REQUIRE(store.reserve(s, 100));
  attention::cpu::workspace<L> work(layout, p, 1, 100, 1, 128);
  const attention::query_span span{s, 0, 100, 0};
  std::vector<float> out(data.q.size());
  attention::cpu::layer_call<L> c{store.view(), p, 0, {&span, 1}};
  c.q = data.q.data(), c.k = data.k.data(), c.v = data.v.data(), c.ldq = c.ldo = data.q_width, c.ldkv = data.kv_width, c.out = out.data();
  attention::cpu::attend(team{}, c, work);
  REQUIRE(work.take_not_finite());
  REQUIRE_FALSE(work.take_not_finite());
  for (float x : out) REQUIRE(std::isfinite(x));
}
