// SPDX-License-Identifier: Apache-2.0
#include "sim/commands/prefixes.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "trace_file.hpp"

using namespace quire_sim;

namespace {

constexpr std::uint32_t capacities[] = {500, 2000, 8000, 32000};

void require_savings(const std::string& name, std::uint64_t total, std::uint64_t multi_level, std::uint64_t one_level,
                     std::uint64_t optimum, const std::vector<std::uint64_t>& lru) {
  const std::string path = trace_file(name);
  if (path.empty()) return;
  const prefix_savings s = measure_prefixes(read_trace(path), capacities);
  REQUIRE(s.total == total);
  REQUIRE(s.multi_level == multi_level);
  REQUIRE(s.one_level == one_level);
  REQUIRE(s.one_level_optimum == optimum);
  REQUIRE(s.lru == lru);
}

}  // namespace

TEST_CASE("prefixes: the Mooncake conversation trace, to the token") {
  require_savings("mooncake_conversation_trace.jsonl", 144793823, 54098411, 49668823, 49971364, {6229259, 7925494, 26221477, 49015462});
}

TEST_CASE("prefixes: the Mooncake synthetic trace, to the token") {
  require_savings("mooncake_synthetic_trace.jsonl", 61194628, 39852661, 39794078, 39794078, {2560420, 8974681, 23206289, 39138867});
}

TEST_CASE("prefixes: a small trace by hand") {
  trace t{.requests = {{.prompt_tokens = 1100, .output_tokens = 1, .first_block = 0, .blocks = 3},
                       {.prompt_tokens = 1024, .output_tokens = 1, .first_block = 3, .blocks = 2},
                       {.prompt_tokens = 1100, .output_tokens = 1, .first_block = 5, .blocks = 3}},
          .ids = {1, 2, 3, 1, 2, 1, 2, 3},
          .block_tokens = 512};
  const std::uint32_t sizes[] = {2, 3};
  const prefix_savings s = measure_prefixes(t, sizes);
  REQUIRE((s.total == 3224 && s.multi_level == 2048 + 76 && s.one_level == 2048 && s.one_level_optimum == 2048));
  REQUIRE(s.lru == std::vector<std::uint64_t>{1024, 1024 + 1100});
}

TEST_CASE("prefixes: the report holds what was printed, and names what can't be used") {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("quire_prefixes_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  const std::string trace = (folder / "trace.jsonl").string(), report = (folder / "report.json").string();
  std::ofstream(trace) << R"({"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": [1, 2]})" << "\n"
                       << R"({"timestamp": 0, "input_length": 1000, "output_length": 1, "hash_ids": [1, 3]})" << "\n";
  REQUIRE(prefixes({.trace = trace, .capacities = {1, 4}, .output = report}) == 0);
  std::ifstream in(report);
  const auto read = nlohmann::json::parse(in);
  REQUIRE(read["trace"] == "trace.jsonl");
  REQUIRE(read["total_tokens"] == 2024);
  REQUIRE((read["saved_multi_level"] == 512 && read["saved_one_level"] == 512 && read["saved_one_level_optimum"] == 512));
  REQUIRE(read["saved_lru"] == nlohmann::json{{"1", 0}, {"4", 512}});
  REQUIRE_THROWS_AS(prefixes({.trace = trace, .output = (folder / "no" / "report.json").string()}), std::runtime_error);
  const std::string lengths = (folder / "lengths.csv").string();
  std::ofstream(lengths) << "num_prefill_tokens,num_decode_tokens\n7,7\n";
  REQUIRE_THROWS_AS(prefixes({.trace = lengths}), bad_input);
  fs::remove_all(folder);
}
