// SPDX-License-Identifier: Apache-2.0
// A schedule chosen while the program runs, and its text form: what is stored beside learned settings.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "../core/checksum.hpp"
#include "../core/status.hpp"
#include "rate_schedule.hpp"
#include "table_profile.hpp"

namespace quire::inline v0::calibrate {

/// Any of the library's profiles behind any of its sampling rates, with an optional warm-up. The same numbers as the
/// `rate_schedule` of the same parts. test: tests/calibrate/schedule_text.cpp
struct any_schedule {
  using profiles = std::variant<profile::constant, profile::linear, profile::polynomial, profile::cosine, profile::exponential, profile::step,
                                profile::one_cycle, profile::rex, profile::wsd<>, profile::table>;
  using samplings = std::variant<sampling::every_step, sampling::every, sampling::every_fraction, sampling::milestones>;

  profiles profile = profile::linear{};
  samplings sampling = sampling::every_step{};
  double warmup = 0, warmup_start = 0.1;  ///< profile::warmup; 0: none
  double peak = 1, floor = 0;
  std::uint64_t steps = 1;

  double value(std::uint64_t t) const noexcept {
    return std::visit([&](const auto& p, const auto& s) {
      const warmed<std::remove_cvref_t<decltype(p)>> read{&p, warmup, warmup_start};
      return rate_schedule<warmed<std::remove_cvref_t<decltype(p)>>, std::remove_cvref_t<decltype(s)>>{read, peak, steps, s, floor}.value(t);
    }, profile, sampling);
  }

 private:
  template <Profile P>
  struct reference {
    const P* to;
    double operator()(double s) const noexcept { return (*to)(s); }
  };
  template <Profile P>
  struct warmed {  // no copy of a table for one value
    const P* to;
    double fraction, start;
    double operator()(double s) const noexcept { return profile::warmup<reference<P>>{fraction, start, {to}}(s); }
  };
};
static_assert(Schedule<any_schedule>);

namespace schedule_text {

inline constexpr std::uint32_t version = 1;

namespace detail {

inline constexpr double huge = 1e12;  // what a parameter without a natural limit may hold
inline constexpr std::string_view profile_names[] = {"constant", "linear", "polynomial", "cosine", "exponential",
                                                     "step",     "one_cycle", "rex", "wsd", "table"};
inline constexpr std::string_view sampling_names[] = {"every_step", "every", "every_fraction", "milestones"};

inline std::int64_t millionths(double x) noexcept {
  if (!(std::fabs(x) < huge)) return std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(x * 1e6 + (x < 0 ? -0.5 : 0.5));
}
inline status in_range(const char* what, double x, double low, double high) noexcept {
  if (x >= low && x <= high) return {};
  return {errc::out_of_range, what, millionths(x), millionths(low), millionths(high)};
}

/// Calls f(what, number, low, high) for each parameter in the order of the text; numbers are double or unsigned.
template <class F> void parameters(profile::constant&, F&&) {}
template <class F> void parameters(profile::linear&, F&&) {}
template <class F> void parameters(profile::cosine&, F&&) {}
template <class F> void parameters(profile::polynomial& p, F&& f) { f("polynomial power, in millionths", p.power, 1e-6, 1e6); }
template <class F> void parameters(profile::exponential& p, F&& f) { f("exponential gamma, in millionths", p.gamma, -1e3, 0.0); }
template <class F> void parameters(profile::rex& p, F&& f) { f("rex a, in millionths", p.a, 0.0, 0.999999); }
template <class F> void parameters(profile::wsd<>& p, F&& f) { f("wsd cool, in millionths", p.cool, 1e-6, 1.0); }
template <class F> void parameters(profile::one_cycle& p, F&& f) {
  f("one_cycle start, in millionths", p.start, 0.0, 1.0);
  f("one_cycle up, in millionths", p.up, 0.0, 1.0);
  f("one_cycle end, in millionths", p.end, 0.0, 1.0);
}
template <class F> void parameters(profile::step& p, F&& f) {
  f("step factor, in millionths", p.factor, 0.0, 1.0);
  f("step milestones (how many)", p.count, 0u, profile::step::most);
  for (std::uint32_t i = 0; i < p.count && i < profile::step::most; ++i)
    f("step milestone (rising), in millionths", p.milestones[i], i == 0 ? 0.0 : p.milestones[i - 1], 1.0);
}
template <class F> void parameters(sampling::every_step&, F&&) {}
template <class F> void parameters(sampling::every& s, F&& f) { f("every (steps)", s.k, std::uint64_t{1}, std::uint64_t{1} << 40); }
template <class F> void parameters(sampling::every_fraction& s, F&& f) { f("every_fraction, in millionths", s.fraction, 1e-6, 1.0); }
template <class F> void parameters(sampling::milestones& s, F&& f) {
  f("sampling milestones (how many)", s.count, 0u, sampling::milestones::most);
  for (std::uint32_t i = 0; i < s.count && i < sampling::milestones::most; ++i)
    f("sampling milestone (rising), in millionths", s.at[i], i == 0 ? 0.0 : s.at[i - 1], 1.0);
}
template <class F> void parameters(profile::table& p, F&& f) {
  auto n = static_cast<std::uint32_t>(p.points().size());
  f("table points (how many)", n, 2u, profile::table::most_points);
  if (n > profile::table::most_points) return;
  std::vector<double> points = p.points();
  points.resize(n);
  for (double& x : points) f("table point, in millionths", x, 0.0, 1.0);
  p = profile::table(std::move(points));
}

/// Lines of words; errors name the line.
class reader {
 public:
  explicit reader(std::string_view text) : rest_(text) {}
  status line(std::string_view key) {
    ++number_;
    std::string_view got;
    if (const status s = word(got); !s || got != key) return {errc::corrupt, "schedule text, line", number_};
    return {};
  }
  status word(std::string_view& out) {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
    std::size_t n = 0;
    while (n < rest_.size() && rest_[n] != ' ' && rest_[n] != '\n') ++n;
    if (n == 0) return {errc::corrupt, "schedule text, line", number_};
    out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return {};
  }
  template <class N>
  status number(N& out) {
    std::string_view w;
    if (const status s = word(w); !s) return s;
    N x{};
    const auto [end, code] = std::from_chars(w.data(), w.data() + w.size(), x);
    if (code != std::errc{} || end != w.data() + w.size()) return {errc::corrupt, "schedule text, line", number_};
    out = x;
    return {};
  }
  status end_line() {
    if (rest_.empty() || rest_.front() != '\n') return {errc::corrupt, "schedule text, line", number_};
    rest_.remove_prefix(1);
    return {};
  }
  std::size_t left() const noexcept { return rest_.size(); }
  std::int64_t at() const noexcept { return number_; }

 private:
  std::string_view rest_;
  std::int64_t number_ = 0;
};

template <class N>
void put(std::string& text, N x) {
  char buffer[32];
  const auto [end, code] = std::to_chars(buffer, buffer + sizeof buffer, x);
  text.append(" ").append(buffer, code == std::errc{} ? end : buffer);
}

template <std::size_t I = 0, class V, class F>
bool emplace(V& v, std::size_t index, F&& then) {
  if constexpr (I < std::variant_size_v<V>) {
    if (index != I) return emplace<I + 1>(v, index, then);
    then(v.template emplace<I>());
    return true;
  }
  return false;
}

inline std::uint64_t hash(std::string_view text) noexcept { return fnv1a(std::as_bytes(std::span(text))); }

}  // namespace detail

/// Whether every parameter lies in its range. fails: out_of_range, naming the parameter; fractional ones are given in millionths.
[[nodiscard]] inline status check(const any_schedule& s) {
  any_schedule copy = s;
  status found;
  const auto ask = [&](const char* what, const auto& x, auto low, auto high) {
    if (!found) return;
    if constexpr (std::is_floating_point_v<std::remove_cvref_t<decltype(x)>>) found = detail::in_range(what, x, low, high);
    else if (x < low || x > high)
      found = {errc::out_of_range, what, static_cast<std::int64_t>(x), static_cast<std::int64_t>(low), static_cast<std::int64_t>(high)};
  };
  std::visit([&](auto& p) { detail::parameters(p, ask); }, copy.profile);
  std::visit([&](auto& p) { detail::parameters(p, ask); }, copy.sampling);
  ask("warmup, in millionths", s.warmup, 0.0, 1.0);
  ask("warmup_start, in millionths", s.warmup_start, 0.0, 1.0);
  ask("peak, in millionths", s.peak, 0.0, detail::huge);
  ask("floor, in millionths", s.floor, 0.0, 1.0);
  ask("steps", s.steps, std::uint64_t{1}, std::uint64_t{1} << 62);
  return found;
}

/// Seven lines: version, profile with its parameters, sampling with its own, warm-up, range of the rate, steps, checksum. Numbers are the
/// shortest decimals that read back as the same bits. fails: as `check`.
[[nodiscard]] inline status write(const any_schedule& s, std::string& out) {
  if (const status ok = check(s); !ok) return ok;
  any_schedule copy = s;
  std::string text = "quire.schedule";
  detail::put(text, version);
  const auto add = [&](const char*, const auto& x, auto, auto) { detail::put(text, x); };
  text.append("\nprofile ").append(detail::profile_names[s.profile.index()]);
  std::visit([&](auto& p) { detail::parameters(p, add); }, copy.profile);
  text.append("\nsampling ").append(detail::sampling_names[s.sampling.index()]);
  std::visit([&](auto& p) { detail::parameters(p, add); }, copy.sampling);
  for (const auto& [key, a, b] : {std::tuple{"\nwarmup", s.warmup, s.warmup_start}, std::tuple{"\nrate", s.peak, s.floor}}) {
    text.append(key);
    detail::put(text, a);
    detail::put(text, b);
  }
  text.append("\nsteps");
  detail::put(text, s.steps);
  text.append("\n");
  const std::uint64_t sum = detail::hash(text);
  text.append("sum");
  detail::put(text, sum);
  text.append("\n");
  out = std::move(text);
  return {};
}

/// fails: version_mismatch; corrupt ("schedule text, line", "schedule text, checksum"); out_of_range as `check`. `out` is unchanged
/// then. Takes any bytes.
[[nodiscard]] inline status read(std::string_view text, any_schedule& out) {
  detail::reader in(text);
  any_schedule made;
  std::uint32_t wrote = 0;
  status s = in.line("quire.schedule");
  if (s) s = in.number(wrote);
  if (s && wrote != version) s = {errc::version_mismatch, "version of the schedule text", wrote, version, version};
  if (s) s = in.end_line();
  const auto take = [&](const char* what, auto& x, auto low, auto high) {
    if (s) s = in.number(x);
    if (!s) return;
    if constexpr (std::is_floating_point_v<std::remove_cvref_t<decltype(x)>>) s = detail::in_range(what, x, low, high);
    else if (x < low || x > high)
      s = {errc::out_of_range, what, static_cast<std::int64_t>(x), static_cast<std::int64_t>(low), static_cast<std::int64_t>(high)};
    if constexpr (std::is_unsigned_v<std::remove_cvref_t<decltype(x)>>)
      if (!s) x = 0;  // a count that is refused is not believed
  };
  const auto choose = [&](std::string_view key, const auto& names, auto& variant) {
    std::string_view name;
    if (s) s = in.line(key);
    if (s) s = in.word(name);
    if (!s) return;
    std::size_t i = 0;
    while (i < std::size(names) && names[i] != name) ++i;
    if (!detail::emplace(variant, i, [&](auto& p) { detail::parameters(p, take); })) s = {errc::corrupt, "schedule text, line", in.at()};
    if (s) s = in.end_line();
  };
  choose("profile", detail::profile_names, made.profile);
  choose("sampling", detail::sampling_names, made.sampling);
  for (const auto& [key, a, b] : {std::tuple{"warmup", &made.warmup, &made.warmup_start}, std::tuple{"rate", &made.peak, &made.floor}}) {
    if (s) s = in.line(key);
    if (s) s = in.number(*a);
    if (s) s = in.number(*b);
    if (s) s = in.end_line();
  }
  if (s) s = in.line("steps");
  if (s) s = in.number(made.steps);
  if (s) s = in.end_line();
  const std::size_t body = text.size() - in.left();
  std::uint64_t sum = 0;
  if (s) s = in.line("sum");
  if (s) s = in.number(sum);
  if (s) s = in.end_line();
  if (s && in.left() != 0) s = {errc::corrupt, "schedule text, line", in.at() + 1};
  if (s && sum != detail::hash(text.substr(0, body))) s = {errc::corrupt, "schedule text, checksum"};
  if (s) s = check(made);
  if (s) out = std::move(made);
  return s;
}

}  // namespace schedule_text

}  // namespace quire::inline v0::calibrate
