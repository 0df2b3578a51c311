// SPDX-License-Identifier: Apache-2.0
// The commands of quire-lm and what each can be told. main.cpp fills these from the command line, and knows nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../sampler.hpp"

namespace quire_lm {

struct common_options {
  std::string model;
  std::string kv = "bf16";
  std::string heads;  ///< file of head scores; empty: the committed one of this model, if there is one
  std::string isa;  ///< empty: the best this machine runs
  std::string device = "cpu";  ///< or "cuda"
  std::uint32_t threads = 1;
  bool wide = false;  ///< all weights as f32, no activation rounded to 8 bits
  bool as_json = false;
};

struct generate_options : common_options {
  std::vector<std::string> prompts;
  std::vector<std::string> prompt_files;
  std::uint32_t tokens = 128;
  std::uint32_t context = 0;  ///< 0: as much as prompt and tokens need
  std::uint32_t chunk = 64;   ///< rows of one step: what keeps peak memory within 1.2 model files beside the cache
  sampler_options sampling;
  bool chat = false;
  bool whole_prompts = false;
};

struct tokenize_options : common_options {
  std::string file;
};

struct perplexity_options : common_options {
  std::string file;
  std::uint32_t context = 512;
  std::uint32_t chunk = 128;  ///< rows of one step
  std::string reference;      ///< another cache to compare with; empty: none
};

struct bench_options : common_options {
  std::uint32_t prompt = 512, tokens = 64;
  std::vector<std::uint32_t> depths{0, 4096}, batches{1};
  std::vector<std::string> kvs{"bf16"};
  std::uint32_t chunk = 256;  ///< rows of one step
};

struct compare_options : common_options {
  std::vector<std::string> kvs;  ///< empty: all; f32 comes first in any case
  std::string file;              ///< empty: the project's own texts
  std::string prompt;            ///< continued by every cache; empty: not
  std::uint32_t tokens = 32;     ///< of the continuation
  std::uint32_t context = 0;     ///< of a perplexity window; 0: 2048, with a suite 4096
  std::string output;            ///< where JSON goes besides; empty: nowhere
  std::string suite;             ///< empty: none; "kv"
  std::string report;            ///< where a suite's results go; needed by a suite
  std::optional<std::uint32_t> trials;  ///< questions of each of a suite's retrieval tasks (50)
  std::optional<std::uint64_t> seed;    ///< of a suite's tasks (0)
  std::optional<std::uint32_t> facts;   ///< of a suite's retrieval contexts (3 needles, 4 lines)
  std::vector<std::string> tasks;       ///< retrieval tasks of a suite, "needle" and "line"; empty: both
  std::vector<std::uint32_t> lengths;   ///< of a suite's retrieval prompts; empty: a quarter, a half and all of the context
  bool whole_prompts = false;    ///< prompts of a suite are read as if nothing were dropped
  bool resume = false;           ///< rows that `report` holds already are kept
};

struct calibrate_options : common_options {
  std::string file;                  ///< what the passkeys hide in; empty: the project's own texts
  std::string output;                ///< the JSON file
  std::string record;                ///< D matrices of the gates besides; empty: not
  std::string from;                  ///< D matrices of an earlier run instead of passes; empty: passes
  std::uint32_t probes = 3, period = 256, repeats = 4;
  std::uint32_t samples = 4, length = 1024;   ///< passkey texts and their tokens
  std::uint32_t sinks = 64, window = 256;     ///< of a streaming head
  std::uint32_t steps = 500;
  double lambda = 0.5;
  std::vector<double> keeps;                  ///< shares of heads to learn gates for besides
  std::uint32_t rounds = 2;                   ///< passes around the heads kept so far, for each of them
  std::uint64_t seed = 0;
};

struct schedule_options : common_options {
  std::string experiment;                     ///< stalls, groups, swaps
  std::vector<std::uint32_t> taus{64, 256, 0};  ///< stalls: token budgets; 0: prefill first
  std::uint32_t prompt = 4096;                ///< stalls: tokens of the prompt that arrives
  std::uint32_t even_depth = 0;               ///< stalls: of the arms by cost; 0: what the arm before shows
  std::uint32_t running = 4;                  ///< stalls: texts that are being generated; else sequences that run at once
  std::uint32_t tau = 256;                    ///< groups, swaps: token budget
  std::uint32_t groups = 8, members = 8;      ///< groups: documents, and prompts on each; swaps: their product
  std::uint32_t shared = 512, own = 32;       ///< tokens of a document (swaps: of a prompt, at most), and after it
  std::uint32_t tokens = 32;                  ///< generated for each text
  std::uint64_t room = 0;                     ///< rows of the cache; 0: groups, all that run; swaps, half of them
  std::uint32_t rounds = 3;
  std::uint64_t seed = 1;
};

// Each prints to stdout and returns the exit status. fails: bad_input for what was given, std::runtime_error otherwise.
int generate(const generate_options& o);
/// Prints the tokens of a text: control tokens written in it count, and a beginning token comes first where the file asks.
int tokenize(const tokenize_options& o);
int perplexity(const perplexity_options& o);
int bench(const bench_options& o);
/// The same model on composed caches, side by side.
int compare(const compare_options& o);
/// Scores every kv head of a model, into a small JSON file that head splits are made from.
int calibrate(const calibrate_options& o);
/// Scheduling policies side by side on the real model.
int schedule(const schedule_options& o);

}  // namespace quire_lm
