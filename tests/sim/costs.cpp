// SPDX-License-Identifier: Apache-2.0
#include "sim/costs.hpp"

#include <cmath>

#include "catch.hpp"
#include "quire/serve/simulate/profiles.hpp"
#include "sim/error.hpp"
#include "trace_file.hpp"
#include "written_file.hpp"

using namespace quire_sim;
namespace sim = quire::serve::simulate;

namespace {
std::string refusal(const std::string& name) {
  try {
    static_cast<void>(make_cost(name, {}, "--cost-model"));
  } catch (const bad_input& e) {
    return e.what();
  }
  return {};
}
sim::work decodes(std::uint32_t n, std::uint64_t rows) { return {.decodes = n, .decode_context = n * rows}; }
}  // namespace

TEST_CASE("machines and fits are found by name, and copies of a model stand on their own tables") {
  for (const sim::machine& m : sim::machines) {
    cost_model a = make_cost(std::string(m.name), {}, "--cost-model");
    const cost_model b = a;
    const cost_model c = std::move(a);
    for (const std::uint32_t n : {1u, 100u, 257u}) {
      REQUIRE(b.seconds(decodes(n, 1000)) == m.cost.seconds(decodes(n, 1000)));
      REQUIRE(c.seconds(decodes(n, 1000)) == m.cost.seconds(decodes(n, 1000)));
    }
    REQUIRE(b.row_bytes == m.row_bytes);
  }
  REQUIRE(make_cost("niyama", {}, "--cost-model").seconds(decodes(32, 1024)) == sim::niyama_fit.seconds(decodes(32, 1024)));
  REQUIRE_THAT(refusal("abacus"), Catch::Contains("--cost-model is 'abacus'") && Catch::Contains("a100-mistral-7b") && Catch::Contains("vidur:FILE"));
}

TEST_CASE("a profile of one layer becomes a table of the model, its steps kept, other workers and embeddings left out") {
  const std::string head = "time_stats.emb.median,time_stats.mlp.median,time_stats.mlp.max,time_stats.add.median,n_head,n_kv_head,n_embd,num_tokens,num_tensor_parallel_workers\n";
  const written_file file(head + "9,1.5,7,0.5,32,8,4096,256,1\n9,2,7,0.5,32,8,4096,264,1\n9,7,7,7,32,8,4096,256,2\n9,1,7,0.5,32,8,4096,8,1\n");
  const cost_model m = make_cost("vidur:" + file.path(), {.layers = 10}, "--cost-model");
  const auto at = [&](std::uint32_t n) { return m.seconds({.prefill_tokens = n}); };
  REQUIRE(at(256) == Approx(1e-3 + 20e-3));
  REQUIRE(at(257) == Approx(1e-3 + 25e-3));
  REQUIRE(at(3) == Approx(1e-3 + 15e-3));
  REQUIRE(m.row_bytes == 2 * 2 * 8 * 128 * 10);
  REQUIRE(m.seconds(decodes(8, 1000)) - at(8) == Approx(8000 * 40960 / 1.2e12));
  REQUIRE_THAT(refusal("vidur:" + file.path() + "x"), Catch::Contains("can't be opened"));
  REQUIRE_THAT(refusal("vidur:" + written_file("a,b\n1,2\n").path()), Catch::Contains("no column num_tokens"));
  REQUIRE_THAT(refusal("vidur:" + written_file(head + "9,ten,7,0.5,32,8,4096,256,1\n").path()), Catch::Contains("line 2") && Catch::Contains("time_stats.mlp.median is 'ten'"));
  REQUIRE_THAT(refusal("vidur:" + written_file(head + "9,1,7,0.5,32,8,4096,256,2\n").path()), Catch::Contains("num_tensor_parallel_workers 1"));
}

TEST_CASE("what quire-lm bench measured gives the costs back that it was made of") {
  const double step = 2e-3, sequence = 5e-4, row = 3e-7, token = 4e-4, pair = 2e-8;
  std::string rows;
  for (const int depth : {0, 512, 4096})
    for (const int batch : {1, 4, 16}) {
      const double decode = batch / (step + batch * sequence + batch * (depth + 4.0) * row), prefill = 1 / (token + pair * (depth + 64 / 2.0));
      char line[256];
      std::snprintf(line, sizeof line, R"({"kv":"bf16","depth":%d,"batch":%d,"decode_tokens_per_second":%.12g,"prefill_tokens_per_second":%.12g})", depth, batch, decode, prefill);
      rows += (rows.empty() ? "" : ",") + std::string(line);
    }
  const written_file file(R"({"prompt":64,"tokens":8,"rows":[)" + rows + "]}");
  const cost_model m = make_cost("bench:" + file.path(), {}, "--cost-model");
  for (const std::uint32_t n : {1u, 3u, 40u})
    for (const std::uint64_t ctx : {10u, 2000u}) REQUIRE(m.seconds(decodes(n, ctx)) == Approx(step + n * sequence + static_cast<double>(n * ctx) * row));
  sim::work chunk;
  chunk.prefill(128, 1000);
  REQUIRE(m.seconds(chunk) == Approx(step + 128 * token + 128 * 1064.0 * pair));
  REQUIRE_THAT(refusal("bench:" + written_file(R"({"prompt":64,"tokens":8,"rows":[{"kv":"a","depth":0,"batch":1,"decode_tokens_per_second":1,"prefill_tokens_per_second":1}]})").path()), Catch::Contains("1 depths and 1 batches"));
  REQUIRE_THAT(refusal("bench:" + written_file("[]").path()), Catch::Contains("no JSON object"));
  REQUIRE_THAT(refusal("bench:" + written_file(R"({"prompt":"x","tokens":8,"rows":[]})").path()), Catch::Contains("prompt"));
}

TEST_CASE("the public profile and the table in the library are the same machine") {
  const std::string path = trace_file("vidur_a100_Llama-2-7b-hf_mlp.csv");
  if (path.empty()) return;
  const cost_model file = make_cost("vidur:" + path, {}, "--cost-model"), table = make_cost("a100-llama2-7b", {}, "--cost-model");
  REQUIRE(file.row_bytes == table.row_bytes);
  for (std::uint32_t n = 1; n <= 4096; n += 5) {
    sim::work w;
    w.prefill(n, 0);
    CAPTURE(n);
    REQUIRE(file.seconds(w) == Approx(table.seconds(w)).epsilon(0.13));
  }
}
