// SPDX-License-Identifier: Apache-2.0
#include "quality.hpp"

#include <algorithm>
#include <cmath>
#include <thread>

#include "common.hpp"
#include "quire/serve/generation.hpp"

namespace quire_lm {
namespace {

/// log Σ exp(x), in double.
double log_sum_exp(std::span<const float> x) {
  const double top = static_cast<double>(*std::max_element(x.begin(), x.end()));
  double sum = 0;
  for (const float v : x) sum += std::exp(static_cast<double>(v) - top);
  return top + std::log(sum);
}

/// Σ p_ref · (log p_ref − log p).
double divergence(std::span<const float> ref, double ref_norm, std::span<const float> x, double norm) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double log_ref = static_cast<double>(ref[i]) - ref_norm;
    sum += std::exp(log_ref) * (log_ref - (static_cast<double>(x[i]) - norm));
  }
  return std::max(0.0, sum);
}

/// f(i) for i in [0, n) on several threads; results go by index, so their order is none of the threads'.
template <class F>
void each(std::size_t n, std::uint32_t threads, const F& f) {
  std::vector<std::thread> others;
  const auto part = [&](std::uint32_t t) {
    for (std::size_t i = t; i < n; i += threads) f(i);
  };
  for (std::uint32_t t = 1; t < threads; ++t) others.emplace_back(part, t);
  part(0);
  for (std::thread& t : others) t.join();
}

struct sums {
  double nll = 0;
  std::size_t agreed = 0;
  std::vector<double> kl;
};

}  // namespace

std::vector<quality> score_windows(std::span<backend* const> backends, std::span<const token> tokens, const window_options& o,
                                   const std::function<void(double, double)>& progress) {
  const std::uint32_t first = o.context / 2, last = o.context - 1;  // rows [first, last) are scored
  const std::size_t windows = tokens.size() / o.context, width = backends[0]->vocabulary();
  constexpr std::uint32_t most = 128;  // rows of logits held at a time
  std::uint32_t chunk = most;
  for (const backend* b : backends) chunk = std::min(chunk, b->max_rows());
  std::vector<float> reference(std::size_t{chunk} * width), other(backends.size() > 1 ? reference.size() : 0);
  std::vector<double> reference_norm(chunk), nll(chunk), kl(chunk);
  std::vector<std::uint8_t> agrees(chunk);
  std::vector<sums> total(backends.size());
  std::vector<std::uint32_t> sequence(backends.size());
  std::vector<token> window(o.context);
  double done = 0;
  for (std::size_t w = 0; w < windows; ++w) {
    std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(w * o.context), o.context, window.begin());
    if (o.bos) window[0] = *o.bos;
    for (std::size_t b = 0; b < backends.size(); ++b) require(backends[b]->open(sequence[b]));
    for (std::uint32_t at = 0; at < last;) {
      const std::uint32_t stop = at < first ? first : last;
      const std::uint32_t n = std::min(chunk, stop - at), from = at < first ? n : 0;
      for (std::size_t b = 0; b < backends.size(); ++b) {
        std::vector<float>& logits = b == 0 ? reference : other;
        require(backends[b]->reserve(sequence[b], n));
        require(backends[b]->step_all({sequence[b], at, std::span<const token>(window).subspan(at, n), true}, from, logits.data()));
        require(backends[b]->commit(sequence[b], n));
        each(n - from, o.threads, [&](std::size_t r) {
          const std::span<const float> ref(reference.data() + r * width, width), x(logits.data() + r * width, width);
          const double norm = log_sum_exp(x);
          if (b == 0) reference_norm[r] = norm;
          nll[r] = norm - static_cast<double>(x[static_cast<std::size_t>(window[at + r + 1])]);
          kl[r] = b == 0 ? 0 : divergence(ref, reference_norm[r], x, norm);
          agrees[r] = quire::serve::greedy(ref) == quire::serve::greedy(x);
        });
        for (std::size_t r = 0; r < n - from; ++r) {
          total[b].nll += nll[r];
          total[b].agreed += agrees[r];
          total[b].kl.push_back(kl[r]);
        }
        done += n;
        if (progress) progress(done, static_cast<double>(backends.size() * windows * last));
      }
      at += n;
    }
    for (std::size_t b = 0; b < backends.size(); ++b) backends[b]->close(sequence[b]);
  }
  std::vector<quality> out;
  for (sums& s : total) {
    const auto n = static_cast<double>(s.kl.size());
    quality q{.perplexity = std::exp(s.nll / n), .tokens_scored = s.kl.size(), .top1_agreement = static_cast<double>(s.agreed) / n};
    for (const double k : s.kl) q.kl_mean += k / n;
    const auto p99 = s.kl.begin() + static_cast<std::ptrdiff_t>(std::min<double>(n - 1, std::ceil(0.99 * n) - 1));
    std::nth_element(s.kl.begin(), p99, s.kl.end());
    q.kl_p99 = *p99;
    out.push_back(q);
  }
  return out;
}

}  // namespace quire_lm
