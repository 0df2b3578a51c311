// SPDX-License-Identifier: Apache-2.0
#include "quality.hpp"

#include <algorithm>
#include <cmath>

#include "common.hpp"
#include "quire/evaluate/summary.hpp"

namespace quire_lm {
namespace {

using quire::evaluate::row_score;

struct sums {
  double nll = 0;
  std::size_t agreed = 0;
  std::vector<double> kl;
};

}  // namespace

void step_rows(backend& b, std::uint32_t sequence, std::span<const token> tokens, std::uint32_t from, float* logits) {
  require(b.reserve(sequence, static_cast<std::uint32_t>(tokens.size())));
  require(b.step_all({sequence, b.length(sequence), tokens, true}, from, logits));
  require(b.commit(sequence, static_cast<std::uint32_t>(tokens.size())));
}

std::vector<quality> score_windows(std::span<backend* const> backends, std::span<const token> tokens, const window_options& o,
                                   const std::function<void(double, double)>& progress) {
  const std::uint32_t first = o.context / 2, last = o.context - 1;  // rows [first, last) are scored
  const std::size_t windows = tokens.size() / o.context, width = backends[0]->vocabulary();
  constexpr std::uint32_t most = 128;  // rows of logits held at a time
  std::uint32_t chunk = most;
  for (const backend* b : backends) chunk = std::min(chunk, b->max_rows());
  std::vector<float> reference(std::size_t{chunk} * width), other(backends.size() > 1 ? reference.size() : 0);
  std::vector<double> reference_norm(chunk);
  std::vector<row_score> scores(chunk);
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
        step_rows(*backends[b], sequence[b], std::span<const token>(window).subspan(at, n), from, logits.data());
        each_index(n - from, o.threads, [&](std::size_t r) {
          const std::span<const float> ref(reference.data() + r * width, width), x(logits.data() + r * width, width);
          if (b == 0) reference_norm[r] = quire::evaluate::log_sum_exp(x);
          scores[r] = quire::evaluate::score_row(ref, reference_norm[r], x, static_cast<std::size_t>(window[at + r + 1]));
        });
        for (std::size_t r = 0; r < n - from; ++r) {
          total[b].nll += scores[r].nll;
          total[b].agreed += scores[r].agrees;
          total[b].kl.push_back(scores[r].kl);
        }
        done += n;
        if (progress) progress(done, static_cast<double>(backends.size() * windows * last));
      }
      at += n;
    }
    for (std::size_t b = 0; b < backends.size(); ++b) backends[b]->close(sequence[b]);
  }
  std::vector<quality> out;
  for (const sums& s : total) {
    const auto n = static_cast<double>(s.kl.size());
    out.push_back({.perplexity = std::exp(s.nll / n), .tokens_scored = s.kl.size(), .kl_mean = quire::evaluate::mean(s.kl),
                   .kl_p99 = quire::evaluate::quantile(s.kl, 0.99), .top1_agreement = static_cast<double>(s.agreed) / n});
  }
  return out;
}

}  // namespace quire_lm
