// SPDX-License-Identifier: Apache-2.0
// Byte-pair merging of one word, in O(n log n) for any length.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace quire_lm {

/// A byte string that merging can reach; 0 to 255 are the single bytes.
using symbol = std::uint32_t;

/// Which neighbouring symbols merge, into what, and how early (a lower rank goes first). Immutable once filled.
class merge_table {
 public:
  static constexpr std::uint32_t never = UINT32_MAX;
  struct merge {
    std::uint32_t rank = never;
    symbol into = 0;
  };

  merge_table() {
    for (unsigned b = 0; b < 256; ++b) intern(std::string(1, static_cast<char>(b)));
    rehash(1024);
  }
  merge_table(merge_table&&) = default;
  merge_table& operator=(merge_table&&) = default;
  /// Adds the next rank. A pair that already has one keeps it.
  void add(const std::string& left, const std::string& right) {
    const symbol l = intern(left), r = intern(right), into = intern(left + right);
    const std::uint32_t rank = ranks_++;
    if (2 * (used_ + 1) > slots_.size()) rehash(2 * slots_.size());
    slot& s = find(key(l, r));
    if (s.what.rank != never) return;
    s = {key(l, r), {rank, into}};
    ++used_;
  }
  [[nodiscard]] merge operator()(symbol left, symbol right) const noexcept { return find(key(left, right)).what; }
  [[nodiscard]] std::size_t symbols() const noexcept { return texts_.size(); }
  [[nodiscard]] const std::string& text(symbol s) const { return *texts_[s]; }

 private:
  struct slot {
    std::uint64_t key = 0;
    merge what;
  };

  static std::uint64_t key(symbol l, symbol r) noexcept { return std::uint64_t{l} << 32 | r; }
  symbol intern(const std::string& text) {
    const auto [it, fresh] = ids_.emplace(text, static_cast<symbol>(texts_.size()));
    if (fresh) texts_.push_back(&it->first);
    return it->second;
  }
  /// The slot of a key, or the empty one where it belongs. At most half of the slots are used, so there is one.
  const slot& find(std::uint64_t k) const noexcept {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = static_cast<std::size_t>((k * 0x9e3779b97f4a7c15u) >> 20) & mask;
    while (slots_[i].what.rank != never && slots_[i].key != k) i = (i + 1) & mask;
    return slots_[i];
  }
  slot& find(std::uint64_t k) noexcept { return const_cast<slot&>(std::as_const(*this).find(k)); }
  void rehash(std::size_t size) {
    std::vector<slot> old(size);
    old.swap(slots_);
    for (const slot& s : old) {
      if (s.what.rank != never) find(s.key) = s;
    }
  }

  std::unordered_map<std::string, symbol> ids_;
  std::vector<const std::string*> texts_;  // keys of ids_, which never move
  std::vector<slot> slots_;
  std::size_t used_ = 0;
  std::uint32_t ranks_ = 0;
};

/// Merges words; keeps its working memory between them. One object per thread.
class merger {
 public:
  explicit merger(const merge_table& table) : table_(table) {}

  /// The symbols that `word` (fewer than 2^32 bytes) ends up as: always the lowest rank first, of equals the leftmost.
  /// The result is valid until the next call. `scan_below` chooses between two ways to the same result.
  const std::vector<symbol>& operator()(std::string_view word, std::size_t scan_below = 48) {
    symbols_.assign(word.size(), 0);
    for (std::size_t i = 0; i < word.size(); ++i) symbols_[i] = static_cast<unsigned char>(word[i]);
    if (word.size() < scan_below) {
      scan();
    } else {
      merge_by_queue();
    }
    return symbols_;
  }

 private:
  /// Short words: look for the best pair, merge, repeat. merges_[i] belongs to symbols i and i + 1.
  void scan() {
    if (symbols_.size() < 2) return;
    merges_.resize(symbols_.size() - 1);
    for (std::size_t i = 0; i < merges_.size(); ++i) merges_[i] = table_(symbols_[i], symbols_[i + 1]);
    while (!merges_.empty()) {
      const auto best = std::min_element(merges_.begin(), merges_.end(),
                                         [](const auto& a, const auto& b) { return a.rank < b.rank; });
      if (best->rank == merge_table::never) return;
      const auto i = static_cast<std::size_t>(best - merges_.begin());
      symbols_[i] = best->into;
      symbols_.erase(symbols_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      merges_.erase(best);
      if (i < merges_.size()) merges_[i] = table_(symbols_[i], symbols_[i + 1]);
      if (i > 0) merges_[i - 1] = table_(symbols_[i - 1], symbols_[i]);
    }
  }

  /// Long words: candidates in a heap, symbols in a linked list; a candidate whose symbols have changed is stale.
  void merge_by_queue() {
    const auto n = static_cast<std::uint32_t>(symbols_.size());
    next_.resize(n);
    previous_.resize(n);
    for (std::uint32_t i = 0; i < n; ++i) next_[i] = i + 1, previous_[i] = i - 1;  // n ends the list, -1 starts it
    heap_.clear();
    for (std::uint32_t i = 0; i + 1 < n; ++i) push(i, i + 1, false);
    std::make_heap(heap_.begin(), heap_.end(), later);
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      const candidate c = heap_.back();
      heap_.pop_back();
      const std::uint32_t right = next_[c.at];
      if (symbols_[c.at] != c.left || right >= n || symbols_[right] != c.right) continue;
      symbols_[c.at] = c.into;
      symbols_[right] = gone;
      const std::uint32_t after = next_[right];
      next_[c.at] = after;
      if (after < n) {
        previous_[after] = c.at;
        push(c.at, after, true);
      }
      if (c.at > 0) push(previous_[c.at], c.at, true);
    }
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < n; i = next_[i]) symbols_[kept++] = symbols_[i];
    symbols_.resize(kept);
  }

  struct candidate {
    std::uint32_t rank, at;
    symbol left, right, into;
  };
  static bool later(const candidate& a, const candidate& b) noexcept {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  }
  void push(std::uint32_t at, std::uint32_t right, bool sift) {
    const auto m = table_(symbols_[at], symbols_[right]);
    if (m.rank == merge_table::never) return;
    heap_.push_back({m.rank, at, symbols_[at], symbols_[right], m.into});
    if (sift) std::push_heap(heap_.begin(), heap_.end(), later);
  }

  static constexpr symbol gone = UINT32_MAX;
  const merge_table& table_;
  std::vector<symbol> symbols_;
  std::vector<merge_table::merge> merges_;
  std::vector<std::uint32_t> next_, previous_;
  std::vector<candidate> heap_;
};

}  // namespace quire_lm
