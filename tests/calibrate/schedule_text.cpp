// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/schedule_text.hpp"

#include <string>
#include <vector>

#include "catch.hpp"
#include "quire/core/random.hpp"

using namespace quire;
using namespace quire::calibrate;

namespace {

std::string text_of(const any_schedule& s) {
  std::string text;
  REQUIRE(schedule_text::write(s, text));
  return text;
}
/// One of each profile and sampling, with parameters that no short decimal holds.
std::vector<any_schedule> all() {
  std::vector<any_schedule::profiles> profiles{profile::constant{}, profile::linear{}, profile::polynomial{1.0 / 3}, profile::cosine{}, profile::exponential{-2.0 / 7},
      profile::step{.factor = 1.0 / 3, .count = 2, .milestones = {0.1, 2.0 / 3}}, profile::one_cycle{1.0 / 7, 0.3, 0.01}, profile::rex{2.0 / 3}, profile::wsd<>{1.0 / 3},
      profile::tabulate(profile::rex{}, 37)};
  std::vector<any_schedule::samplings> samplings{sampling::every_step{}, sampling::every{17}, sampling::every_fraction{1.0 / 9}, sampling::milestones{.count = 2, .at = {1.0 / 3, 0.7}}};
  std::vector<any_schedule> out;
  for (const auto& p : profiles)
    for (const auto& s : samplings)
      for (double warmup : {0.0, 1.0 / 11}) out.push_back({.profile = p, .sampling = s, .warmup = warmup, .warmup_start = 0.2, .peak = 0.7 / 3, .floor = 0.05, .steps = 1234});
  return out;
}
std::string resum(std::string text) {  // a fresh checksum for a text changed by hand
  text.resize(text.rfind("sum"));
  const auto sum = schedule_text::detail::hash(text);
  return text + "sum " + std::to_string(sum) + "\n";
}
std::string with(const any_schedule& s, const std::string& from, const std::string& to) {
  std::string text = text_of(s);
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return resum(text.replace(at, from.size(), to));
}

}  // namespace

TEST_CASE("a schedule chosen at run time is the compiled one") {
  const any_schedule a{.profile = profile::rex{0.9}, .sampling = sampling::every{8}, .peak = 0.25, .floor = 0.1, .steps = 500};
  const rate_schedule<profile::rex, sampling::every> b{.profile = {0.9}, .peak = 0.25, .steps = 500, .sampling = {8}, .floor = 0.1};
  const any_schedule c{.profile = profile::cosine{}, .warmup = 0.1, .peak = 2, .steps = 500};
  const rate_schedule<profile::warmup<profile::cosine>> d{.profile = {.fraction = 0.1}, .peak = 2, .steps = 500};
  for (std::uint64_t t = 0; t <= 600; ++t)
    if (a.value(t) != b.value(t) || c.value(t) != d.value(t)) FAIL("step " << t);
}

TEST_CASE("text reads back as the same rates, bit for bit, and as the same text") {
  for (const any_schedule& s : all()) {
    const std::string text = text_of(s);
    any_schedule back;
    INFO(text);
    REQUIRE(schedule_text::read(text, back));
    REQUIRE(text_of(back) == text);
    for (std::uint64_t t = 0; t <= s.steps; ++t)
      if (back.value(t) != s.value(t)) FAIL("step " << t);
  }
}

TEST_CASE("the text is for people too") {
  const any_schedule s{.profile = profile::rex{0.5}, .sampling = sampling::every{10}, .peak = 0.02, .steps = 1000};
  const std::string text = text_of(s);
  CHECK(text.substr(0, text.rfind("sum")) == "quire.schedule 1\nprofile rex 0.5\nsampling every 10\nwarmup 0 0.1\nrate 0.02 0\nsteps 1000\n");
}

TEST_CASE("bad text is refused with its line or parameter, and changes nothing") {
  const any_schedule s{.profile = profile::rex{0.5}, .sampling = sampling::every{10}, .peak = 0.02, .steps = 1000};
  any_schedule out{.peak = 42};
  const auto refuse = [&](const std::string& text) {
    const status r = schedule_text::read(text, out);
    CHECK_FALSE(r);
    CHECK(out.peak == 42);
    return describe(r);
  };
  CHECK(refuse("") == "corrupt: schedule text, line is 1");
  CHECK(refuse(with(s, "schedule 1", "schedule 2")) == "version_mismatch: version of the schedule text is 2, allowed 1 to 1");
  CHECK(refuse(with(s, "rex", "rax")) == "corrupt: schedule text, line is 2");
  CHECK(refuse(with(s, "rex 0.5", "rex")) == "corrupt: schedule text, line is 2");
  CHECK(refuse(with(s, "rex 0.5", "rex 0.5 0.5")) == "corrupt: schedule text, line is 2");
  CHECK(refuse(with(s, "rex 0.5", "rex 1")) == "out_of_range: rex a, in millionths is 1000000, allowed 0 to 999999");
  CHECK(refuse(with(s, "rex 0.5", "rex nan")).starts_with("out_of_range: rex a"));
  CHECK(refuse(with(s, "every 10", "every 0")) == "out_of_range: every (steps) is 0, allowed 1 to 1099511627776");
  CHECK(refuse(with(s, "every 10", "every -3")) == "corrupt: schedule text, line is 3");
  CHECK(refuse(with(s, "warmup 0 0.1", "warmup 2 0.1")) == "out_of_range: warmup, in millionths is 2000000, allowed 0 to 1000000");
  CHECK(refuse(with(s, "rate 0.02", "rate -1")).starts_with("out_of_range: peak, in millionths is -1000000"));
  CHECK(refuse(with(s, "steps 1000", "steps 0")).starts_with("out_of_range: steps is 0, allowed 1"));
  CHECK(refuse(with(s, "profile rex 0.5", "profile step 0.1 9 0 0 0 0 0 0 0 0 0")) == "out_of_range: step milestones (how many) is 9, allowed 0 to 8");
  CHECK(refuse(with(s, "profile rex 0.5", "profile step 0.1 2 0.5 0.4")).starts_with("out_of_range: step milestone (rising), in millionths is 400000, allowed 500000"));
  CHECK(refuse(with(s, "profile rex 0.5", "profile table 4000000000 1")) == "out_of_range: table points (how many) is 4000000000, allowed 2 to 10000");
  CHECK(refuse(with(s, "profile rex 0.5", "profile table 3 1 2 0")) == "out_of_range: table point, in millionths is 2000000, allowed 0 to 1000000");
  CHECK(refuse(with(s, "profile rex 0.5", "profile table 3 1 0.5")) == "corrupt: schedule text, line is 2");
  std::string text = text_of(s);
  CHECK(refuse(text + "x") == "corrupt: schedule text, line is 8");
  text[text.find("0.02") + 3] = '3';
  CHECK(refuse(text).starts_with("corrupt: schedule text, checksum"));
}

TEST_CASE("no cut and no changed byte of a text is taken") {
  const std::string text = text_of({.profile = profile::tabulate(profile::linear{}, 5), .peak = 0.125, .steps = 77});
  any_schedule out;
  for (std::size_t n = 0; n < text.size(); ++n)
    if (schedule_text::read(text.substr(0, n), out)) FAIL("cut at " << n);
  splitmix64 random(4);
  for (int i = 0; i < 20000; ++i) {
    std::string bad = text;
    const auto at = random.below(bad.size());
    bad[at] = static_cast<char>(random.below(256));
    if (bad != text && schedule_text::read(bad, out)) FAIL("byte " << at << " changed to " << static_cast<int>(bad[at]));
  }
}

TEST_CASE("a schedule out of range is not written") {
  std::string text = "kept";
  CHECK(describe(schedule_text::write({.profile = profile::polynomial{0}}, text)).starts_with("out_of_range: polynomial power, in millionths is 0"));
  CHECK_FALSE(schedule_text::write({.profile = profile::table{}}, text));
  CHECK_FALSE(schedule_text::write({.peak = std::numeric_limits<double>::quiet_NaN()}, text));
  CHECK_FALSE(schedule_text::write({.floor = 2}, text));
  CHECK(text == "kept");
}
