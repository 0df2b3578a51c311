// SPDX-License-Identifier: Apache-2.0
// What the server counts, in Prometheus' text format. Counters are relaxed atomics: any thread writes, any thread reads.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace quire_server {

using counter = std::atomic<std::uint64_t>;

/// Counts of values up to each bound; Prometheus' cumulative form is made when it is written.
template <std::size_t Bounds>
class histogram {
 public:
  explicit histogram(const std::array<double, Bounds>& bounds) : bounds_(bounds) {}
  void observe(double value) noexcept {
    std::size_t i = 0;
    while (i < Bounds && value > bounds_[i]) ++i;
    counts_[i].fetch_add(1, std::memory_order_relaxed);
    micro_.fetch_add(static_cast<std::uint64_t>(value * 1e6), std::memory_order_relaxed);
  }
  void write(std::string& to, std::string_view name) const {
    char line[160];
    const int width = static_cast<int>(name.size());
    std::uint64_t total = 0;
    for (std::size_t i = 0; i <= Bounds; ++i) {
      total += counts_[i].load(std::memory_order_relaxed);
      char bound[32] = "+Inf";
      if (i < Bounds) std::snprintf(bound, sizeof bound, "%g", bounds_[i]);
      std::snprintf(line, sizeof line, "%.*s_bucket{le=\"%s\"} %llu\n", width, name.data(), bound, static_cast<unsigned long long>(total));
      to += line;
    }
    std::snprintf(line, sizeof line, "%.*s_sum %.6f\n%.*s_count %llu\n", width, name.data(),
                  static_cast<double>(micro_.load(std::memory_order_relaxed)) * 1e-6, width, name.data(), static_cast<unsigned long long>(total));
    to += line;
  }

 private:
  std::array<double, Bounds> bounds_;
  std::array<counter, Bounds + 1> counts_{};
  counter micro_{0};  ///< sum in millionths
};

inline constexpr std::array<double, 12> wait_bounds{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
inline constexpr std::array<double, 12> gap_bounds{0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 5};

struct metrics {
  // Counters.
  counter prompt_tokens{0}, generated_tokens{0}, cached_tokens{0};
  counter steps{0}, computed_tokens{0}, recomputed_tokens{0}, preempted{0}, yielded{0}, swapped_out{0}, swapped_in{0}, copies_lost{0};
  counter ended_stop{0}, ended_length{0}, ended_disconnect{0}, ended_slow_reader{0}, ended_failed{0}, ended_shutdown{0};
  // Gauges.
  counter running{0}, waiting{0}, live{0}, connections{0}, pages{0}, free_pages{0}, draining{0};
  histogram<12> first_token{wait_bounds}, token_gap{gap_bounds}, duration{wait_bounds};

  void answered(std::string_view route, int status) {
    const std::lock_guard lock(mutex_);
    ++requests_[{std::string(route), status}];
  }

  /// The page GET /metrics gives.
  std::string text() const {
    std::string out;
    const auto head = [&](std::string_view name, std::string_view kind, std::string_view help) {
      out.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ").append(name).append(" ").append(kind).append("\n");
    };
    const auto value = [&](std::string_view name, std::string_view labels, const counter& c) {
      out.append(name).append(labels).append(" ").append(std::to_string(c.load(std::memory_order_relaxed))).append("\n");
    };
    const auto one = [&](std::string_view name, std::string_view kind, std::string_view help, const counter& c) {
      head(name, kind, help);
      value(name, "", c);
    };
    head("quire_requests_total", "counter", "HTTP requests answered, by route and status.");
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [key, n] : requests_)
        out += "quire_requests_total{route=\"" + key.first + "\",status=\"" + std::to_string(key.second) + "\"} " + std::to_string(n) + "\n";
    }
    head("quire_texts_total", "counter", "Texts that ended, by reason.");
    const std::pair<const char*, const counter*> endings[] = {
        {"{reason=\"stop\"}", &ended_stop},     {"{reason=\"length\"}", &ended_length},           {"{reason=\"disconnect\"}", &ended_disconnect},
        {"{reason=\"slow_reader\"}", &ended_slow_reader}, {"{reason=\"failed\"}", &ended_failed}, {"{reason=\"shutdown\"}", &ended_shutdown}};
    for (const auto& [labels, c] : endings) value("quire_texts_total", labels, *c);
    head("quire_tokens_total", "counter", "Tokens of prompts accepted and tokens generated.");
    value("quire_tokens_total", "{kind=\"prompt\"}", prompt_tokens);
    value("quire_tokens_total", "{kind=\"generated\"}", generated_tokens);
    one("quire_cached_tokens_total", "counter", "Prompt tokens that were not computed, because their rows were there.", cached_tokens);
    one("quire_steps_total", "counter", "Steps of the model.", steps);
    one("quire_computed_tokens_total", "counter", "Rows computed in steps.", computed_tokens);
    one("quire_recomputed_tokens_total", "counter", "Rows computed again after a preemption.", recomputed_tokens);
    head("quire_preemptions_total", "counter", "Sequences that lost their pages: to a full cache, or to an urgent request.");
    value("quire_preemptions_total", "{cause=\"memory\"}", preempted);
    value("quire_preemptions_total", "{cause=\"urgent\"}", yielded);
    head("quire_swaps_total", "counter", "Sequences that left the cache for the host, and came back.");
    value("quire_swaps_total", "{direction=\"out\"}", swapped_out);
    value("quire_swaps_total", "{direction=\"in\"}", swapped_in);
    one("quire_lost_copies_total", "counter", "Copies that failed or brought back damaged bytes; what they held is computed again.", copies_lost);
    one("quire_running", "gauge", "Texts that hold pages.", running);
    one("quire_waiting", "gauge", "Texts that wait for a seat.", waiting);
    one("quire_live", "gauge", "Texts accepted that have not ended.", live);
    one("quire_connections", "gauge", "Connections being served.", connections);
    one("quire_pages", "gauge", "Pages of the cache, all pools together.", pages);
    one("quire_free_pages", "gauge", "Pages that no sequence needs; what is remembered of past ones may lie in them.", free_pages);
    one("quire_draining", "gauge", "1 when the server refuses new work.", draining);
    head("quire_time_to_first_token_seconds", "histogram", "From a request's arrival to its first token.");
    first_token.write(out, "quire_time_to_first_token_seconds");
    head("quire_token_gap_seconds", "histogram", "Between two tokens of a text.");
    token_gap.write(out, "quire_token_gap_seconds");
    head("quire_duration_seconds", "histogram", "From a request's arrival to its last token.");
    duration.write(out, "quire_duration_seconds");
    return out;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> requests_;
};

/// Adds to a relaxed counter; sets a gauge.
inline void add(counter& c, std::uint64_t n = 1) noexcept { c.fetch_add(n, std::memory_order_relaxed); }
inline void set(counter& c, std::uint64_t n) noexcept { c.store(n, std::memory_order_relaxed); }

}  // namespace quire_server
