// SPDX-License-Identifier: Apache-2.0
// How well a cache predicts a text: perplexity over windows, and divergence from a reference cache on the same windows.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "../backend.hpp"
#include "../tokenizer.hpp"

namespace quire_lm {

struct quality {
  double perplexity = 0;
  std::size_t tokens_scored = 0;
  double kl_mean = 0, kl_p99 = 0, top1_agreement = 1;  ///< against the first backend; its own are 0, 0 and 1
};

struct window_options {
  std::uint32_t context = 512;  ///< tokens of a window
  std::uint32_t threads = 1;    ///< for the softmax
  std::optional<token> bos;     ///< stands in place of each window's first token
};

/// Cuts `tokens` into whole windows, each in a fresh sequence, and scores the second half of each: given tokens up to i,
/// token i + 1, for i from context / 2 to context - 2. Every backend is stepped over the same chunks; the first is the
/// reference. Softmax in double. `progress(done, total)` counts tokens.
/// needs: tokens.size() >= context >= 4. from: the convention of llama.cpp's perplexity tool
std::vector<quality> score_windows(std::span<backend* const> backends, std::span<const token> tokens, const window_options& o,
                                   const std::function<void(double, double)>& progress);

}  // namespace quire_lm
