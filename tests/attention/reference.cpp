// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/reference.hpp"

#include <cmath>
#include <vector>

#include "catch.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/layout/paged.hpp"

using namespace quire;
using Layout = kv::paged<kv::raw_f32, kv::raw_f32>;

namespace {

constexpr std::uint32_t dim = 8;

/// One raw tile whose tokens are written by hand.
struct tile {
  std::vector<std::byte> bytes = std::vector<std::byte>(kv::raw_f32{}.piece_bytes(dim));
  void put(std::uint32_t token, std::vector<float> k, std::vector<float> v) {
    k.resize(dim), v.resize(dim);
    kv::raw<float>{}.put(kv::side::key, dim, token, k.data(), bytes.data());
    kv::raw<float>{}.put(kv::side::value, dim, token, v.data(), bytes.data() + kv::raw_f32{}.value_offset(dim));
  }
  kv::run run(std::uint32_t tokens, std::uint32_t slot = 0) const {
    return {.base = bytes.data(), .page_stride = bytes.size(), .value_offset = static_cast<std::uint32_t>(kv::raw_f32{}.value_offset(dim)), .tokens = tokens, .slot = slot,
            .position = static_cast<std::int32_t>(slot * 64)};
  }
};

std::vector<double> answer(const kv::head_view& v, const attention::problem& p, std::uint32_t query, std::vector<float> q, std::uint32_t head = 0) {
  q.resize(dim);
  std::vector<double> out(dim, -1);
  attention::reference_row(Layout({1, 1, dim}), v, p, head, query, q.data(), {}, out.data());
  return out;
}

attention::problem plain() {
  attention::problem p{.dim_k = dim, .dim_v = dim};
  p.scale = 1;
  return p;
}

/// Two tokens with logits a and b for q = (1, 0, ...), values 10 and 20.
struct two {
  tile t;
  kv::head_view v;
  two(float a, float b) {
    t.put(0, {a}, {10});
    t.put(1, {b}, {20});
    v.runs[0] = t.run(2);
    v.count = 1;
  }
};
double mix(double a, double b) { return (10 * std::exp(a) + 20 * std::exp(b)) / (std::exp(a) + std::exp(b)); }

}  // namespace

TEST_CASE("two tokens give the softmax done by hand") {
  const two c(0.3f, 1.3f);
  CHECK(answer(c.v, plain(), 1, {1})[0] == Approx(mix(0.3f, 1.3f)).epsilon(1e-12));
  CHECK(answer(c.v, plain(), 1, {2})[0] == Approx(mix(0.6f, 2.6f)).epsilon(1e-7));
  CHECK(answer(c.v, plain(), 0, {1})[0] == 10);  // the second token is in the future
  CHECK(answer(c.v, plain(), 1, {1})[1] == 0);
  attention::problem p = plain();
  p.scale = 0;
  CHECK(answer(c.v, p, 1, {1})[0] == Approx(mix(0.3f / std::sqrt(8.0), 1.3f / std::sqrt(8.0))).epsilon(1e-7));
}

TEST_CASE("softcap ALiBi sink bias and window follow the definition") {
  two c(0.3f, 1.3f);
  attention::problem p = plain();
  p.softcap = 2;
  CHECK(answer(c.v, p, 1, {1})[0] == Approx(mix(2 * std::tanh(0.15), 2 * std::tanh(0.65))).epsilon(1e-7));
  p = plain();
  const float slopes[] = {0.25f, 0.5f}, sinks[] = {0.7f, -1.0f};
  p.alibi = slopes;
  CHECK(answer(c.v, p, 1, {1}, 1)[0] == Approx(mix(0.3 - 0.5, 1.3)).epsilon(1e-7));
  p = plain();
  p.sink_logits = sinks;
  const double a = std::exp(0.3), b = std::exp(1.3), s = std::exp(0.7);
  CHECK(answer(c.v, p, 1, {1})[0] == Approx((10 * a + 20 * b) / (a + b + s)).epsilon(1e-7));
  p = plain();
  p.window = 1;
  CHECK(answer(c.v, p, 1, {1})[0] == 20);
  c.v.sees = {.sinks = 1, .window = 1};
  CHECK(answer(c.v, plain(), 5, {1})[0] == 10);
  c.v.sees = {};
  c.v.runs[0].bias = 3;  // a bias of every token cancels
  CHECK(answer(c.v, plain(), 1, {1})[0] == Approx(mix(0.3f, 1.3f)).epsilon(1e-12));
}

TEST_CASE("a one token run with a bias counts as many tokens") {
  two c(0.3f, 1.3f);
  tile mean;
  mean.put(0, {0.5f}, {40});
  c.v.runs[1] = mean.run(1, 1);
  c.v.runs[1].bias = std::log(5.0f);
  c.v.runs[1].position = 0;
  c.v.count = 2;
  const double a = std::exp(0.3), b = std::exp(1.3), m = 5 * std::exp(0.5);
  CHECK(answer(c.v, plain(), 1, {1})[0] == Approx((10 * a + 20 * b + 40 * m) / (a + b + m)).epsilon(1e-6));
}

TEST_CASE("live masks and positions choose tokens and a row that sees none gives zeros") {
  two c(0.3f, 1.3f);
  std::uint64_t live = 2;
  c.v.runs[0].live = &live;
  CHECK(answer(c.v, plain(), 1, {1})[0] == 20);
  live = 0;
  for (double x : answer(c.v, plain(), 1, {1})) CHECK(x == 0);
  c.v.runs[0].live = nullptr;
  const std::int32_t positions[] = {9, 4};
  c.v.runs[0].positions = positions;
  CHECK(answer(c.v, plain(), 5, {1})[0] == 20);
  for (double x : answer(c.v, plain(), 3, {1})) CHECK(x == 0);
  c.v.count = 0;
  for (double x : answer(c.v, plain(), 3, {1})) CHECK(x == 0);
}

TEST_CASE("turning a query back equals turning the keys forward") {
  for (rope_style style : {rope_style::interleaved, rope_style::halves})
    for (std::uint32_t dims : {4u, 8u}) {
      const rope r{.style = style, .dims = dims, .base = 100};
      std::vector<float> q{1, -2, 3, 0.5f, 0.25f, -1, 2, 1}, k{0.5f, 1, -1, 2, 1, 1, -0.5f, 0.75f}, v{10}, w{20};
      auto at = [&](std::vector<float> x, std::int32_t position) {
        attention::rotate_query(r, x.data(), position);
        return x;
      };
      tile local, global;
      local.put(0, at(k, 3), v), local.put(1, at(q, 4), w);
      global.put(0, at(k, 53), v), global.put(1, at(q, 54), w);
      kv::head_view a, b;
      a.runs[0] = local.run(2), a.runs[0].position = 53, a.runs[0].rotation = 50, a.count = 1;
      b.runs[0] = global.run(2), b.runs[0].position = 53, b.count = 1;
      attention::problem p = plain();
      p.rotary = r, p.scale = 0.1f;
      const auto query = at(k, 60);
      CHECK(answer(a, p, 60, query)[0] == Approx(answer(b, p, 60, query)[0]).epsilon(1e-6));
      a.runs[0].rotation = 0;
      CHECK(std::fabs(answer(a, p, 60, query)[0] - answer(b, p, 60, query)[0]) > 1e-3);  // the offset matters
      auto back = at(at(q, 17), -17);
      for (std::uint32_t i = 0; i < dim; ++i) CHECK(back[i] == Approx(q[i]).margin(1e-5));
      for (std::uint32_t i = dims; i < dim; ++i) CHECK(at(q, 17)[i] == q[i]);
    }
}

TEST_CASE("rotated codecs are brought back before the product") {
  using rotated = kv::codec_pair<kv::hadamard<kv::raw<float>>>;
  const kv::paged<rotated, kv::raw_f32> layout({1, 1, dim});
  std::vector<float> k(64 * dim, 0.0f), v(64 * dim, 0.0f), q{1, 0.5f, 0, 0, 0, 0, 0, 0};
  for (std::uint32_t t = 0; t < 64; ++t) k[t] = 0.1f * static_cast<float>(t), k[64 + t] = 1, v[t * dim] = static_cast<float>(t), v[t * dim + 5] = 2;
  std::vector<std::byte> bytes(rotated{}.piece_bytes(dim));
  rotated{}.key.encode({.which = kv::side::key}, kv::shape_of(kv::side::key, dim), k.data(), bytes.data());
  rotated{}.value.encode({.which = kv::side::value}, kv::shape_of(kv::side::value, dim), v.data(), bytes.data() + rotated{}.value_offset(dim));
  kv::head_view view;
  view.runs[0] = {.base = bytes.data(), .value_offset = static_cast<std::uint32_t>(rotated{}.value_offset(dim)), .tokens = 64, .form = 1};
  view.count = 1;
  double out[dim], up = 0, down = 0;
  attention::reference_row(layout, view, plain(), 0, 63, q.data(), {}, out);
  for (std::uint32_t t = 0; t < 64; ++t) up += t * std::exp(0.1 * t), down += std::exp(0.1 * t);
  CHECK(out[0] == Approx(up / down).epsilon(1e-5));
  CHECK(out[5] == Approx(2).epsilon(1e-5));
  CHECK(out[1] == Approx(0).margin(1e-4));
}
