// SPDX-License-Identifier: Apache-2.0
#include "sim/traces.hpp"

#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "trace_file.hpp"

using namespace quire_sim;

namespace {

/// A file of its own for a test, removed with it.
struct written {
  std::string path;
  explicit written(const std::string& text) {
    static int count = 0;
    path = (std::filesystem::temp_directory_path() / ("quire_trace_" + std::to_string(::getpid()) + "_" + std::to_string(++count))).string();
    std::ofstream(path, std::ios::binary) << text;
  }
  ~written() { std::remove(path.c_str()); }
};
trace parsed(const std::string& text) { return read_trace(written(text).path); }
/// The message without the file's name in front.
std::string refusal(const std::string& text) {
  const written file(text);
  try {
    static_cast<void>(read_trace(file.path));
  } catch (const bad_input& e) {
    const std::string said = e.what();
    return said.substr(0, file.path.size()) == file.path ? said.substr(file.path.size()) : said;
  }
  return "";
}

const std::string mooncake = R"({"timestamp": 3000, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]})";
const std::string azure = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";

}  // namespace

TEST_CASE("traces: Mooncake lines") {
  const trace t = parsed(mooncake + "\n" + R"({"timestamp": 4500, "input_length": 512, "output_length": 7, "hash_ids": [9]})");
  REQUIRE((t.timed && t.block_tokens == 512 && t.requests.size() == 2));
  REQUIRE((t.requests[0].arrival == 0 && t.requests[1].arrival == 1.5));
  REQUIRE((t.requests[0].prompt_tokens == 600 && t.requests[1].output_tokens == 7));
  REQUIRE((t.blocks(t.requests[0]).size() == 2 && t.blocks(t.requests[1])[0] == 9));
}

TEST_CASE("traces: Azure rows over midnight, with either line end and none at the end") {
  const trace t = parsed(azure + "2023-12-31 23:59:59.9000000,4808,10\r\n2024-01-01 00:00:00.4000000,3,2\n2024-01-01 00:00:01,3,2");
  REQUIRE((t.timed && t.block_tokens == 0 && t.requests.size() == 3));
  REQUIRE(t.requests[0].arrival == 0);
  REQUIRE(t.requests[1].arrival == Approx(0.5));
  REQUIRE(t.requests[2].arrival == Approx(1.1));
  REQUIRE((t.requests[0].prompt_tokens == 4808 && t.requests[0].output_tokens == 10));
}

TEST_CASE("traces: lengths alone") {
  const trace t = parsed("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n74,918,992,0.08\n");
  REQUIRE((!t.timed && t.requests.size() == 1 && t.requests[0].prompt_tokens == 74 && t.requests[0].output_tokens == 918));
}

TEST_CASE("traces: what can't be used names line, field and value") {
  REQUIRE(refusal(mooncake + "\n{\"timestamp\": 1") == ", line 2: the line is '{\"timestamp\": 1', allowed a JSON object");
  REQUIRE(refusal(R"({"timestamp": 0, "input_length": -5, "output_length": 1, "hash_ids": []})") == ", line 1: input_length is '-5', allowed a whole number from 1 to 16777216");
  REQUIRE(refusal(R"({"timestamp": 0, "output_length": 1, "hash_ids": []})") == ", line 1: input_length is 'absent', allowed a whole number from 1 to 16777216");
  REQUIRE(refusal(R"({"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [1]})") == ", line 1: hash_ids is '1 ids', allowed 2, one for each 512 of input_length");
  REQUIRE(refusal(R"({"timestamp": 0, "input_length": 6, "output_length": 1, "hash_ids": ["a"]})") == ", line 1: hash_ids is '\"a\"', allowed whole numbers");
  REQUIRE(refusal(mooncake + "\n\n" + R"({"timestamp": 2999, "input_length": 6, "output_length": 1, "hash_ids": [1]})") == ", line 3: timestamp is '-0.001000 s after the line before', allowed times that do not go back");
  REQUIRE(refusal(azure + "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04,0,10") == ", line 3: ContextTokens is '0', allowed a whole number from 1 to 16777216");
  REQUIRE(refusal(azure + "2023-11-16 18:17:03.9799600,4808") == ", line 2: the number of fields is '2', allowed 3 as in the header");
  REQUIRE(refusal(azure + "2023-02-30 18:17:03,48,1") == ", line 2: TIMESTAMP is '2023-02-30 18:17:03', allowed a time such as 2023-11-16 18:17:03.9799600");
  REQUIRE(refusal(azure + "yesterday,48,1") == ", line 2: TIMESTAMP is 'yesterday', allowed a time such as 2023-11-16 18:17:03.9799600");
  REQUIRE(refusal("num_prefill_tokens,num_decode_tokens\n7,7.5\n") == ", line 2: num_decode_tokens is '7.5', allowed a whole number from 1 to 16777216");
  REQUIRE(refusal("a,b\n1,2\n").find(", line 1: the first line is 'a,b', allowed a JSON object, or a header with") == 0);
  REQUIRE(refusal("").find("holds no request") != std::string::npos);
  REQUIRE_THROWS_AS(read_trace("/nowhere/at/all"), bad_input);
  REQUIRE_THROWS_AS(read_trace(std::filesystem::temp_directory_path().string()), bad_input);
}

TEST_CASE("traces: the public files") {
  const auto expect = [](const char* name, std::size_t requests, bool timed, std::uint32_t prompt, std::uint32_t output) {
    const std::string path = trace_file(name);
    if (path.empty()) return;
    const trace t = read_trace(path);
    REQUIRE((t.requests.size() == requests && t.timed == timed));
    REQUIRE((t.requests[0].prompt_tokens == prompt && t.requests[0].output_tokens == output));
  };
  expect("AzureLLMInferenceTrace_code.csv", 8819, true, 4808, 10);
  expect("AzureLLMInferenceTrace_conv.csv", 19366, true, 374, 44);
  expect("mooncake_conversation_trace.jsonl", 12031, true, 6758, 500);
  expect("mooncake_synthetic_trace.jsonl", 3993, true, 40160, 6);
  expect("sharegpt_8k_filtered_stats_llama2_tokenizer.csv", 30731, false, 74, 918);
  expect("arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv", 28257, false, 3772, 54);
}
