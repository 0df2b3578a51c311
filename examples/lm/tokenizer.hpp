// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE as the tokenizer.ggml.* fields of a GGUF file describe it: text to tokens and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bpe.hpp"
#include "error.hpp"
#include "gguf_header.hpp"
#include "pretokenizer.hpp"
#include "unicode.hpp"

namespace quire_lm {

using token = std::int32_t;
enum class token_kind : std::int32_t { undefined, normal, unknown, control, user_defined, unused, byte };

/// The tokenizer's part of a file, as it stands there.
struct vocabulary {
  std::vector<std::string> tokens;  ///< byte-level tokens in the printable alphabet, special ones as they are
  std::vector<token_kind> kinds;    ///< one for each token, or empty: all normal
  std::vector<std::string> merges;  ///< "left right", best first
  std::string pre = "default";
  std::optional<token> bos, eos, eot, unknown;
  std::optional<bool> add_bos, add_eos;  ///< empty: what `pre` implies
};

/// fails: bad_input naming the key, its value and what is allowed.
[[nodiscard]] inline vocabulary read_vocabulary(const gguf::header& file) {
  const auto model = file.get<std::string>("tokenizer.ggml.model");
  if (model != "gpt2") throw bad_input("tokenizer.ggml.model is " + quoted(model) + ", allowed 'gpt2'");
  vocabulary v;
  const gguf::value& tokens = file.strings("tokenizer.ggml.tokens");
  for (std::size_t i = 0; i < tokens.count; ++i) v.tokens.emplace_back(tokens.text(i));
  if (file.has("tokenizer.ggml.token_type")) {
    for (const auto kind : file.numbers<std::int32_t>("tokenizer.ggml.token_type"))
      v.kinds.push_back(static_cast<token_kind>(kind));
    if (v.kinds.size() != v.tokens.size()) {
      throw bad_input("tokenizer.ggml.token_type has " + std::to_string(v.kinds.size()) + " elements, allowed " +
                      std::to_string(v.tokens.size()));
    }
  }
  const gguf::value& merges = file.strings("tokenizer.ggml.merges");
  for (std::size_t i = 0; i < merges.count; ++i) v.merges.emplace_back(merges.text(i));
  v.pre = file.get_or<std::string>("tokenizer.ggml.pre", "default");
  const auto special = [&](const char* key, std::optional<token>& to) {
    if (file.has(key)) to = static_cast<token>(file.get_in(key, 0, static_cast<std::int64_t>(v.tokens.size()) - 1));
  };
  special("tokenizer.ggml.bos_token_id", v.bos);
  special("tokenizer.ggml.eos_token_id", v.eos);
  special("tokenizer.ggml.eot_token_id", v.eot);
  special("tokenizer.ggml.unknown_token_id", v.unknown);
  if (file.has("tokenizer.ggml.add_bos_token")) v.add_bos = file.get<bool>("tokenizer.ggml.add_bos_token");
  if (file.has("tokenizer.ggml.add_eos_token")) v.add_eos = file.get<bool>("tokenizer.ggml.add_eos_token");
  return v;
}

struct encode_options {
  bool add_special = false;    ///< bos and eos, where the file asks for them
  bool parse_special = false;  ///< control tokens written in the text become those tokens; else they are plain text
};

/// A stretch of text in which control tokens are, or are not, recognised.
struct text_part {
  std::string_view text;
  bool parse_special = false;
};

/// Immutable after construction; any thread may encode and decode.
class tokenizer {
 public:
  /// fails: bad_input for a vocabulary that contradicts itself.
  explicit tokenizer(vocabulary v) : rules_(rules_for(v.pre)), cutter_(rules_), bos_(v.bos), eos_(v.eos) {
    if (v.tokens.empty()) throw bad_input("tokenizer.ggml.tokens has 0 elements, allowed at least 1");
    if (v.tokens.size() > most || v.merges.size() > most) {
      throw bad_input("tokenizer.ggml.tokens or merges has more elements than allowed, " + std::to_string(most));
    }
    add_bos_ = v.add_bos.value_or(rules_.add_bos);
    add_eos_ = v.add_eos.value_or(false);
    if (add_bos_ && !bos_)
      throw bad_input("tokenizer.ggml.bos_token_id is absent, needed because a beginning token is added");
    if (add_eos_ && !eos_)
      throw bad_input("tokenizer.ggml.eos_token_id is absent, needed because an ending token is added");
    kinds_ = std::move(v.kinds);
    kinds_.resize(v.tokens.size(), token_kind::normal);
    read_tokens(v.tokens);
    read_merges(v.merges);
    if (!rules_.ignore_merges) words_ = {};  // megabytes that encoding will not ask for
    for (const auto id : {v.eos, v.eot})
      if (id) ends_[static_cast<std::size_t>(*id)] = true;
  }
  explicit tokenizer(const gguf::header& file) : tokenizer(read_vocabulary(file)) {}

  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::optional<token> bos() const noexcept { return bos_; }
  [[nodiscard]] std::optional<token> eos() const noexcept { return eos_; }
  [[nodiscard]] bool adds_bos() const noexcept { return add_bos_; }
  /// Whether a model that emits this token has finished its turn.
  [[nodiscard]] bool is_end(token id) const noexcept { return in_range(id) && ends_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] token_kind kind(token id) const { return kinds_[checked(id)]; }
  /// The control or user-defined token of that text.
  [[nodiscard]] std::optional<token> special(std::string_view text) const {
    const auto hit = longest_special(text, 0, true);
    return hit.size == text.size() && hit.size > 0 ? std::optional(hit.id) : std::nullopt;
  }

  /// The bytes a token stands for; not UTF-8 on their own. A control token gives its text if `with_control`, else
  /// nothing.
  [[nodiscard]] std::string_view bytes(token id, bool with_control = false) const {
    const std::size_t i = checked(id);
    return !with_control && (kinds_[i] == token_kind::control || kinds_[i] == token_kind::unknown) ? std::string_view()
                                                                                                   : bytes_[i];
  }
  [[nodiscard]] std::string decode(std::span<const token> ids, bool with_control = false) const {
    std::string out;
    for (const token id : ids) out += bytes(id, with_control);
    return out;
  }

  /// Tokens of a UTF-8 text. Bytes for which the vocabulary has no token are left out, as its trainers do; `dropped`
  /// counts them. cost: O(n log n). fails: bad_input naming the offset of the first byte that is not UTF-8.
  [[nodiscard]] std::vector<token> encode(std::string_view text, encode_options options = {},
                                          std::size_t* dropped = nullptr) const {
    const text_part whole{text, options.parse_special};
    return encode(std::span(&whole, 1), options.add_special, dropped);
  }
  /// The same for a text in parts, merged as one text: words may reach over parts, control tokens may not.
  [[nodiscard]] std::vector<token> encode(std::span<const text_part> parts, bool add_special,
                                          std::size_t* dropped = nullptr) const {
    work w{merger(merges_), {}, {}, 0};
    if (add_special && add_bos_) w.out.push_back(*bos_);
    std::string run;  // plain text since the last special token
    for (const text_part& part : parts) {
      if (part.text.size() > most)
        throw bad_input("text has " + std::to_string(part.text.size()) + " bytes, allowed " + std::to_string(most));
      require_utf8(part.text, "text");
      std::size_t plain = 0;
      for (std::size_t at = 0; at < part.text.size();) {
        const special_match hit = longest_special(part.text, at, part.parse_special);
        if (hit.size == 0) {
          ++at;
          continue;
        }
        run += part.text.substr(plain, at - plain);
        encode_plain(run, w);
        run.clear();
        w.out.push_back(hit.id);
        plain = at += hit.size;
      }
      run += part.text.substr(plain);
      if (run.size() > most) throw bad_input("text has more bytes than allowed, " + std::to_string(most));
    }
    encode_plain(run, w);
    if (add_special && add_eos_) w.out.push_back(*eos_);
    if (dropped != nullptr) *dropped = w.dropped;
    return std::move(w.out);
  }

 private:
  static constexpr std::size_t most = 0x7fffffff;
  static constexpr std::size_t cached_bytes = 64, cached_words = std::size_t{1} << 16;
  struct special_match {
    std::size_t size;
    token id;
  };
  struct trie_end {
    token id;
    bool always;
  };
  struct place {
    std::size_t begin, size;
  };
  struct work {
    merger merge;
    std::vector<token> out;
    std::unordered_map<std::string_view, place> seen;  // where in `out` a word of this run already stands
    std::size_t dropped;
  };

  [[nodiscard]] bool in_range(token id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < bytes_.size();
  }
  [[nodiscard]] std::size_t checked(token id) const {
    if (in_range(id)) return static_cast<std::size_t>(id);
    throw bad_input("token is " + std::to_string(id) + ", allowed 0 to " + std::to_string(bytes_.size() - 1));
  }

  void read_tokens(const std::vector<std::string>& tokens) {
    std::unordered_map<std::string_view, std::size_t> first;
    bytes_.reserve(tokens.size());
    ends_.assign(tokens.size(), false);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::string& text = tokens[i];
      const std::string who = "tokenizer.ggml.tokens[" + std::to_string(i) + "]";
      require_utf8(text, who);
      const auto kind = kinds_[i];
      if (kind < token_kind::undefined || kind > token_kind::byte) {
        throw bad_input("tokenizer.ggml.token_type[" + std::to_string(i) + "] is " +
                        std::to_string(static_cast<int>(kind)) + ", allowed 0 to 6");
      }
      const auto [it, fresh] = first.emplace(text, i);
      if (!fresh && !text.empty())
        throw bad_input(who + " is " + quoted(text) + ", the same as [" + std::to_string(it->second) +
                        "], allowed once");
      bool pure = false;
      std::string raw = alphabet_.bytes(text, &pure);
      if (pure && !text.empty()) words_.emplace(raw, static_cast<token>(i));
      const bool control = kind == token_kind::control || kind == token_kind::unknown;
      const bool verbatim = control || kind == token_kind::user_defined;
      if (verbatim) add_special(text, static_cast<token>(i), !control, who);
      for (const char* end :
           {"<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<|end|>"}) {
        if (control && text == end) ends_[i] = true;
      }
      bytes_.push_back(verbatim ? text : std::move(raw));
    }
  }

  void read_merges(const std::vector<std::string>& merges) {
    for (std::size_t i = 0; i < merges.size(); ++i) {
      const std::string& m = merges[i];
      const std::size_t space = m.find(' ', 1);
      if (m.empty() || space == std::string::npos || space + 1 == m.size() || valid_utf8_prefix(m) != m.size()) {
        throw bad_input("tokenizer.ggml.merges[" + std::to_string(i) + "] is " + quoted(m) +
                        ", allowed two UTF-8 parts with a space between");
      }
      bool left = false, right = false;
      const std::string l = alphabet_.bytes(std::string_view(m).substr(0, space), &left);
      const std::string r = alphabet_.bytes(std::string_view(m).substr(space + 1), &right);
      if (left && right) merges_.add(l, r);  // others could never be reached from bytes
    }
    token_of_.assign(merges_.symbols(), -1);
    for (symbol s = 0; s < token_of_.size(); ++s) {
      if (const auto it = words_.find(merges_.text(s)); it != words_.end()) token_of_[s] = it->second;
    }
  }

  /// Special tokens in a trie: the longest one at a position costs its length, however many there are.
  void add_special(const std::string& text, token id, bool always, const std::string& who) {
    if (text.empty()) return;
    if (text.size() > 1024)
      throw bad_input(who + " is a special token of " + std::to_string(text.size()) + " bytes, allowed at most 1024");
    std::uint64_t node = 0;
    for (const char c : text) {
      const auto [it, fresh] = trie_.emplace(node << 8 | static_cast<unsigned char>(c), trie_.size() + 1);
      node = it->second;
    }
    trie_ends_.emplace(node, trie_end{id, always});
    starts_[static_cast<unsigned char>(text[0])] = true;
  }
  [[nodiscard]] special_match longest_special(std::string_view text, std::size_t at, bool parse_special) const {
    special_match best{0, -1};
    if (at == text.size() || !starts_[static_cast<unsigned char>(text[at])]) return best;
    std::uint64_t node = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
      const auto next = trie_.find(node << 8 | static_cast<unsigned char>(text[i]));
      if (next == trie_.end()) break;
      node = next->second;
      const auto end = trie_ends_.find(node);
      if (end != trie_ends_.end() && (parse_special || end->second.always)) best = {i + 1 - at, end->second.id};
    }
    return best;
  }

  void encode_plain(std::string_view run, work& w) const {
    w.seen.clear();
    cutter_.cut(run, [&](std::string_view word) {
      const bool keep = word.size() > 1 && word.size() <= cached_bytes;
      if (keep) {
        if (const auto it = w.seen.find(word); it != w.seen.end()) {
          for (std::size_t i = 0; i < it->second.size; ++i) w.out.push_back(w.out[it->second.begin + i]);
          return;
        }
      }
      const std::size_t begin = w.out.size(), dropped = w.dropped;
      encode_word(word, w);
      if (keep && w.dropped == dropped && w.seen.size() < cached_words)
        w.seen.emplace(word, place{begin, w.out.size() - begin});
    });
  }
  void encode_word(std::string_view word, work& w) const {
    if (rules_.ignore_merges) {
      if (const auto it = words_.find(std::string(word)); it != words_.end()) return w.out.push_back(it->second);
    }
    for (const symbol s : w.merge(word)) {
      if (token_of_[s] >= 0) {
        w.out.push_back(token_of_[s]);
        continue;
      }
      for (const char c : merges_.text(s)) {  // merges may pass through strings that are no tokens
        const token id = token_of_[static_cast<unsigned char>(c)];
        if (id >= 0) w.out.push_back(id);
        else ++w.dropped;
      }
    }
  }

  pretokenizer_rules rules_;
  pretokenizer cutter_;
  byte_alphabet alphabet_;
  merge_table merges_;
  std::vector<token> token_of_;                   // by symbol; -1: none
  std::unordered_map<std::string, token> words_;  // byte-level tokens by the bytes they stand for
  std::vector<std::string> bytes_;                // by token
  std::vector<token_kind> kinds_;
  std::vector<bool> ends_;
  std::unordered_map<std::uint64_t, std::uint64_t> trie_;  // node << 8 | byte to node; 0 is the root
  std::unordered_map<std::uint64_t, trie_end> trie_ends_;
  bool starts_[256] = {};
  std::optional<token> bos_, eos_;
  bool add_bos_ = false, add_eos_ = false;
};

}  // namespace quire_lm
