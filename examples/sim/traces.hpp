// SPDX-License-Identifier: Apache-2.0
// Request traces: Mooncake (JSON lines with block ids), Azure (CSV with times), lengths alone (CSV of ShareGPT, arXiv).
#pragma once

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "error.hpp"

namespace quire_sim {

struct trace_request {
  double arrival = 0;  ///< seconds after the first request; 0 where the trace has no times
  std::uint32_t prompt_tokens = 0;
  std::uint32_t output_tokens = 0;
  std::size_t first_block = 0;  ///< its ids in trace::ids
  std::size_t blocks = 0;
};

/// Requests in the order of the file, which is the order of arrival.
struct trace {
  std::vector<trace_request> requests;
  std::vector<std::uint64_t> ids;  ///< of blocks, equal where the block and all before it are equal
  std::uint32_t block_tokens = 0;  ///< 0: the trace has no block ids
  bool timed = false;

  std::span<const std::uint64_t> blocks(const trace_request& r) const { return {ids.data() + r.first_block, r.blocks}; }
};

namespace detail {

constexpr std::uint64_t most_tokens = std::uint64_t{1} << 24;

/// Where in a file something is, for messages.
struct place {
  const std::string& file;
  std::size_t line = 0;

  [[noreturn]] void refuse(std::string_view field, std::string_view value, std::string_view allowed) const {
    throw bad_input(file + ", line " + std::to_string(line) + ": " + std::string(field) + " is " + legible(value) + ", allowed " + std::string(allowed));
  }
};

inline std::uint32_t tokens(const place& at, std::string_view field, std::string_view text) {
  std::uint64_t x = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (error != std::errc() || end != text.data() + text.size() || x == 0 || x > most_tokens) at.refuse(field, text, "a whole number from 1 to " + std::to_string(most_tokens));
  return static_cast<std::uint32_t>(x);
}

/// Seconds since 1970 of "YYYY-MM-DD hh:mm:ss" with up to nine decimals.
inline double seconds(const place& at, std::string_view field, std::string_view text) {
  constexpr std::string_view form = "dddd-dd-dd dd:dd:dd";
  const auto refuse = [&] { at.refuse(field, text, "a time such as 2023-11-16 18:17:03.9799600"); };
  if (text.size() < form.size() || text.size() > form.size() + 10) refuse();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char want = i < form.size() ? form[i] : i == form.size() ? '.' : 'd';
    if (want == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != want) refuse();
  }
  const auto number = [&](std::size_t from, std::size_t count) {
    unsigned x = 0;
    for (const char c : text.substr(from, count)) x = x * 10 + static_cast<unsigned>(c - '0');
    return x;
  };
  const std::chrono::year_month_day day{std::chrono::year(static_cast<int>(number(0, 4))), std::chrono::month(number(5, 2)), std::chrono::day(number(8, 2))};
  if (!day.ok() || number(11, 2) > 23 || number(14, 2) > 59 || number(17, 2) > 59) refuse();
  const double whole = std::chrono::sys_days(day).time_since_epoch().count() * 86400.0 + number(11, 2) * 3600 + number(14, 2) * 60 + number(17, 2);
  double part = 0;
  for (std::size_t i = text.size(); i-- > form.size() + 1;) part = (part + (text[i] - '0')) / 10;
  return whole + part;
}

inline std::vector<std::string_view> fields(std::string_view line) {
  std::vector<std::string_view> out;
  for (;;) {
    const std::size_t comma = line.find(',');
    out.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos) return out;
    line.remove_prefix(comma + 1);
  }
}

/// A member of a JSON object that is a whole number of [low, high].
inline std::uint64_t whole(const place& at, const nlohmann::json& object, const char* field, std::uint64_t low, std::uint64_t high) {
  const auto found = object.find(field);
  const bool usable = found != object.end() && found->is_number_unsigned() && found->get<std::uint64_t>() >= low && found->get<std::uint64_t>() <= high;
  if (!usable) at.refuse(field, found == object.end() ? "absent" : found->dump(), "a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  return found->get<std::uint64_t>();
}

inline void read_mooncake(const place& at, const std::string& line, trace& out) {
  out.block_tokens = 512;
  out.timed = true;
  const auto object = nlohmann::json::parse(line, nullptr, false);
  if (!object.is_object()) at.refuse("the line", line, "a JSON object");
  trace_request r{.arrival = static_cast<double>(whole(at, object, "timestamp", 0, std::uint64_t{1} << 52)) / 1000,
                  .prompt_tokens = static_cast<std::uint32_t>(whole(at, object, "input_length", 1, most_tokens)),
                  .output_tokens = static_cast<std::uint32_t>(whole(at, object, "output_length", 1, most_tokens)),
                  .first_block = out.ids.size()};
  const auto ids = object.find("hash_ids");
  if (ids == object.end() || !ids->is_array()) at.refuse("hash_ids", ids == object.end() ? "absent" : ids->dump(), "an array of whole numbers");
  for (const auto& id : *ids) {
    if (!id.is_number_unsigned()) at.refuse("hash_ids", id.dump(), "whole numbers");
    out.ids.push_back(id.get<std::uint64_t>());
  }
  r.blocks = ids->size();
  const std::size_t wanted = (r.prompt_tokens + out.block_tokens - 1) / out.block_tokens;
  if (r.blocks != wanted) at.refuse("hash_ids", std::to_string(r.blocks) + " ids", std::to_string(wanted) + ", one for each 512 of input_length");
  out.requests.push_back(r);
}

/// Columns that are read, by their number in the header line.
struct columns {
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  std::size_t time = none, prompt = none, output = none;
  std::vector<std::string> names;

  explicit columns(const place& at, std::string_view header) {
    for (const std::string_view name : fields(header)) {
      const std::size_t here = names.size();
      if (name == "TIMESTAMP") time = here;
      if (name == "ContextTokens" || name == "num_prefill_tokens") prompt = here;
      if (name == "GeneratedTokens" || name == "num_decode_tokens") output = here;
      names.emplace_back(name);
    }
    if (prompt == none || output == none)
      at.refuse("the first line", header, "a JSON object, or a header with ContextTokens,GeneratedTokens or num_prefill_tokens,num_decode_tokens");
  }
};

inline void read_row(const place& at, const std::string& line, const columns& c, trace& out) {
  const auto row = fields(line);
  if (row.size() != c.names.size()) at.refuse("the number of fields", std::to_string(row.size()), std::to_string(c.names.size()) + " as in the header");
  trace_request r{.prompt_tokens = tokens(at, c.names[c.prompt], row[c.prompt]), .output_tokens = tokens(at, c.names[c.output], row[c.output])};
  out.timed = c.time != columns::none;
  if (out.timed) r.arrival = seconds(at, c.names[c.time], row[c.time]);
  out.requests.push_back(r);
}

}  // namespace detail

/// Read a trace of any of the three kinds; its first line says which. fails: bad_input naming file, line, field and value.
inline trace read_trace(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw bad_input("trace " + legible(path) + " can't be opened: " + std::strerror(errno));
  trace out;
  detail::place at{path};
  std::string line;
  std::vector<detail::columns> header;  // at most one
  double zero = 0, before = 0;
  while (std::getline(in, line)) {
    ++at.line;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    if (at.line == 1 && line[0] != '{') {
      header.emplace_back(at, line);
      continue;
    }
    if (header.empty()) {
      detail::read_mooncake(at, line, out);
    } else {
      detail::read_row(at, line, header[0], out);
    }
    double& arrival = out.requests.back().arrival;
    if (out.requests.size() == 1) zero = arrival;
    arrival -= zero;
    if (arrival < before) at.refuse(header.empty() ? "timestamp" : "TIMESTAMP", std::to_string(arrival - before) + " s after the line before", "times that do not go back");
    before = arrival;
  }
  if (in.bad()) throw bad_input("trace " + legible(path) + " can't be read: " + std::strerror(errno));
  if (out.requests.empty()) throw bad_input("trace " + legible(path) + " holds no request, allowed one and more");
  return out;
}

}  // namespace quire_sim
