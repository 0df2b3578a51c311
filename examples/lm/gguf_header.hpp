// SPDX-License-Identifier: Apache-2.0
// What stands in a GGUF file before the tensor data: typed metadata and the tensor table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "error.hpp"
#include "ggml_types.hpp"

namespace quire_lm::gguf {

enum class value_type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
[[nodiscard]] inline const char* name(value_type t) noexcept {
  constexpr const char* names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                   "bool", "string", "array", "u64", "i64", "f64"};
  return names[static_cast<std::uint32_t>(t)];
}
/// Bytes of one fixed-size value; 0 for string and array.
[[nodiscard]] inline std::size_t width(value_type t) noexcept {
  constexpr unsigned char widths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return widths[static_cast<std::uint32_t>(t)];
}

/// One metadata value. Numbers stand in `bytes` little-endian, strings one after another with their `ends`.
struct value {
  value_type type{};  ///< of the value, or of an array's elements
  bool is_array = false;
  std::size_t count = 1;  ///< elements
  std::string bytes;
  std::vector<std::size_t> ends;  ///< string i is bytes[ends[i-1], ends[i])

  [[nodiscard]] std::string_view text(std::size_t i) const {
    const std::size_t begin = i == 0 ? 0 : ends[i - 1];
    return std::string_view(bytes).substr(begin, ends[i] - begin);
  }
  /// Element i of a numeric value as To; empty when it doesn't fit To exactly (integers) or the kinds differ.
  template <class To>
  [[nodiscard]] std::optional<To> number(std::size_t i) const;
};

/// A tensor of the file. dims[0] is contiguous; `offset` counts from the start of the file.
struct tensor {
  std::string name;
  ggml_type type{};
  std::vector<std::uint64_t> dims;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  [[nodiscard]] std::uint64_t elements() const {
    std::uint64_t n = 1;
    for (const auto d : dims) n *= d;
    return n;
  }
};

/// Everything before the tensor data, checked. Immutable after parsing; any thread may read.
class header {
 public:
  std::uint32_t version = 0;
  std::uint64_t alignment = 32;
  std::uint64_t data_offset = 0;  ///< where tensor data starts in the file
  std::uint64_t file_size = 0;
  std::map<std::string, value, std::less<>> metadata;
  std::vector<tensor> tensors;  ///< in the file's order
  std::unordered_map<std::string, std::size_t> tensor_index;

  [[nodiscard]] bool has(std::string_view key) const { return metadata.find(key) != metadata.end(); }
  /// Scalar under `key`: an integer type (range-checked), float, double, bool or std::string.
  /// fails: bad_input when the key is absent, of another kind, or does not fit T.
  template <class T>
  [[nodiscard]] T get(std::string_view key) const {
    return scalar<T>(key, at(key));
  }
  /// As `get`, with a value for an absent key; a present key of the wrong kind still fails.
  template <class T>
  [[nodiscard]] T get_or(std::string_view key, T fallback) const {
    const auto it = metadata.find(key);
    return it == metadata.end() ? fallback : scalar<T>(key, it->second);
  }
  /// An integer under `key`, required to lie in [low, high].
  [[nodiscard]] std::int64_t get_in(std::string_view key, std::int64_t low, std::int64_t high) const {
    const auto v = get<std::int64_t>(key);
    if (v < low || v > high) {
      throw bad_input(std::string(key) + " is " + std::to_string(v) + ", allowed " + std::to_string(low) + " to " +
                      std::to_string(high));
    }
    return v;
  }
  /// The numeric array under `key`, each element as T.
  template <class T>
  [[nodiscard]] std::vector<T> numbers(std::string_view key) const;
  /// The string array under `key`; read it with `text(i)` for i < `count`.
  [[nodiscard]] const value& strings(std::string_view key) const {
    const value& v = at(key);
    if (!v.is_array || v.type != value_type::string) throw kind_error(key, v, "array of string");
    return v;
  }
  [[nodiscard]] const tensor* find(std::string_view tensor_name) const {
    const auto it = tensor_index.find(std::string(tensor_name));
    return it == tensor_index.end() ? nullptr : &tensors[it->second];
  }
  /// The tensor of that name. fails: bad_input when there is none.
  [[nodiscard]] const tensor& need(std::string_view tensor_name) const {
    if (const tensor* t = find(tensor_name)) return *t;
    throw bad_input("tensor " + quoted(tensor_name) + " is absent, needed by this architecture");
  }

 private:
  [[nodiscard]] const value& at(std::string_view key) const {
    const auto it = metadata.find(key);
    if (it == metadata.end()) throw bad_input("metadata key " + quoted(key) + " is absent, needed");
    return it->second;
  }
  static bad_input kind_error(std::string_view key, const value& v, const char* wanted) {
    return bad_input("metadata key " + quoted(key) + " is of type " + (v.is_array ? "array of " : "") + name(v.type) +
                     ", allowed " + wanted);
  }
  template <class T>
  static T scalar(std::string_view key, const value& v);
};

template <class To>
std::optional<To> value::number(std::size_t i) const {
  const auto load = [&]<class From>(From x) -> std::optional<To> {
    std::memcpy(&x, bytes.data() + i * sizeof x, sizeof x);
    if constexpr (std::is_floating_point_v<From> != std::is_floating_point_v<To>) {
      return {};
    } else if constexpr (std::is_floating_point_v<To>) {
      return static_cast<To>(x);
    } else {
      return std::in_range<To>(x) ? std::optional<To>(static_cast<To>(x)) : std::nullopt;
    }
  };
  switch (type) {
    case value_type::u8:
      return load(std::uint8_t{});
    case value_type::i8:
      return load(std::int8_t{});
    case value_type::u16:
      return load(std::uint16_t{});
    case value_type::i16:
      return load(std::int16_t{});
    case value_type::u32:
      return load(std::uint32_t{});
    case value_type::i32:
      return load(std::int32_t{});
    case value_type::u64:
      return load(std::uint64_t{});
    case value_type::i64:
      return load(std::int64_t{});
    case value_type::f32:
      return load(float{});
    case value_type::f64:
      return load(double{});
    default:
      return {};
  }
}

template <class T>
T header::scalar(std::string_view key, const value& v) {
  if constexpr (std::is_same_v<T, std::string>) {
    if (v.is_array || v.type != value_type::string) throw kind_error(key, v, "string");
    return v.bytes;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (v.is_array || v.type != value_type::boolean) throw kind_error(key, v, "bool");
    return v.bytes[0] != 0;
  } else {
    constexpr bool real = std::is_floating_point_v<T>;
    if (v.is_array) throw kind_error(key, v, real ? "f32 or f64" : "an integer");
    if (const auto x = v.number<T>(0)) return *x;
    if constexpr (!real) {
      if (v.number<std::int64_t>(0) || v.number<std::uint64_t>(0)) {
        throw bad_input("metadata key " + quoted(key) + " holds a number that does not fit, allowed " +
                        std::to_string(std::numeric_limits<T>::min()) + " to " +
                        std::to_string(std::numeric_limits<T>::max()));
      }
    }
    throw kind_error(key, v, real ? "f32 or f64" : "an integer");
  }
}

template <class T>
std::vector<T> header::numbers(std::string_view key) const {
  const value& v = at(key);
  if (!v.is_array) throw kind_error(key, v, "array of numbers");
  std::vector<T> out(v.type == value_type::string ? 0 : v.count);
  for (std::size_t i = 0; i < v.count; ++i) {
    const auto x = v.number<T>(i);
    if (!x)
      throw kind_error(key, v, std::is_floating_point_v<T> ? "array of f32 or f64" : "array of integers that fit");
    out[i] = *x;
  }
  return out;
}

}  // namespace quire_lm::gguf
