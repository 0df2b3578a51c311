// SPDX-License-Identifier: Apache-2.0
// Caches by name: NAME[:PARAMETER=VALUE]..., e.g. razor:share=7:window=128. What a name stands for is in caches/.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.hpp"

namespace quire_lm {

/// A cache the program knows by name; `parameters` are those it takes, with spaces.
struct cache_name {
  std::string_view name, what, parameters = "";
};
inline constexpr std::array cache_names = std::to_array<cache_name>({
    {"f32", "f32 keys and values: the reference"},
    {"bf16", "bf16 tiles"},
    {"fp8", "8-bit floats (E4M3), one power of two a tile"},
    {"int8", "8-bit codes, one scale and minimum per token"},
    {"int4", "4-bit codes, one scale and minimum per token"},
    {"int4-channel", "4-bit codes, keys per channel, values per token"},
    {"int4-hadamard", "4-bit codes per token after a Hadamard rotation of the channels"},
    {"kivi-4", "KIVI: 4-bit codes, keys per channel, values per token, groups of 32"},
    {"kivi-3", "KIVI with 3-bit codes"},
    {"kivi-2", "KIVI with 2-bit codes"},
    {"kivi-3-g64", "KIVI with 3-bit codes in groups of 64"},
    {"kivi-2-g64", "KIVI with 2-bit codes in groups of 64: the backbone of gear-2"},
    {"gear-4", "GEAR: 4-bit KCVT codes, rank 2, two outliers a vector"},
    {"gear-2", "GEAR: 2-bit KIVI codes in groups of 64, rank 2, two outliers a vector"},
    {"gear-l-4", "GEAR-L: 4-bit KCVT codes and rank 2"},
    {"gear-l-2", "GEAR-L: 2-bit KIVI codes in groups of 64, rank 2"},
    {"mikv-4", "MiKV: important tokens in bf16, all others in 4 bits with balanced keys", "exact recent"},
    {"mikv-2", "MiKV: important tokens in bf16, all others in 2 bits with balanced keys", "exact recent"},
    {"mikv-4-plain", "MiKV without its balancer: important tokens in bf16, all others in 4 bits", "exact recent"},
    {"mikv-2-plain", "MiKV without its balancer, all others in 2 bits", "exact recent"},
    {"h2o", "H2O: important tokens in bf16, all others dropped", "exact recent"},
    {"streaming", "StreamingLLM: every head keeps sinks and a window (positions stay those of the text)", "sinks window"},
    {"duo", "DuoAttention: heads with the largest gates keep everything, others sinks and a window", "keep sinks window"},
    {"duo-int4", "DuoAttention on 4-bit Hadamard tiles", "keep sinks window"},
    {"razor", "RazorAttention: induction and echo heads keep everything, others sinks, a share of all tokens and a mean token",
     "induction echo keep sinks window share"},
    {"razor-plain", "RazorAttention without its compensation token", "induction echo keep sinks window share"},
    {"razor-gear", "RazorAttention on GEAR tiles of 4 bits", "induction echo keep sinks window share"},
    {"mikv-duo", "MiKV (2 bits) on the heads that DuoAttention keeps, sinks and a window on the others", "exact recent keep sinks window"},
    {"split", "bf16; every other head keeps sinks and a window: a choice without calibration", "sinks window"},
    {"split-int4", "the same head split on 4-bit Hadamard tiles", "sinks window"},
});

/// A name and what was said about it.
struct cache_spec {
  std::string_view name;
  std::vector<std::pair<std::string_view, double>> said;

  double get(std::string_view parameter, double otherwise) const {
    for (const auto& [key, value] : said)
      if (key == parameter) return value;
    return otherwise;
  }
  /// A whole number of tokens.
  std::uint32_t tokens(std::string_view parameter, std::uint32_t otherwise) const { return static_cast<std::uint32_t>(get(parameter, otherwise)); }
};

/// fails: bad_input naming the part that can't be used and what is allowed; `flag` says where the text came from.
inline cache_spec parse_cache(std::string_view text, const std::string& flag = "kv") {
  const auto list = [](auto&& names) {
    std::string all;
    for (const auto& n : names) all += (all.empty() ? "" : ", ") + std::string(n);
    return all;
  };
  cache_spec spec{text.substr(0, text.find(':')), {}};
  const auto found = std::find_if(cache_names.begin(), cache_names.end(), [&](const cache_name& c) { return c.name == spec.name; });
  if (found == cache_names.end()) {
    std::vector<std::string_view> names;
    for (const cache_name& c : cache_names) names.push_back(c.name);
    throw bad_input(flag + " is " + quoted(spec.name) + ", allowed " + list(names));
  }
  std::vector<std::string_view> allowed;
  for (std::string_view rest = found->parameters; !rest.empty();) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    allowed.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (std::size_t at = spec.name.size(); at < text.size();) {
    const std::size_t end = std::min(text.find(':', at + 1), text.size());
    const std::string_view part = text.substr(at + 1, end - at - 1), key = part.substr(0, part.find('='));
    at = end;
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
      throw bad_input(flag + " is " + quoted(text) + " with parameter " + quoted(key) + ", allowed " + (allowed.empty() ? "none" : list(allowed)));
    const bool share = key == "exact" || key == "recent" || key == "keep" || key == "induction" || key == "echo";
    const double low = share || key == "sinks" ? 0 : 1, high = share ? 1 : 1 << 24;
    double value = -1;
    const std::string_view digits = key.size() < part.size() ? part.substr(key.size() + 1) : std::string_view{};
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.empty() || error != std::errc() || stop != digits.data() + digits.size() || !(value >= low && value <= high) || (!share && value != static_cast<std::uint32_t>(value)))
      throw bad_input(flag + " is " + quoted(text) + " with " + std::string(key) + " " + quoted(digits) + ", allowed a " + (share ? "share from 0 to 1" : "whole number from " + std::to_string(static_cast<int>(low)) + " to " + std::to_string(1 << 24)));
    spec.said.emplace_back(key, value);
  }
  return spec;
}

/// Caches to set side by side: f32, the reference, then each of `specs`, or all known ones where there is none. Their names are
/// what was asked for and live as long as `specs`. fails: bad_input
inline std::vector<cache_name> chosen_caches(const std::vector<std::string>& specs) {
  std::vector<cache_name> chosen{cache_names[0]};
  if (specs.empty()) return {cache_names.begin(), cache_names.end()};
  for (const std::string& s : specs) {
    const cache_spec spec = parse_cache(s);
    const auto known = std::find_if(cache_names.begin(), cache_names.end(), [&](const cache_name& c) { return c.name == spec.name; });
    if (std::none_of(chosen.begin(), chosen.end(), [&](const cache_name& c) { return c.name == s; })) chosen.push_back({s, known->what});
  }
  return chosen;
}

}  // namespace quire_lm
