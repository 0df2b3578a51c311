// SPDX-License-Identifier: Apache-2.0
// A paged store of tokens and a model whose next token depends on every token stored before it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "quire/serve/model.hpp"

namespace test {

/// Rows are single tokens in pages; a page that goes back is poisoned, so that reading it shows in the output.
class token_store {
 public:
  token_store(std::uint32_t pages, std::uint32_t page_tokens)
      : page_tokens_(page_tokens), rows_(std::size_t{pages} * page_tokens, poison) {
    for (std::uint32_t p = 0; p < pages; ++p) free_.push_back(p);
  }
  quire::status open(std::uint32_t& sequence) {
    for (sequence = 0; sequence < sequences_.size() && sequences_[sequence].open; ++sequence) {}
    if (sequence == sequences_.size()) sequences_.push_back({});
    sequences_[sequence] = {.open = true};
    return {};
  }
  quire::status reserve(std::uint32_t sequence, std::uint32_t tokens) {
    sequence_state& s = at(sequence);
    const std::size_t want = (std::size_t{s.length} + tokens + page_tokens_ - 1) / page_tokens_;
    const std::size_t more = want > s.pages.size() ? want - s.pages.size() : 0;
    if (more > free_.size())
      return {quire::errc::out_of_pages, "pages", static_cast<std::int64_t>(more), 0,
              static_cast<std::int64_t>(free_.size())};
    for (std::size_t i = 0; i < more; ++i) {
      s.pages.push_back(free_.back());
      free_.pop_back();
    }
    return {};
  }
  quire::status commit(std::uint32_t sequence, std::uint32_t tokens) {
    sequence_state& s = at(sequence);
    if (s.length + tokens > s.pages.size() * page_tokens_) throw std::logic_error("commit past what was reserved");
    s.length += tokens;
    return {};
  }
  void close(std::uint32_t sequence) {
    sequence_state& s = at(sequence);
    for (const std::uint32_t p : s.pages) {
      std::fill_n(rows_.begin() + std::ptrdiff_t{p} * page_tokens_, page_tokens_, poison);
      free_.push_back(p);
    }
    s = {};
  }
  /// Its pages go back, the handle stays.
  void drain(std::uint32_t sequence) {
    close(sequence);
    sequences_[sequence].open = true;
  }
  /// Room for `tokens` rows of a drained sequence, which has them from now on.
  quire::status refill(std::uint32_t sequence, std::uint32_t tokens) {
    if (const quire::status s = reserve(sequence, tokens); !s) return s;
    return commit(sequence, tokens);
  }
  quire::status fork(std::uint32_t from, std::uint32_t& to) {
    if (const quire::status s = open(to); !s) return s;
    const std::uint32_t n = at(from).length;
    const quire::status s = reserve(to, n);
    if (!s) return close(to), s;
    for (std::uint32_t i = 0; i < n; ++i) row(to, i) = row(from, i);
    sequences_[to].length = n;
    ++forks;
    return {};
  }
  std::uint64_t forks = 0;
  std::uint32_t length(std::uint32_t sequence) const { return sequences_.at(sequence).length; }
  std::size_t free_pages() const { return free_.size(); }

  std::int32_t& row(std::uint32_t sequence, std::uint32_t position) {
    return rows_.at(std::size_t{at(sequence).pages.at(position / page_tokens_)} * page_tokens_ +
                    position % page_tokens_);
  }

 private:
  static constexpr std::int32_t poison = -777;
  struct sequence_state {
    bool open = false;
    std::uint32_t length = 0;
    std::vector<std::uint32_t> pages{};
  };
  sequence_state& at(std::uint32_t sequence) {
    if (!sequences_.at(sequence).open) throw std::logic_error("a closed sequence is used");
    return sequences_[sequence];
  }
  std::uint32_t page_tokens_;
  std::vector<std::int32_t> rows_;
  std::vector<std::uint32_t> free_;
  std::vector<sequence_state> sequences_;
};
static_assert(quire::serve::ForkingStore<token_store>);

struct hash_model {
  std::uint32_t words = 50;
  std::int32_t refuses = -1;  ///< a token at which a step fails, after some rows were written
  bool throws = false;        ///< once
  std::uint64_t steps = 0;

  std::uint32_t vocabulary() const { return words; }
  template <class Store>
  quire::status step(Store& store, std::span<const quire::serve::model_input> inputs, float* logits) {
    ++steps;
    for (const auto& in : inputs) {
      if (in.tokens.empty() || store.length(in.sequence) != in.position)
        throw std::logic_error("an input does not follow what is stored");
      for (std::size_t i = 0; i < in.tokens.size(); ++i)
        store.row(in.sequence, in.position + static_cast<std::uint32_t>(i)) = in.tokens[i];
      if (std::exchange(throws, false)) throw std::runtime_error("the model threw");
      if (std::find(in.tokens.begin(), in.tokens.end(), refuses) != in.tokens.end())
        return {quire::errc::not_finite, "row"};
      if (!in.wants_logits) continue;
      std::uint64_t h = 1469598103934665603u;
      for (std::uint32_t p = 0; p < in.position + in.tokens.size(); ++p)
        h = (h ^ static_cast<std::uint32_t>(store.row(in.sequence, p) + 1000)) * 1099511628211u;
      for (std::uint32_t w = 0; w < words; ++w) {
        h = h * 6364136223846793005u + 1442695040888963407u;
        *logits++ = static_cast<float>(h >> 40) / 16777216.0f;
      }
    }
    return {};
  }
};
static_assert(quire::serve::Model<hash_model, token_store>);

}  // namespace test
