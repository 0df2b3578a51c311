// SPDX-License-Identifier: Apache-2.0
#include "quire/serve/simulate/profiles.hpp"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "catch.hpp"

using namespace quire::serve::simulate;

namespace {
namespace fs = std::filesystem;

std::string trace(const std::string& name) {
  const char* given = std::getenv("QUIRE_TRACES");
  for (const fs::path& folder : {fs::path(given ? given : ""), fs::path(__FILE__).parent_path() / "../../../../shared/data/traces"})
    if (!folder.empty() && fs::exists(folder / name)) return (folder / name).string();
  return {};
}
std::vector<std::vector<double>> rows(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  std::vector<std::vector<double>> out;
  while (std::getline(in, line)) {
    out.emplace_back();
    std::istringstream cells(line);
    for (std::string c; std::getline(cells, c, ',');) out.back().push_back(c.empty() ? 0 : std::strtod(c.c_str(), nullptr));
  }
  return out;
}
work prompt_in_chunks(std::uint32_t length, std::uint32_t at, std::uint32_t chunk) {
  work w;
  w.prefill(std::min(chunk, length - at), at);
  return w;
}
}  // namespace

TEST_CASE("every machine has a name of its own, a rising table, and a cost that grows with the work") {
  for (const machine& m : machines) {
    CAPTURE(m.name);
    REQUIRE(find_machine(m.name) == &m);
    REQUIRE(m.row_bytes > 0);
    REQUIRE(m.cache_rows > 0);
    for (std::size_t i = 1; i < m.cost.linear.size(); ++i) {
      REQUIRE(m.cost.linear[i].tokens > m.cost.linear[i - 1].tokens);
      REQUIRE(m.cost.linear[i].seconds >= m.cost.linear[i - 1].seconds);
    }
    REQUIRE(decode_seconds(m.cost, 32, 4096) > decode_seconds(m.cost, 32, 1024));
    REQUIRE(decode_seconds(m.cost, 64, 1024) > decode_seconds(m.cost, 32, 1024));
  }
  REQUIRE(find_machine("abacus") == nullptr);
}

TEST_CASE("a row of keys and values takes its bytes over the bandwidth") {
  for (const machine& m : machines) {
    const double bandwidth = static_cast<double>(m.row_bytes) / m.cost.per_row;  // bytes a second
    CAPTURE(m.name, bandwidth);
    REQUIRE(bandwidth > 0.3e12);
    REQUIRE(bandwidth < 3.4e12);  // Yi-34B: two machines
  }
}

TEST_CASE("the published fit gives the published iteration times") {
  work decodes{.decodes = 32, .decode_context = 32 * 1024};
  REQUIRE(niyama_fit.seconds(decodes) == Approx(21.6e-3).epsilon(0.01));
  work prompt;
  prompt.prefill(512, 0);
  REQUIRE(niyama_fit.seconds(prompt) == Approx(56.6e-3).epsilon(0.01));
}

TEST_CASE("the tile step of the 7B profile: 264 tokens cost a quarter more than 256") {
  const profiled_cost& c = find_machine("a100-llama2-7b")->cost;
  REQUIRE(c.linear_seconds(257) / c.linear_seconds(256) == Approx(22.4 / 17.8));
  REQUIRE(c.linear_seconds(513) / c.linear_seconds(512) == Approx(36.9 / 33.4));
}

TEST_CASE("Yi-34B: the model meets the artefact's measured iterations, also those it was not made from") {
  const std::string decode = trace("sarathi_osdi_figure-2_decode.csv"), prefill = trace("sarathi_osdi_figure-2_prefill.csv"),
                    chunks = trace("sarathi_osdi_figure-9_chunking-overhead.csv");
  if (decode.empty() || prefill.empty() || chunks.empty()) {
    std::cout << "skipped: sarathi_osdi_*.csv in QUIRE_TRACES\n";
    return;
  }
  const profiled_cost& c = find_machine("a100x2-yi-34b")->cost;
  for (const auto& r : rows(decode)) {  // contexts are not recorded; 1024 rows is our guess
    CAPTURE(r[2]);
    REQUIRE(decode_seconds(c, static_cast<std::uint32_t>(r[2]), 1024) == Approx(r[7]).epsilon(0.2));
  }
  for (const auto& r : rows(prefill)) {
    if (r[1] == 256) continue;  // the first batch, a warm-up
    work w;
    w.prefill(static_cast<std::uint32_t>(r[1]), 0);
    CAPTURE(r[1]);
    REQUIRE(c.seconds(w) == Approx(r[7]).epsilon(0.02));
  }
  for (const auto& r : rows(chunks)) {  // held out: chunk by chunk
    const auto length = static_cast<std::uint32_t>(r[0]), chunk = static_cast<std::uint32_t>(r[1]);
    double sum = 0;
    for (std::uint32_t at = 0; at < length; at += chunk) sum += c.seconds(prompt_in_chunks(length, at, chunk));
    CAPTURE(length, chunk);
    REQUIRE(sum * 1e3 == Approx(r[2]).epsilon(0.12));
  }
}

TEST_CASE("the 7B table is the profile's") {
  const std::string path = trace("vidur_a100_Llama-2-7b-hf_mlp.csv");
  if (path.empty()) {
    std::cout << "skipped: vidur_a100_Llama-2-7b-hf_mlp.csv in QUIRE_TRACES\n";
    return;
  }
  std::ifstream in(path);
  std::string line, cell;
  std::getline(in, line);
  std::vector<std::string> names;
  for (std::istringstream cells(line); std::getline(cells, cell, ',');) names.push_back(cell);
  const profiled_cost& c = find_machine("a100-llama2-7b")->cost;
  std::size_t compared = 0;
  for (const auto& r : rows(path)) {
    double layer = 0, tokens = 0, workers = 0;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i].find(".median") != std::string::npos && names[i].find(".emb.") == std::string::npos) layer += r[i];
      if (names[i] == "num_tokens") tokens = r[i];
      if (names[i] == "num_tensor_parallel_workers") workers = r[i];
    }
    if (workers != 1) continue;
    CAPTURE(tokens);
    REQUIRE(c.linear_seconds(static_cast<std::uint32_t>(tokens)) == Approx(layer * 32e-3).epsilon(0.13));
    ++compared;
  }
  REQUIRE(compared > 200);
}
