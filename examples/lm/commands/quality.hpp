// SPDX-License-Identifier: Apache-2.0
// How well a cache predicts a text: perplexity over windows, and divergence from a reference cache on the same windows.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "../backend.hpp"
#include "../tokenizer.hpp"
#include "quire/evaluate/divergence.hpp"

namespace quire_lm {

/// f(i) for i in [0, n) on several threads; results go by index, so their order is none of the threads'.
template <class F>
void each_index(std::size_t n, std::uint32_t threads, const F& f) {
  std::vector<std::thread> others;
  const auto part = [&](std::uint32_t t) {
    for (std::size_t i = t; i < n; i += threads) f(i);
  };
  for (std::uint32_t t = 1; t < threads; ++t) others.emplace_back(part, t);
  part(0);
  for (std::thread& t : others) t.join();
}

/// Appends tokens to a sequence in one step; logits of those from the `from`-th on: [tokens − from][vocabulary].
void step_rows(backend& b, std::uint32_t sequence, std::span<const token> tokens, std::uint32_t from, float* logits);

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
