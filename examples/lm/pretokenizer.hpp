// SPDX-License-Identifier: Apache-2.0
// Cuts text into the words inside which byte-level BPE merges, by the patterns that tokenizer.ggml.pre names.
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.hpp"

namespace quire_lm {

/// How one family of models cuts words. Each stage cuts the pieces of the one before; what a stage's pattern leaves
/// between matches is a piece as well.
struct pretokenizer_rules {
  std::vector<std::string> stages;  ///< patterns with \s and \S meaning Unicode White_Space
  bool ignore_merges = false;       ///< a word that is a token needs no merges
  bool add_bos = false;             ///< unless tokenizer.ggml.add_bos_token says otherwise
};

/// The rules for a value of tokenizer.ggml.pre. fails: bad_input naming what is allowed.
[[nodiscard]] inline pretokenizer_rules rules_for(std::string_view pre) {
  const std::string gpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
  const auto cased = [](const char* digits) {  // llama 3 and qwen 2 differ in how many digits make a word
    return std::string(R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|)") +
           digits + R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  };
  struct family {
    const char* names;
    pretokenizer_rules rules;
  };
  const family families[] = {
      {" smollm starcoder refact command-r codeshell exaone minerva-7b ", {{R"(\p{N})", gpt2}, false, false}},
      {" gpt-2 phi-2 mpt olmo jais jina-es jina-de gigachat jina-v2-es jina-v2-de mellum modern-bert exaone4 trillion ",
       {{gpt2}, false, false}},
      {" llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 ", {{cased(R"(\p{N}{1,3})")}, true, true}},
      {" dbrx smaug-bpe ", {{cased(R"(\p{N}{1,3})")}, false, false}},
      {" qwen2 deepseek-r1-qwen kormo stablelm2 megrez hunyuan ", {{cased(R"(\p{N})")}, false, false}},
      {" falcon ", {{R"([\p{P}\$\+<=>\^~\|`]+)", gpt2, "[0-9][0-9][0-9]"}, false, false}},
      {" default ", {{R"([\p{P}\$\+<=>\^~\|]+)", gpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}, false, false}},
  };
  std::string allowed;
  const std::string wanted = " " + std::string(pre) + " ";
  for (const family& f : families) {
    if (pre.find(' ') == std::string_view::npos && std::string_view(f.names).find(wanted) != std::string_view::npos)
      return f.rules;
    allowed += f.names;
  }
  throw bad_input("tokenizer.ggml.pre is " + quoted(pre) + ", allowed one of" + allowed);
}

/// Compiled rules. Immutable; any number of threads may cut at once.
class pretokenizer {
 public:
  explicit pretokenizer(const pretokenizer_rules& rules) : limits_(pcre2_match_context_create(nullptr)) {
    if (!limits_) throw std::bad_alloc();
    // The patterns never backtrack more than linearly, so a long run of spaces must not meet the default limit.
    pcre2_set_match_limit(limits_.get(), UINT32_MAX);
    for (const std::string& stage : rules.stages) stages_.push_back(compile(stage));
  }

  /// Calls word(std::string_view) for each word of `text`, in order; together they are the text. `text` must be UTF-8.
  template <class Word>
  void cut(std::string_view text, Word&& word) const {
    std::vector<match_data> matches;
    for (const auto& stage : stages_) {
      matches.emplace_back(pcre2_match_data_create_from_pattern(stage.get(), nullptr));
      if (!matches.back()) throw std::bad_alloc();
    }
    cut_stage(0, text, matches, word);
  }

 private:
  struct release {
    void operator()(pcre2_code* p) const noexcept { pcre2_code_free(p); }
    void operator()(pcre2_match_data* p) const noexcept { pcre2_match_data_free(p); }
    void operator()(pcre2_match_context* p) const noexcept { pcre2_match_context_free(p); }
  };
  using code = std::unique_ptr<pcre2_code, release>;
  using match_data = std::unique_ptr<pcre2_match_data, release>;

  static code compile(const std::string& stage) {
    // PCRE2's own \s also takes U+180E, which Unicode no longer counts as White_Space.
    const std::string spaces =
        R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
    std::string pattern;
    bool in_class = false;
    for (std::size_t i = 0; i < stage.size(); ++i) {
      if (stage[i] == '\\' && i + 1 < stage.size()) {
        const char next = stage[++i];
        if (next == 's') {
          pattern += in_class ? spaces : "[" + spaces + "]";
        } else if (next == 'S') {
          pattern += "[^" + spaces + "]";
        } else {
          pattern += {'\\', next};
        }
        continue;
      }
      if (stage[i] == '[') in_class = true;
      if (stage[i] == ']') in_class = false;
      pattern += stage[i];
    }
    int error = 0;
    PCRE2_SIZE at = 0;
    code compiled(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP,
                                &error, &at, nullptr));
    if (!compiled) throw std::runtime_error("PCRE2 refuses a built-in pattern, code " + std::to_string(error));
    (void)pcre2_jit_compile(compiled.get(), PCRE2_JIT_COMPLETE);  // slower without, not different
    return compiled;
  }

  template <class Word>
  void cut_stage(std::size_t stage, std::string_view text, const std::vector<match_data>& matches, Word& word) const {
    if (text.empty()) return;
    if (stage == stages_.size()) return word(text);
    std::size_t at = 0;
    while (at < text.size()) {
      // The text is known to be UTF-8; checking it again in every call would be quadratic.
      const int found = pcre2_match(stages_[stage].get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                    PCRE2_NO_UTF_CHECK, matches[stage].get(), limits_.get());
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) throw std::runtime_error("PCRE2 fails to match, code " + std::to_string(found));
      const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(matches[stage].get());
      const std::size_t begin = ends[0], end = ends[1];
      cut_stage(stage + 1, text.substr(at, begin - at), matches, word);
      cut_stage(stage + 1, text.substr(begin, end - begin), matches, word);
      at = end;
    }
    cut_stage(stage + 1, text.substr(at), matches, word);
  }

  std::vector<code> stages_;
  std::unique_ptr<pcre2_match_context, release> limits_;
};

}  // namespace quire_lm
