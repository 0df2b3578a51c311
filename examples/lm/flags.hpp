// SPDX-License-Identifier: Apache-2.0
// What a flag's value must be; the message of a refusal follows the flag's name.
#pragma once

#include <CLI/CLI.hpp>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cache.hpp"
#include "error.hpp"

namespace quire_lm {

/// A whole number of [low, high].
inline CLI::Validator whole(std::uint64_t low, std::uint64_t high) {
  return {[low, high](std::string& s) -> std::string {
            std::uint64_t x = 0;
            const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), x);
            if (!s.empty() && error == std::errc() && end == s.data() + s.size() && x >= low && x <= high) return {};
            return "is " + quire_lm::quoted(s) + ", allowed a whole number from " + std::to_string(low) + " to " + std::to_string(high);
          },
          "", ""};
}

inline CLI::Validator real(const char* range, double low, double high, bool above) {
  return {[range, low, high, above](std::string& s) -> std::string {
            double x = NAN;
            const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), x);
            if (!s.empty() && error == std::errc() && end == s.data() + s.size() && (above ? x > low : x >= low) && x <= high) return {};
            return "is " + quire_lm::quoted(s) + ", allowed " + range;
          },
          "", ""};
}

inline CLI::Validator cache() {
  return {[](std::string& s) -> std::string {
            try {
              static_cast<void>(parse_cache(s, ""));
            } catch (const bad_input& e) {
              return std::string(e.what()).substr(1);  // the flag's name comes before
            }
            return {};
          },
          "", ""};
}

inline CLI::Validator one_of(std::vector<std::string> names) {
  return {[names = std::move(names)](std::string& s) -> std::string {
            std::string known;
            for (const std::string& n : names) {
              if (s == n) return {};
              known += (known.empty() ? "" : ", ") + n;
            }
            return "is " + quire_lm::quoted(s) + ", allowed " + known;
          },
          "", ""};
}

inline CLI::Validator not_empty() {
  return {[](std::string& s) { return s.empty() ? std::string("is '', allowed at least one character") : std::string(); }, "", ""};
}

}  // namespace quire_lm
