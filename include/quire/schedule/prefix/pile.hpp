// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../../core/status.hpp"

namespace quire::inline v0::schedule::prefix {

/// Prompts that are known together: views, no copies. A symbol is a token (`block_tokens` 1) or the id of a block of
/// tokens, equal where the block and all before it are equal; only the last block of a prompt may be partial.
/// shape: prompts [requests]; tokens [requests] or empty when every block is full; unit: tokens.
template <std::integral Symbol>
struct pile {
  std::span<const std::span<const Symbol>> prompts;
  std::uint32_t block_tokens = 1;
  std::span<const std::uint32_t> tokens{};

  std::size_t size() const noexcept { return prompts.size(); }
  /// Length of prompt r.
  std::uint32_t length(std::size_t r) const noexcept {
    return tokens.empty() ? static_cast<std::uint32_t>(prompts[r].size() * block_tokens) : tokens[r];
  }
  /// Tokens in the first `symbols` symbols of prompt r.
  std::uint32_t length(std::size_t r, std::uint32_t symbols) const noexcept {
    return static_cast<std::uint32_t>(std::min(std::uint64_t{symbols} * block_tokens, std::uint64_t{length(r)}));
  }
};

/// Whether a pile can be planned. Cost: O(requests).
/// fails: out_of_range (prompts, block_tokens, tokens, the length of a prompt).
template <std::integral Symbol>
status check(const pile<Symbol>& p) noexcept {
  constexpr std::int64_t most = 0xfffffffe;
  if (p.prompts.size() > static_cast<std::uint64_t>(most))
    return {errc::out_of_range, "pile.prompts", static_cast<std::int64_t>(p.prompts.size()), 0, most};
  if (p.block_tokens == 0) return {errc::out_of_range, "pile.block_tokens", 0, 1, most};
  if (!p.tokens.empty() && p.tokens.size() != p.prompts.size())
    return {errc::out_of_range, "pile.tokens (how many)", static_cast<std::int64_t>(p.tokens.size()),
            static_cast<std::int64_t>(p.prompts.size()), static_cast<std::int64_t>(p.prompts.size())};
  for (std::size_t r = 0; r < p.prompts.size(); ++r) {
    const std::uint64_t symbols = p.prompts[r].size(), room = static_cast<std::uint64_t>(most) / p.block_tokens;
    if (symbols > room)
      return {errc::out_of_range, "symbols of a prompt", static_cast<std::int64_t>(symbols), 0,
              static_cast<std::int64_t>(room)};
    if (p.tokens.empty()) continue;
    const auto high = static_cast<std::int64_t>(symbols * p.block_tokens);
    const std::int64_t low = symbols == 0 ? 0 : high - p.block_tokens + 1;
    if (p.tokens[r] < low || p.tokens[r] > high)
      return {errc::out_of_range, "pile.tokens (of a prompt)", p.tokens[r], low, high};
  }
  return {};
}

}  // namespace quire::inline v0::schedule::prefix
