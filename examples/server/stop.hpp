// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quire_server {

/// Finds stop strings in a text that comes in pieces, wherever the pieces are cut. What may be the beginning of one is held
/// back, and a stop string is never shown. The one that ends first counts; of those that end together, the longest.
/// cost: O(bytes × strings), after the strings' failure tables. test: tests/server/stop.cpp
class stop_matcher {
 public:
  /// `strings` are not empty; none at all lets everything through.
  explicit stop_matcher(const std::vector<std::string>& strings) {
    for (const std::string& s : strings) patterns_.emplace_back(s);
  }

  /// What may be shown after this piece; nothing once `stopped`.
  [[nodiscard]] std::string push(std::string_view piece) {
    if (stopped_) return {};
    for (std::size_t i = 0; i < piece.size(); ++i) {
      std::size_t longest = 0;
      for (pattern& p : patterns_)
        if (p.advance(piece[i])) longest = std::max(longest, p.text.size());
      if (longest == 0) continue;
      stopped_ = true;
      held_ += piece.substr(0, i + 1);
      held_.resize(held_.size() - longest);
      return std::exchange(held_, {});
    }
    held_ += piece;
    std::size_t keep = 0;
    for (const pattern& p : patterns_) keep = std::max(keep, p.matched);
    std::string shown = held_.substr(0, held_.size() - keep);
    held_.erase(0, shown.size());
    return shown;
  }
  /// The text ends here: what was held back was no stop string after all.
  [[nodiscard]] std::string finish() { return std::exchange(held_, {}); }

  bool stopped() const noexcept { return stopped_; }

 private:
  /// Knuth, Morris and Pratt's automaton of one string.
  struct pattern {
    std::string text;
    std::vector<std::size_t> border;  ///< of each prefix: its longest proper prefix that is its suffix
    std::size_t matched = 0;          ///< bytes of `text` that the stream ends with

    explicit pattern(const std::string& t) : text(t), border(t.size() + 1, 0) {
      for (std::size_t n = 2; n <= text.size(); ++n) border[n] = step(border[n - 1], text[n - 1]);
    }
    std::size_t step(std::size_t state, char c) const {
      while (state > 0 && (state == text.size() || text[state] != c)) state = border[state];
      return state < text.size() && text[state] == c ? state + 1 : state;
    }
    bool advance(char c) { return (matched = step(matched, c)) == text.size(); }
  };

  std::vector<pattern> patterns_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace quire_server
