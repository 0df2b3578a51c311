// SPDX-License-Identifier: Apache-2.0
// From tokens to what a client sees: whole characters, up to a stop string, with the log-probabilities of what is shown.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../lm/unicode.hpp"
#include "chooser.hpp"
#include "stop.hpp"

namespace quire_server {

/// A token of a text, with where its first byte stands there.
struct measured_token : token_logprobs {
  std::uint64_t offset = 0;  ///< in characters of the text
};

/// A stretch of text that can be shown, and the tokens that begin in it or before it and were not told of yet.
struct piece {
  std::string text;
  std::vector<measured_token> tokens;
};

[[nodiscard]] inline std::uint64_t characters_in(std::string_view utf8) noexcept {
  return static_cast<std::uint64_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// One text. Characters that are not whole wait for their rest; what may begin a stop string waits too. One thread.
class text_assembler {
 public:
  explicit text_assembler(const std::vector<std::string>& stop) : stop_(stop) {}

  /// The next token's bytes; `logprobs` null where nobody asked.
  piece push(std::string_view bytes, token_logprobs* logprobs = nullptr) {
    if (logprobs != nullptr) waiting_.push_back({std::move(*logprobs), fed_});
    const std::string whole = characters_.push(bytes);
    fed_ += characters_in(whole);
    return show(stop_.push(whole), false);
  }
  /// Nothing follows: everything that waits is shown.
  piece finish() {
    std::string rest = stop_.push(characters_.finish());
    if (!stop_.stopped()) rest += stop_.finish();
    return show(std::move(rest), true);
  }
  /// A stop string was met; what it covers is never shown.
  bool stopped() const noexcept { return stop_.stopped(); }

 private:
  /// Tokens go with the stretch in which they begin; at a stop, those that begin past it are dropped.
  piece show(std::string text, bool last) {
    shown_ += characters_in(text);
    piece out{std::move(text), {}};
    while (!waiting_.empty() && (waiting_.front().offset < shown_ || (last && !stop_.stopped()))) {
      out.tokens.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    return out;
  }

  quire_lm::utf8_stream characters_;
  stop_matcher stop_;
  std::deque<measured_token> waiting_;
  std::uint64_t fed_ = 0, shown_ = 0;  ///< characters so far; of these, shown
};

}  // namespace quire_server
