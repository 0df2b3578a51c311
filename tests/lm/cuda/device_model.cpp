// SPDX-License-Identifier: Apache-2.0
#include "lm/device_model.cuh"

#include <cmath>

#include "attention/cuda/fixture.hpp"
#include "linear/cuda/fixture.hpp"
#include "lm/model.hpp"
#include "lm/model_file.hpp"

using namespace quire_lm;
using cuda_fixture::device_cache;
using device_test::device_array;
using device_test::finish;
using quire::linear::matrix;

namespace {

using layout = quire::kv::paged<quire::kv::raw_bf16>;

/// The first two layers of the model.
model_weights first_layers(const std::string& path, bool wide) {
  const auto file = gguf::file::open(path);
  model_weights w(file, {}, wide);
  w.config.layers = 2;
  w.layers.resize(2);
  return w;
}

/// Copies of matrices and vectors.
struct uploads {
  std::vector<device_array<std::byte>> bytes;
  std::vector<device_array<float>> floats;
  matrix operator()(matrix m) {
    bytes.emplace_back(std::span<const std::byte>(m.data, quire::linear::packed_bytes(m.type, m.rows, m.cols)), "weights");
    m.data = bytes.back().data();
    return m;
  }
  const float* operator()(const std::vector<float>& v) {
    floats.emplace_back(v, "vector");
    return floats.back().data();
  }
};

}  // namespace

// The CPU keeps every weight as f32 here, so that it does not round activations to 8 bits; both round
// attention's operands to bf16, so what is left is f32 order and now and then another bf16 neighbour.
TEST_CASE("lm cuda: hidden states of the model's first layers are the CPU's") {
  const std::string path = model_file();
  if (path.empty() || !device_test::device_or_skip()) return;
  const std::vector<std::int32_t> tokens{1, 378, 253, 17};  // rows of a step: four tokens of one sequence
  const auto rows = static_cast<std::uint32_t>(tokens.size());
  std::vector<float> want;
  std::uint32_t width = 0;
  {
    const model_weights wide = first_layers(path, true);
    width = wide.config.width;
    const layout pages(wide.config.cache_extents());
    quire::kv::store<layout> store(pages, quire::kv::pages_for(pages, 1, 64, 64));
    quire::thread_executor executor(1);
    llama<layout, quire::thread_executor> cpu(wide, pages, executor, rows, 1, 64);
    std::uint32_t sequence = 0;
    REQUIRE(store.open(sequence));
    REQUIRE(store.reserve(sequence, rows));
    want.resize(std::size_t{rows} * width);
    REQUIRE(cpu.step_hidden(store, {.sequence = sequence, .position = 0, .tokens = tokens, .wants_logits = false}, 0, want.data()));
  }
  const model_weights host = first_layers(path, false);
  const model_config& c = host.config;
  REQUIRE(c.head_dim == 64);
  const layout pages(c.cache_extents());
  quire::kv::store<layout> store(pages, quire::kv::pages_for(pages, 1, 64, 64));
  std::uint32_t sequence = 0;
  REQUIRE(store.open(sequence));
  REQUIRE(store.reserve(sequence, rows));
  const device_cache<layout> cache(store);

  uploads upload;
  std::vector<device_layer> layers;
  for (const layer_weights& l : host.layers)
    layers.push_back({.qkv = upload(l.qkv), .output = upload(l.output), .gate_up = upload(l.gate_up), .down = upload(l.down), .attention_norm = upload(l.attention_norm), .ffn_norm = upload(l.ffn_norm)});
  matrix embedding = host.embedding;
  embedding.rows = 512;  // the first panels of a matrix are one; these tokens need no more
  embedding = upload(embedding);
  const float* output_norm = upload(host.output_norm);
  const quire::rope rotary{.dims = c.rope_dims, .base = c.rope_base, .factors = host.rope_factors.empty() ? nullptr : host.rope_factors.data()};
  std::vector<float> angles(std::size_t{64} * c.rope_dims);
  quire::fill_rope(rotary, {0, 64}, angles.data());

  // One item for each kv head, all folded by one worker.
  const device_array<quire::attention::query_span> spans(std::vector<quire::attention::query_span>{{sequence, 0, rows, 0}}, "spans");
  std::vector<quire::attention::plan_item> plan_items(c.kv_heads);
  for (std::uint32_t h = 0; h < c.kv_heads; ++h) {
    static_cast<quire::attention::work_item&>(plan_items[h]) = {0, h, 0, rows, {0, 0, 1}};
    plan_items[h].workers = 1;
  }
  const device_array<quire::attention::plan_item> items(plan_items, "items");
  const device_array<quire::attention::plan_cut> cuts(std::vector<quire::attention::plan_cut>{{0, 0}, {c.kv_heads, 0}}, "cuts");
  device_step<layout> step{.view = cache.view(), .rows = rows, .rotary = {.table = upload(angles), .dims = c.rope_dims, .style = rotary.style}};
  step.plan.items = items.data(), step.plan.cuts = cuts.data(), step.plan.spans = spans.data();
  step.plan.item_count = c.kv_heads, step.plan.span_count = 1, step.plan.workers = step.plan.slots = 1;
  step.plan.depth = step.plan.merge_depth = quire::attention::subtree_walk::depth(1);

  using model = device_llama<layout, 64>;
  const std::uint32_t widest = std::max({c.width, c.q_heads * c.head_dim, c.ffn}), qkv = (c.q_heads + 2 * c.kv_heads) * c.head_dim;
  device_array<float> x(std::size_t{rows} * c.width, "x"), h(std::size_t{rows} * widest, "h"), wide(std::size_t{rows} * std::max(qkv, 2 * c.ffn), "wide"), out(std::size_t{rows} * c.width, "out");
  device_array<std::byte> scratch(model::kernel::scratch_bytes(step.plan) + 16, "scratch");
  device_array<std::uint32_t> arrivals(std::vector<std::uint32_t>(c.kv_heads), "arrivals"), flags(std::vector<std::uint32_t>(2), "flags");
  const device_array<std::int32_t> device_tokens(tokens, "tokens");
  step.x = x.data(), step.h = h.data(), step.wide = wide.data(), step.scratch = scratch.data(), step.arrivals = arrivals.data(), step.not_finite = flags.data();

  const auto good = [](const quire::status& s) {
    finish();
    INFO(quire::describe(s));
    REQUIRE(s);
  };
  const model device(c);
  good(quire::linear::cuda::embed<float>({.weights = embedding, .tokens = device_tokens.data(), .n = rows, .out = x.data(), .stride = c.width, .outside = flags.data() + 1}, {}));
  for (std::uint32_t l = 0; l < c.layers; ++l) good(device.layer(layers[l], l, step, {}));
  good(device.finish(output_norm, step, nullptr, rows, out.data(), {}));
  REQUIRE(flags.download() == std::vector<std::uint32_t>(2));

  const auto got = out.download();
  for (std::uint32_t r = 0; r < rows; ++r) {
    double difference = 0, size = 0;
    for (std::uint32_t i = 0; i < width; ++i) {
      const double a = want[r * width + i], d = got[r * width + i] - a;
      difference += d * d, size += a * a;
    }
    INFO("row " << r << ": relative difference " << std::sqrt(difference / size));
    CHECK(std::sqrt(difference / size) < 1e-3);
  }
}
