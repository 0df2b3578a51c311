// SPDX-License-Identifier: Apache-2.0
// The rows of one step, as every back end of the model lists them from its inputs, and what is left of sequences whose step failed.
#pragma once

#include <span>
#include <vector>

#include "quire/attention/plan_view.hpp"
#include "quire/kv/store.hpp"
#include "quire/serve/model.hpp"

namespace quire_lm {

/// Allocates in the constructor only. One step at a time. throws: std::bad_alloc
template <quire::kv::Layout L>
class step_rows {
 public:
  using store_type = quire::kv::store<L>;

  step_rows(std::uint32_t max_rows, std::uint32_t max_sequences, std::uint32_t vocabulary) : max_rows_(max_rows), vocabulary_(vocabulary) {
    tokens_.reserve(max_rows), positions_.reserve(max_rows), wanted_.reserve(max_rows), spans_.reserve(max_sequences), damaged_.resize(max_sequences);
  }

  std::uint32_t count() const noexcept { return static_cast<std::uint32_t>(tokens_.size()); }
  std::span<const std::int32_t> tokens() const noexcept { return tokens_; }         ///< [count]
  std::span<const std::uint32_t> positions() const noexcept { return positions_; }  ///< [count]
  std::span<const quire::attention::query_span> spans() const noexcept { return spans_; }
  /// Rows whose logits or hidden states are asked for, in order.
  std::span<const std::uint32_t> wanted() const noexcept { return wanted_; }

  /// Checks the inputs and lists their rows; none is wanted yet. fails: out_of_range (rows of a step, positions, tokens),
  /// unknown_sequence, corrupt (a sequence whose last step failed inside a tile).
  quire::status begin(const store_type& store, std::span<const quire::serve::model_input> inputs) {
    using quire::errc;
    tokens_.clear(), positions_.clear(), spans_.clear(), wanted_.clear();
    for (const auto& in : inputs) {
      if (tokens_.size() + in.tokens.size() > max_rows_)
        return {errc::out_of_range, "rows of a step", static_cast<std::int64_t>(tokens_.size() + in.tokens.size()), 1, max_rows_};
      if (!store.known(in.sequence) || in.sequence >= damaged_.size()) return {errc::unknown_sequence, "sequence of an input", in.sequence};
      if (store.length(in.sequence) != in.position)
        return {errc::out_of_range, "position of an input", in.position, store.length(in.sequence), store.length(in.sequence)};
      if (in.position == 0) damaged_[in.sequence] = false;
      if (damaged_[in.sequence]) return {errc::corrupt, "sequence whose last step failed inside a tile (close it)", in.sequence};
      const auto rows = static_cast<std::uint32_t>(in.tokens.size());
      spans_.push_back({in.sequence, in.position, rows, count(), store.whole_until(in.sequence)});
      for (std::uint32_t i = 0; i < rows; ++i) {
        if (in.tokens[i] < 0 || static_cast<std::uint32_t>(in.tokens[i]) >= vocabulary_)
          return {errc::out_of_range, "token", in.tokens[i], 0, std::int64_t{vocabulary_} - 1};
        tokens_.push_back(in.tokens[i]);
        positions_.push_back(in.position + i);
      }
    }
    return {};
  }
  /// The last row of each input that wants logits.
  void want_last(std::span<const quire::serve::model_input> inputs) {
    std::uint32_t row = 0;
    for (const auto& in : inputs) {
      row += static_cast<std::uint32_t>(in.tokens.size());
      if (in.wants_logits) wanted_.push_back(row - 1);
    }
  }
  /// All rows from the `from`-th on.
  void want_from(std::uint32_t from) {
    for (std::uint32_t r = from; r < count(); ++r) wanted_.push_back(r);
  }

  /// What to do and say after a step with a key or value row that was not finite: its sequences can't all go on.
  quire::status not_finite(store_type& store) {
    constexpr bool remembers = L::stepwise || quire::kv::balances<typename L::sealed_pair>;
    for (const auto& s : spans_) {  // what moved on will not be committed: a tail in the next tile, scores, sums
      if (s.first == 0) static_cast<void>(store.truncate(s.sequence, 0));
      else if (remembers || (s.first % quire::tile_tokens != 0 && (s.first + s.count - 1) / quire::tile_tokens != s.first / quire::tile_tokens)) damaged_[s.sequence] = true;
    }
    return {quire::errc::not_finite, "key or value row"};
  }

 private:
  std::uint32_t max_rows_, vocabulary_;
  std::vector<std::int32_t> tokens_;
  std::vector<std::uint32_t> positions_, wanted_;
  std::vector<quire::attention::query_span> spans_;
  std::vector<bool> damaged_;  // by sequence
};

}  // namespace quire_lm
