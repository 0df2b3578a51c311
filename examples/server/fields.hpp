// SPDX-License-Identifier: Apache-2.0
// Reads the fields of a JSON object: each by name and range, and none left over.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "error.hpp"

namespace quire_server {

/// A value made safe for a message: JSON, cut after 64 bytes.
[[nodiscard]] inline std::string shown(const json& value) {
  std::string text = text_of(value);
  constexpr std::size_t most = 64;
  if (text.size() <= most) return text;
  text.resize(most);
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0) == 0x80) text.pop_back();
  if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xc0) text.pop_back();
  return text + "...";
}
[[nodiscard]] inline api_error bad_value(const std::string& field, const json& value, const std::string& allowed) {
  return bad_field(field, shown(value), allowed);
}
[[nodiscard]] inline std::string plain(double x) {
  std::ostringstream out;
  out << x;
  return out.str();
}

/// One object of a request. A field that is null counts as absent, as OpenAI's clients mean it. Each getter takes its field
/// off the list; `finish` refuses what is left, so that a misspelt option is not silently ignored.
class fields {
 public:
  /// fails (all members): api_error 400 naming the field, its value and what is allowed. `inside` is put before names.
  explicit fields(const json& object, std::string inside = "") : object_(object), inside_(std::move(inside)) {
    if (!object.is_object())
      throw api_error(400, (inside_.empty() ? std::string("the body") : inside_) + " is " + shown(object) + ", allowed a JSON object", inside_, "invalid_type");
    for (const auto& item : object.items()) left_.insert(item.key());
  }

  std::string name(const std::string& field) const { return inside_.empty() ? field : inside_ + "." + field; }

  /// Null where the field is absent.
  const json* take(const std::string& field) {
    left_.erase(field);
    const auto at = object_.find(field);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  double number(const std::string& field, double otherwise, double low, double high, bool above = false) {
    const json* v = take(field);
    if (v == nullptr) return otherwise;
    const std::string allowed = std::string("a number ") + (above ? "above " : "from ") + plain(low) + " to " + plain(high);
    if (!v->is_number()) throw bad_value(name(field), *v, allowed);
    const double x = v->get<double>();
    if (!(above ? x > low : x >= low) || !(x <= high)) throw bad_value(name(field), *v, allowed);
    return x;
  }
  std::int64_t whole(const std::string& field, std::int64_t otherwise, std::int64_t low, std::int64_t high) {
    const json* v = take(field);
    return v == nullptr ? otherwise : whole_of(name(field), *v, low, high);
  }
  bool flag(const std::string& field, bool otherwise) {
    const json* v = take(field);
    if (v == nullptr) return otherwise;
    if (!v->is_boolean()) throw bad_value(name(field), *v, "true or false");
    return v->get<bool>();
  }
  std::string text(const std::string& field, const std::string& otherwise) {
    const json* v = take(field);
    if (v == nullptr) return otherwise;
    if (!v->is_string()) throw bad_value(name(field), *v, "a string");
    return v->get<std::string>();
  }
  /// Fields that say nothing to this server, whatever they hold.
  void ignore(std::initializer_list<const char*> names) {
    for (const char* n : names) left_.erase(n);
  }
  /// Fields whose effect this server does not have: only null and `harmless` values pass.
  void refuse(const std::string& field, std::initializer_list<json> harmless = {}) {
    const json* v = take(field);
    if (v == nullptr) return;
    for (const json& h : harmless)
      if (*v == h) return;
    std::string allowed;
    for (const json& h : harmless) allowed += shown(h) + " or ";
    throw api_error(400, name(field) + " is " + shown(*v) + ", which is not supported here, allowed " + allowed + "null", name(field), "unsupported_parameter");
  }
  void finish() const {
    if (left_.empty()) return;
    throw api_error(400, "field '" + name(*left_.begin()) + "' is not known", name(*left_.begin()), "unknown_parameter");
  }

  static std::int64_t whole_of(const std::string& what, const json& v, std::int64_t low, std::int64_t high) {
    const bool fits = v.is_number_unsigned() ? v.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) : v.is_number_integer();
    if (!fits || v.get<std::int64_t>() < low || v.get<std::int64_t>() > high)
      throw bad_value(what, v, "a whole number from " + std::to_string(low) + " to " + std::to_string(high));
    return v.get<std::int64_t>();
  }

 private:
  const json& object_;
  std::string inside_;
  std::set<std::string> left_;
};

}  // namespace quire_server
