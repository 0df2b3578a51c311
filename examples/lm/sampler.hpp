// SPDX-License-Identifier: Apache-2.0
// Chooses the next token from logits. Order of the filters: repeat penalty, top-k, top-p, min-p, temperature.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "error.hpp"

namespace quire_lm {

/// Defaults choose the likeliest token. `seed` fixes every later choice.
struct sampler_options {
  float temperature = 0;     ///< 0: the largest logit, lowest id of equals
  int top_k = 0;             ///< keep the k likeliest; 0: all
  float top_p = 1;           ///< keep the likeliest that together reach this probability
  float min_p = 0;           ///< drop those below this share of the likeliest
  float repeat_penalty = 1;  ///< divides positive and multiplies negative logits of recent tokens; 1: none
  int repeat_last = 64;      ///< how many recent tokens count
  std::uint64_t seed = 0;
};

/// fails: bad_input naming the option, its value and what is allowed.
inline void validate(const sampler_options& o) {
  const auto real = [](const char* what, float v, float low, float high, bool open) {
    if (open ? v > low && v <= high : v >= low && v <= high) return;
    std::ostringstream text;
    text << what << " is " << v << ", allowed " << (open ? "above " : "") << low << " to " << high;
    throw bad_input(text.str());
  };
  const auto whole = [](const char* what, int v) {
    if (v < 0)
      throw bad_input(std::string(what) + " is " + std::to_string(v) + ", allowed 0 to " +
                      std::to_string(std::numeric_limits<int>::max()));
  };
  real("temperature", o.temperature, 0, 100, false);
  whole("top_k", o.top_k);
  real("top_p", o.top_p, 0, 1, true);
  real("min_p", o.min_p, 0, 1, false);
  real("repeat_penalty", o.repeat_penalty, 0, 100, true);
  whole("repeat_last", o.repeat_last);
}

/// Draw number `counter` of stream `seed`, uniform in [0, 1). A function, so any draw can be repeated on its own.
/// from: the finaliser of SplitMix64 (Steele, Lea, Flood 2014) over a Weyl sequence
[[nodiscard]] inline double uniform(std::uint64_t seed, std::uint64_t counter) noexcept {
  const auto mix = [](std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  };
  const std::uint64_t bits = mix(mix(seed + 0x9e3779b97f4a7c15u) + (counter + 1) * 0x9e3779b97f4a7c15u);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

/// One sequence's sampler. Allocates in the constructor alone. One thread at a time.
class sampler {
 public:
  sampler(const sampler_options& options, std::size_t vocabulary_size) : o_(options), penalised_(vocabulary_size, 0) {
    validate(o_);
    if (vocabulary_size < 1 || vocabulary_size > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
      throw bad_input("vocabulary_size is " + std::to_string(vocabulary_size) + ", allowed 1 to 2147483647");
    }
    candidates_.reserve(vocabulary_size);
    weights_.reserve(vocabulary_size);
    // A penalty over more tokens than any context holds is the same as over all of them.
    recent_.resize(o_.repeat_penalty == 1 ? 0 : static_cast<std::size_t>(std::min(o_.repeat_last, 1 << 20)));
  }

  /// Tells the repeat penalty of a token that now stands in the context (prompt or output).
  void accept(std::int32_t id) {
    if (id < 0 || static_cast<std::size_t>(id) >= penalised_.size()) {
      throw bad_input("token is " + std::to_string(id) + ", allowed 0 to " + std::to_string(penalised_.size() - 1));
    }
    if (recent_.empty()) return;
    std::int32_t& oldest = recent_[accepted_++ % recent_.size()];
    if (accepted_ > recent_.size()) --penalised_[static_cast<std::size_t>(oldest)];
    oldest = id;
    ++penalised_[static_cast<std::size_t>(id)];
  }

  /// The next token. logits: [vocabulary_size]; -inf bans a token. Does not call accept.
  /// fails: bad_input for another size, NaN or +inf, or when every token is banned.
  [[nodiscard]] std::int32_t operator()(std::span<const float> logits) {
    if (logits.size() != penalised_.size()) {
      throw bad_input("logits has " + std::to_string(logits.size()) + " elements, allowed " +
                      std::to_string(penalised_.size()));
    }
    candidates_.clear();
    candidate best{-std::numeric_limits<float>::infinity(), -1};
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (!(logits[i] < std::numeric_limits<float>::infinity())) {
        throw bad_input("logits[" + std::to_string(i) + "] is not finite, allowed finite values or -inf");
      }
      float x = logits[i];
      if (x == -std::numeric_limits<float>::infinity()) continue;
      if (penalised_[i] != 0) {  // clamped, so that a penalty neither bans a token nor makes it infinite
        constexpr float most = std::numeric_limits<float>::max();
        x = std::clamp(x > 0 ? x / o_.repeat_penalty : x * o_.repeat_penalty, -most, most);
      }
      candidates_.push_back({x, static_cast<std::int32_t>(i)});
      if (best.id < 0 || x > best.logit) best = candidates_.back();
    }
    if (best.id < 0) throw bad_input("logits bans every token, allowed at least one finite value");
    return o_.temperature == 0 ? best.id : draw(best.logit);
  }

 private:
  struct candidate {
    float logit;
    std::int32_t id;
  };
  static bool before(const candidate& a, const candidate& b) noexcept {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }

  /// Sums in order of id are the same with every standard library; what nth_element leaves is not.
  void sort_by_id() {
    const auto by_id = [](const candidate& a, const candidate& b) { return a.id < b.id; };
    if (!std::is_sorted(candidates_.begin(), candidates_.end(), by_id))
      std::sort(candidates_.begin(), candidates_.end(), by_id);
  }

  std::int32_t draw(float top) {
    std::size_t kept = candidates_.size();
    if (o_.top_k > 0 && static_cast<std::size_t>(o_.top_k) < kept) {
      kept = static_cast<std::size_t>(o_.top_k);
      std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(kept) - 1,
                       candidates_.end(), before);
      candidates_.resize(kept);
    }
    if (o_.top_p < 1) keep_top_p(top);
    if (o_.min_p > 0) {
      const double least = static_cast<double>(top) + std::log(static_cast<double>(o_.min_p));
      std::erase_if(candidates_,
                    [&](const candidate& c) { return static_cast<double>(c.logit) < least && c.logit != top; });
    }
    sort_by_id();
    weights_.clear();
    double sum = 0;
    for (const candidate& c : candidates_) {
      sum += std::exp((static_cast<double>(c.logit) - static_cast<double>(top)) / static_cast<double>(o_.temperature));
      weights_.push_back(sum);
    }
    const double at = uniform(o_.seed, drawn_++) * sum;
    const auto hit = std::upper_bound(weights_.begin(), weights_.end(), at);
    return candidates_[std::min(static_cast<std::size_t>(hit - weights_.begin()), candidates_.size() - 1)].id;
  }

  /// Sorts only as far as the likeliest tokens need to reach top_p: usually a few dozen of a vocabulary.
  void keep_top_p(float top) {
    const auto share = [&](const candidate& c) {
      return std::exp(static_cast<double>(c.logit) - static_cast<double>(top));
    };
    sort_by_id();
    double total = 0;
    for (const candidate& c : candidates_) total += share(c);
    double reached = 0;
    std::size_t sorted = 0, kept = 0;
    while (kept < candidates_.size()) {
      if (kept == sorted) {
        const std::size_t until = std::min(candidates_.size(), std::max<std::size_t>(64, 4 * sorted));
        const auto from = candidates_.begin() + static_cast<std::ptrdiff_t>(sorted),
                   to = candidates_.begin() + static_cast<std::ptrdiff_t>(until);
        if (to != candidates_.end()) std::nth_element(from, to, candidates_.end(), before);
        std::sort(from, to, before);
        sorted = until;
      }
      reached += share(candidates_[kept++]);
      if (reached >= static_cast<double>(o_.top_p) * total) break;
    }
    candidates_.resize(kept);
  }

  sampler_options o_;
  std::vector<std::uint32_t> penalised_;  // how often each token is among the recent ones
  std::vector<std::int32_t> recent_;      // a ring
  std::uint64_t accepted_ = 0, drawn_ = 0;
  std::vector<candidate> candidates_;
  std::vector<double> weights_;
};

}  // namespace quire_lm
