// SPDX-License-Identifier: Apache-2.0
#include "lm/heads.hpp"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "catch.hpp"
#include "lm/caches/heads.hpp"
#include "small_llama.hpp"

using namespace quire_lm;

namespace {
const std::string file = (std::filesystem::temp_directory_path() / ("quire_heads_" + std::to_string(::getpid()) + ".json")).string();

model_config two_by_two() {
  model_config c;
  c.name = "m", c.layers = 2, c.kv_heads = 2;
  return c;
}
head_scores read(const std::string& text) {
  std::ofstream(file) << text;
  const head_scores s = read_head_scores(file, two_by_two());
  std::filesystem::remove(file);
  return s;
}
std::string refusal(const std::string& text) {
  try {
    static_cast<void>(read(text));
  } catch (const bad_input& e) {
    return e.what();
  }
  return "";
}
const std::string scores = R"({"version": 1, "model": "m", "how": "h", "layers": 2, "kv_heads": 2, "gates": [1, 0.5, 0, 0.25], "induction": [0, 1, 0, 0], "echo": [0, 0, 1, 0])";
}  // namespace

TEST_CASE("gates learned for a budget come back from the file and are used for that share alone") {
  const head_scores s = read(scores + R"(, "budgets": [{"keep": 0.25, "gates": [0, 0, 0.125, 1]}]})");
  CHECK(s.gates_for(0.5) == std::vector<double>{1, 0.5, 0, 0.25});
  CHECK(s.gates_for(0.25) == std::vector<double>{0, 0, 0.125, 1});
  CHECK(s.gates_for(0.3) == s.gates_for(0.25));  // the same number of heads
  CHECK(read(scores + "}").budgets.empty());
  std::ostringstream written;
  write_head_scores(written, s, two_by_two());
  const head_scores again = read(written.str());
  REQUIRE(again.budgets.size() == 1);
  CHECK(again.budgets[0].keep == 0.25);
  CHECK(again.budgets[0].gates == s.budgets[0].gates);
  CHECK(again.gates == s.gates);
}

TEST_CASE("a budget that can't be used is refused by name") {
  CHECK(refusal(scores + R"(, "budgets": [{"keep": 1, "gates": [0, 0, 0, 1]}]})").find("'keep' is 1") != std::string::npos);
  CHECK(refusal(scores + R"(, "budgets": [{"keep": 0.25, "gates": [0, 0, 1]}]})").find("'gates' of a budget") != std::string::npos);
  CHECK(refusal(scores + R"(, "budgets": [{"gates": [0, 0, 0, 1]}]})").find("keep") != std::string::npos);
  CHECK(refusal(scores + R"(, "budgets": [{"keep": 0.25, "gates": "few"}]})").find("another type") != std::string::npos);
}

TEST_CASE("razor chooses by induction and echo, or by gates where a share is given") {
  const lm_test::small_llama_file model({.layers = 2}, 7);
  model_weights w(gguf::file::open(model.path()));
  w.heads = read(scores + R"(, "budgets": [{"keep": 0.25, "gates": [0, 0, 0.125, 1]}]})");
  const auto chosen = [&](const char* cache) { return repeating_heads(parse_cache(cache), w, {}); };
  CHECK(chosen("razor:induction=0.25:echo=0.25") == std::vector<std::uint8_t>{0, 1, 1, 0});
  CHECK(chosen("razor:keep=0.25") == std::vector<std::uint8_t>{0, 0, 0, 1});
  CHECK(chosen("razor:keep=0.5") == std::vector<std::uint8_t>{1, 1, 0, 0});
  CHECK_THROWS_WITH(chosen("razor:keep=0.25:echo=0.1"), Catch::Contains("keep beside induction or echo"));
}
