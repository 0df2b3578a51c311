// SPDX-License-Identifier: Apache-2.0
// What steps of the model on a device have beyond the CPU's: recordings, shared prefixes, products by a library, a store that is swapped.
#include "device_pair.hpp"
#include "lm/gpu_model.cuh"
#include "lm/store_backend.hpp"
#include "quire/kv/image.hpp"
#include "quire/kv/layout/overlay.hpp"

double quire_lm::device_read_bandwidth(quire::tier::device_memory&) { return 0; }  // what caches/cuda/linear.cu measures

namespace {
/// In cuBLASLt's place: a thread for each number of y.
__global__ void plain_product(quire_lm::wide_shape s, const quire::bf16* w, const quire::bf16* x, float* y) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= s.n * s.outputs) return;
  float sum = s.mode == quire::linear::store_mode::add ? y[i] : 0.0f;
  for (std::uint32_t k = 0; k < s.inputs; ++k) sum += x[i / s.outputs * s.inputs + k].to_float() * w[i % s.outputs * s.inputs + k].to_float();
  y[i] = sum;
}
std::uint64_t wide_runs = 0;
class plain_engine final : public quire_lm::wide_engine {
 public:
  std::size_t workspace_bytes() const noexcept override { return 256; }
  quire::status prepare(const quire_lm::wide_shape& s, std::uint32_t& at) override {
    if (s.inputs % 8 != 0 || s.outputs % 4 != 0) return {quire::errc::unsupported_shape, "inputs and outputs", s.inputs};
    return at = static_cast<std::uint32_t>(shapes_.size()), shapes_.push_back(s), quire::status{};
  }
  quire::status run(std::uint32_t at, const quire::bf16* w, const quire::bf16* x, float* y, std::byte*, quire::device::stream on) const noexcept override {
    ++wide_runs;
    return quire::device::launch(&plain_product, {.blocks = quire::ceil_div(shapes_[at].n * shapes_[at].outputs, 256), .threads = 256}, on, shapes_[at], w, x, y);
  }

 private:
  std::vector<quire_lm::wide_shape> shapes_;
};
}  // namespace
std::unique_ptr<quire_lm::wide_engine> quire_lm::make_wide_engine() { return std::make_unique<plain_engine>(); }

using namespace device_pair;

namespace {

/// Two models on the device over a store each: one that records steps and shares prefixes, one that does neither. They say the same, bit for bit.
template <kv::Layout L>
struct device_twins {
  static constexpr std::uint32_t rows = 96, sequences = 6, tokens = 640;
  struct one {
    one(const model_weights& w, const L& layout, const device_choices& choices)
        : store(layout, pair_of<L>::options(layout, &memory, sequences, tokens)), model(w, layout, memory, rows, sequences, tokens, choices) {}
    quire::device::own_stream stream = opened();
    quire::tier::device_memory memory{stream.get()};
    kv::store<L> store;
    device_model<L, 64> model;
  };
  device_twins(const model_weights& w, const L& layout) : a(w, layout, {.shortest_prefix = 1}), b(w, layout, {.record = false, .shortest_prefix = 1000}) {}

  /// A sequence of n tokens, the same in both.
  std::uint32_t open(std::uint32_t n, std::uint32_t salt) {
    std::uint32_t s = 0, copy = 0;
    REQUIRE(b.store.open(s));
    for (std::uint32_t at = 0; at < n; at += std::min(rows, n - at)) static_cast<void>(logits_of(b, {s}, std::min(rows, n - at), salt + at));
    std::vector<std::byte> image(kv::image_bytes(b.store, s));
    REQUIRE(kv::export_sequence(b.store, s, image));
    REQUIRE(kv::import_sequence(a.store, image, copy));
    REQUIRE(copy == s);
    return s;
  }
  std::uint32_t fork(std::uint32_t from) {
    std::uint32_t s = 0, same = 0;
    REQUIRE(a.store.fork(from, s));
    REQUIRE(b.store.fork(from, same));
    REQUIRE(s == same);
    return s;
  }
  /// One step of both: n tokens of each sequence.
  void step(const std::vector<std::uint32_t>& which, std::uint32_t n, std::uint32_t salt) {
    const auto x = logits_of(a, which, n, salt), y = logits_of(b, which, n, salt);
    INFO(which.size() << " sequences, " << n << " rows each, salt " << salt);
    CHECK(std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0);
  }
  std::vector<float> logits_of(one& o, const std::vector<std::uint32_t>& which, std::uint32_t n, std::uint32_t salt) {
    device_test::order(salt);
    std::vector<std::vector<std::int32_t>> text;
    std::vector<model_input> in;
    for (const std::uint32_t s : which) text.push_back(some_tokens(n, salt + 31 * s, o.model.vocabulary()));
    for (std::size_t i = 0; i < which.size(); ++i) {
      REQUIRE(o.store.reserve(which[i], n));
      in.push_back({which[i], o.store.length(which[i]), text[i], true});
    }
    std::vector<float> got(which.size() * o.model.vocabulary(), NAN);
    const quire::status s = o.model.step(o.store, in, got.data());
    finish();
    INFO(quire::describe(s));
    REQUIRE(s);
    for (const std::uint32_t q : which) REQUIRE(o.store.commit(q, n));
    return got;
  }
  one a, b;
};

}  // namespace

TEST_CASE("lm cuda: steps that were recorded, and prefixes folded once, change no bit") {
  if (!device_or_skip()) return;
  const lm_test::small_llama_file file({.layers = 1, .q_heads = 2, .kv_heads = 2, .width = 32, .ffn = 32, .vocabulary = 48}, 7);
  const model_weights w(gguf::file::open(file.path()));
  const quire::extents e = w.config.cache_extents();
  const auto generate_both = [&]<kv::Layout L>(const L& layout) {
    device_twins<L> twins(w, layout);
    const std::uint32_t s = twins.open(254, 1), t = twins.open(20, 2);
    for (std::uint32_t i = 0; i < 4; ++i) twins.step({s, t}, 1, 20 + i);       // through the end of a piece: another worker
    CHECK(twins.a.model.replayed() >= 1);
    const std::uint64_t before = twins.a.model.replayed();
    const std::uint32_t u = twins.fork(s), v = twins.fork(s);
    for (std::uint32_t i = 0; i < 3; ++i) twins.step({u, t, s, v}, 1, 30 + i);  // three begin with the same 256 tokens
    CHECK(twins.a.model.shared() == 3);
    CHECK(twins.a.model.replayed() == before + 2);
    twins.step({t, u, v}, 1, 40), twins.step({t, u, v}, 1, 41);                // fewer spans than launches are for
    twins.step({v}, 3, 50), twins.step({u}, 3, 51);                             // fewer rows
    CHECK(twins.a.model.replayed() == before + 4);
    twins.step({v, t}, 1, 60);                                                  // what was recorded first, for other sequences
    CHECK(twins.a.model.replayed() == before + 5);
    CHECK(twins.b.model.replayed() + twins.b.model.shared() == 0);
    CHECK(twins.a.store.check());
  };
  generate_both(int4_pages(e));
  const kv::head_classes classes(e, std::vector<std::uint8_t>{1, 0});
  generate_both(kv::head_split<kv::raw_bf16>(e, classes, kv::retain::sinks_window{.sinks = 4, .window = 60}));
}

TEST_CASE("lm cuda: recorded steps collect scores and choose exact tokens as plain ones do") {
  if (!device_or_skip()) return;
  const lm_test::small_llama_file file({.layers = 1, .q_heads = 2, .kv_heads = 2, .width = 32, .ffn = 32, .vocabulary = 48}, 11);
  const model_weights w(gguf::file::open(file.path()));
  using h2o = kv::overlay<kv::paged<kv::raw_bf16>, kv::rest::drop>;
  device_twins<h2o> twins(w, h2o(kv::paged<kv::raw_bf16>(w.config.cache_extents()), kv::retain::importance{.share = 0.3f}, device_twins<h2o>::tokens));
  const std::uint32_t s = twins.open(189, 1), t = twins.open(20, 2);
  for (std::uint32_t i = 0; i < 5; ++i) twins.step({s, t}, 1, 20 + i);  // past 192: another tile, and a choice among what is exact
  CHECK(twins.a.model.replayed() >= 2);
  CHECK(twins.a.store.check());
}

TEST_CASE("lm cuda: chunks of many rows are multiplied as bf16, decodes are not") {
  if (!device_or_skip()) return;
  const lm_test::small_llama_file file({.layers = 2, .q_heads = 2, .kv_heads = 2, .width = 64, .ffn = 48, .vocabulary = 48}, 8);
  const model_weights w(gguf::file::open(file.path()));
  const int4_pages layout(w.config.cache_extents());
  pair_of<int4_pages> both(w, w, layout, {.wide_rows = 60});
  wide_runs = 0;
  const std::uint32_t a = both.open(), b = both.open();
  static_cast<void>(both.step({{a, some_tokens(40, 1, 48)}}));                           // too few rows
  CHECK(wide_runs == 0);
  CHECK(both.most < int4_bound);
  static_cast<void>(both.step({{a, some_tokens(70, 2, 48)}}));                           // 128 with those that nobody asked for
  CHECK(wide_runs == 4 * 2);
  static_cast<void>(both.step({{b, some_tokens(59, 3, 48)}, {a, some_tokens(1, 4, 48)}}));  // a decode beside a chunk
  CHECK(wide_runs == 8 * 2);
  for (std::uint32_t i = 0; i < 2; ++i) static_cast<void>(both.step({{a, {5}}, {b, {6}}}));
  CHECK(wide_runs == 8 * 2);
  INFO("largest relative difference of logits " << both.most);
  CHECK(both.most < wide_bound);
}

TEST_CASE("lm cuda: the program's backend on a device, and a prefix that another sequence begins with") {
  if (!device_or_skip()) return;
  const lm_test::small_llama_file file({.layers = 1}, 5);
  const model_weights w(gguf::file::open(file.path()));
  const int4_pages layout(w.config.cache_extents());
  const backend_options o{.max_rows = 150, .sequences = 2, .max_tokens = 300, .remembered_tokens = 256, .wide_rows = 0};
  store_backend<int4_pages, gpu_model<int4_pages>> b(make_gpu_model(w, layout, o), layout, nullptr, o);
  const auto tokens = some_tokens(140, 1, w.config.vocabulary);
  const auto run = [&](std::uint32_t s, std::uint32_t from) {
    std::vector<float> logits(w.config.vocabulary);
    const auto n = static_cast<std::uint32_t>(tokens.size()) - from;
    REQUIRE(b.reserve(s, n));
    const model_input in{s, from, std::span(tokens).subspan(from), true};
    REQUIRE(b.step(b, {&in, 1}, logits.data()));
    finish();
    REQUIRE(b.commit(s, n));
    return logits;
  };
  std::uint32_t first = 0, second = 0;
  REQUIRE(b.open(tokens, first));
  const auto alone = run(first, 0);
  REQUIRE(b.remember(first, tokens));
  b.close(first);
  CHECK(b.hit(tokens) == 128);
  REQUIRE(b.open(tokens, second));
  REQUIRE(b.length(second) == 128);
  CHECK(run(second, 128) == alone);  // bit for bit: what is read is the same, and rows do not change each other
  CHECK(b.check());
  CHECK_THROWS_AS(make_gpu_model(model_weights(gguf::file::open(lm_test::small_llama_file({.layers = 1, .head_dim = 32}, 6).path())), layout, o), bad_input);
}

TEST_CASE("lm cuda: a text that was swapped out of a device's memory goes on as if it had stayed") {
  if (!device_or_skip()) return;
  const lm_test::small_llama_file file({.layers = 1, .width = 32, .ffn = 32, .vocabulary = 48}, 9);
  const model_weights w(gguf::file::open(file.path()));
  const int4_pages layout(w.config.cache_extents());
  const backend_options o{.max_rows = 80, .sequences = 2, .max_tokens = 128, .away = 2};
  store_backend<int4_pages, gpu_model<int4_pages>> b(make_gpu_model(w, layout, o), layout, nullptr, o);
  const auto say = [&](std::uint32_t s, std::vector<std::int32_t> tokens) {
    std::vector<float> logits(w.config.vocabulary);
    const auto n = static_cast<std::uint32_t>(tokens.size());
    REQUIRE(b.reserve(s, n));
    const model_input in{s, b.length(s), tokens, true};
    REQUIRE(b.step(b, {&in, 1}, logits.data()));
    finish();
    REQUIRE(b.commit(s, n));
    return logits;
  };
  std::uint32_t s = 0, stays = 0;
  REQUIRE(b.open(s));
  static_cast<void>(say(s, some_tokens(70, 1, 48)));
  REQUIRE(b.fork(s, stays));
  const auto want = say(stays, {5});
  b.close(stays);
  REQUIRE(b.swap_out(s));
  CHECK_FALSE(b.present(s));
  for (int i = 0; i < 9 && b.leaving_tokens() != 0; ++i) b.wait();
  std::uint32_t other = 0;  // takes its pages
  REQUIRE(b.open(other));
  static_cast<void>(say(other, some_tokens(75, 2, 48)));
  b.close(other);
  quire::status back = b.swap_in(s);
  for (int i = 0; i < 9 && back.code == quire::errc::not_ready; ++i) b.wait(), back = b.swap_in(s);
  REQUIRE(back);
  for (int i = 0; i < 9 && !b.present(s); ++i) b.wait();
  REQUIRE(b.present(s));
  REQUIRE(b.length(s) == 70);
  CHECK(say(s, {5}) == want);
  CHECK(b.swap_counts().swaps_in == 1);
  CHECK(b.swap_counts().in.failed + b.swap_counts().out.failed == 0);
  CHECK(b.check());
}
