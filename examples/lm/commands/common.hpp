// SPDX-License-Identifier: Apache-2.0
// What every command of quire-lm shares: its options, the loaded model, measures of time and memory.
#pragma once

#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../backend.hpp"
#include "../chat.hpp"
#include "../heads.hpp"
#include "../weights.hpp"
#include "options.hpp"
#include "terminal.hpp"

#include <nlohmann/json.hpp>  // last: it brings std::quoted, which would be found for std::string beside ours

namespace quire_lm {

/// JSON with keys in the order in which they are written.
using json = nlohmann::ordered_json;

inline double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Units a second; 0 where nothing was measured.
inline double rate(double units, double seconds) { return seconds > 0 ? units / seconds : 0.0; }

/// The most memory this process has held, in bytes.
inline std::uint64_t peak_rss_bytes() {
  rusage use{};
  ::getrusage(RUSAGE_SELF, &use);
  return static_cast<std::uint64_t>(use.ru_maxrss) * 1024;
}

/// An expected outcome that is none here: the program asked for something it should not have.
inline void require(const quire::status& s) {
  if (!s) throw std::runtime_error(quire::describe(s));
}

/// The bytes of a regular file. fails: bad_input naming the flag it came by.
inline std::string read_text(const std::string& path, const char* flag) {
  const auto refuse = [&](const std::string& why) { throw bad_input(std::string(flag) + " is " + quire_lm::quoted(path) + ", " + why + ", allowed a readable file"); };
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) refuse("which can't be opened: " + std::string(std::strerror(errno)));
  if (S_ISDIR(st.st_mode)) refuse("a directory");
  std::ifstream in(path, std::ios::binary);
  if (!in) refuse("which can't be opened: " + std::string(std::strerror(errno)));
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) refuse("which can't be read");
  return text;
}

/// Tokens of a text that came by `flag`; control tokens written in it count if `parse_special`. fails: bad_input.
inline std::vector<token> encode_text(const tokenizer& tok, std::string_view text, const std::string& flag, bool parse_special) {
  require_utf8(text, flag);
  return tok.encode(text, {.add_special = true, .parse_special = parse_special});
}

/// Tokenizer, settings and weights of a file. What the file's header held is let go before the weights are read.
struct loaded_model {
  std::unique_ptr<tokenizer> tok;
  std::optional<chat_template> chat;
  std::string no_chat;  ///< why there is no chat template
  std::unique_ptr<model_weights> weights;
  double load_seconds = 0;

  const model_config& config() const { return weights->config; }
};

/// fails: bad_input naming --model or --heads.
inline loaded_model load_model(const common_options& o, bool with_weights = true) {
  const std::string& path = o.model;
  const double start = now();
  loaded_model m;
  try {
    gguf::file file = gguf::file::open(path);
    if (with_weights) static_cast<void>(read_config(file));  // a wrong file is refused before the long part
    m.tok = std::make_unique<tokenizer>(file);
    try {
      m.chat = read_chat_template(file);
    } catch (const bad_input& e) {
      m.no_chat = e.what();
    }
    for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"}) file.metadata.erase(key);
    ::malloc_trim(0);
    if (with_weights) {
      progress_line line("loading");
      m.weights = std::make_unique<model_weights>(file, [&](std::uint64_t done, std::uint64_t total) { line.at(static_cast<double>(done), static_cast<double>(total)); }, o.wide);
      if (m.weights->config.vocabulary < m.tok->size())
        throw bad_input("tensor 'token_embd.weight' has " + std::to_string(m.weights->config.vocabulary) + " rows, allowed at least the tokenizer's " + std::to_string(m.tok->size()));
    }
  } catch (const bad_input& e) {
    throw bad_input("--model: " + std::string(e.what()));
  }
  if (with_weights) {
    const std::string heads = o.heads.empty() ? committed_heads(m.config().name) : o.heads;
    if (!heads.empty()) m.weights->heads = read_head_scores(heads, m.config());
  }
  m.load_seconds = now() - start;
  return m;
}

/// fails: bad_input naming --isa.
inline instruction_set pick_instruction_set(const std::string& forced) {
  try {
    return choose_instruction_set(forced);
  } catch (const bad_input& e) {
    throw bad_input("--isa: " + std::string(e.what()));
  }
}
/// What computes, and how a model is made there. fails: bad_input naming --device or --isa.
inline instruction_set pick_device(const common_options& o) {
  if (o.device == "cpu") return pick_instruction_set(o.isa);
  if (!o.isa.empty()) throw bad_input("--isa is " + quire_lm::quoted(o.isa) + " beside --device " + o.device + ", allowed with --device cpu");
  try {
    return choose_cuda();
  } catch (const bad_input& e) {
    throw bad_input("--device: " + std::string(e.what()));
  }
}

}  // namespace quire_lm
