// SPDX-License-Identifier: Apache-2.0
// Weights as kernels read them, on a CPU and a GPU. A matrix has `rows` outputs and `cols` inputs; rows are packed in panels of 16
// that hold the same column of all 16 rows side by side, so that one vector lane is one output (and 16
// bytes are four outputs of a GPU's lane).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../core/number.hpp"
#include "../core/status.hpp"

namespace quire::inline v0::linear {

/// Rows of a panel, and columns of a quantization block.
inline constexpr std::uint32_t panel_rows = 16;
inline constexpr std::uint32_t block_cols = 32;

/// How packed weights are kept, a panel of 16 rows at a time.
/// - f32: [cols][16 rows]. bf16: [cols/2][16 rows][2 columns].
/// - q4_1: [cols/32] of 256 B codes, 16 f16 scales, 16 f16 minima; w = minimum + scale · code.
///   Byte 64 j + 4 r + i holds columns 8 j + i (low nibble) and 8 j + 4 + i (high nibble) of row r.
/// - q8_0: pairs of blocks, 2 × 16 f16 scales then 2 × 512 B codes; w = scale · (code − 128). Byte 64 j + 4 r + i
///   holds column 4 j + i of row r. An odd last block stands alone, with scales of zero for the missing one.
enum class weight_type : std::uint8_t { f32, bf16, q4_1, q8_0 };

/// Rows as GGUF files store them, row after row. Quantized blocks of 32: q4_0 {f16 scale, 16 B codes}, q4_1 {f16 scale,
/// f16 minimum, 16 B codes}, q8_0 {f16 scale, 32 B codes}; byte i of 4-bit codes holds columns i and i + 16.
enum class source_type : std::uint8_t { f32, f16, bf16, q4_0, q4_1, q8_0 };

/// The packed type that holds a source exactly: f16 widens to f32, q4_0 is q4_1 with minimum −8 · scale.
[[nodiscard]] constexpr weight_type packed_as(source_type s) noexcept {
  switch (s) {
    case source_type::bf16:
      return weight_type::bf16;
    case source_type::q4_0:
    case source_type::q4_1:
      return weight_type::q4_1;
    case source_type::q8_0:
      return weight_type::q8_0;
    default:
      return weight_type::f32;
  }
}

/// What happens to the output of a product: y = W x, or y = y + W x.
enum class store_mode : std::uint8_t { assign, add };

/// What kernels see: trivially copyable, owns nothing. `data` [packed_bytes]; best aligned to 64 bytes (any address is
/// correct).
struct matrix {
  weight_type type = weight_type::f32;
  std::uint32_t rows = 0;  ///< outputs
  std::uint32_t cols = 0;  ///< inputs
  const std::byte* data = nullptr;
};
static_assert(std::is_trivially_copyable_v<matrix>);

/// Can this shape be packed and multiplied? fails: unsupported_shape.
[[nodiscard]] constexpr status supports(weight_type type, std::uint32_t rows, std::uint32_t cols) noexcept {
  const bool quantized = type == weight_type::q4_1 || type == weight_type::q8_0;
  if (rows == 0 || rows > 1u << 30) return {errc::unsupported_shape, "rows", rows, 1, 1 << 30};
  if (cols == 0 || cols > 1u << 20) return {errc::unsupported_shape, "cols", cols, 1, 1 << 20};
  if (quantized && cols % block_cols != 0)
    return {errc::unsupported_shape, "cols of a quantized matrix (a multiple of 32)", cols};
  if (cols % 2 != 0) return {errc::unsupported_shape, "cols (an even number)", cols};
  return {};
}

[[nodiscard]] constexpr std::uint32_t panels(std::uint32_t rows) noexcept {
  return (rows + panel_rows - 1) / panel_rows;
}
[[nodiscard]] constexpr std::uint32_t panels(const matrix& m) noexcept { return panels(m.rows); }

/// Bytes of one panel and of a whole packed matrix.
[[nodiscard]] constexpr std::size_t panel_bytes(weight_type type, std::uint32_t cols) noexcept {
  const std::size_t c = cols, blocks = c / block_cols;
  switch (type) {
    case weight_type::bf16:
      return c * 32;
    case weight_type::q4_1:
      return blocks * 320;
    case weight_type::q8_0:
      return blocks / 2 * 1088 + blocks % 2 * 576;
    default:
      return c * 64;
  }
}
[[nodiscard]] constexpr std::size_t packed_bytes(weight_type type, std::uint32_t rows, std::uint32_t cols) noexcept {
  return panels(rows) * panel_bytes(type, cols);
}

/// Bytes of one source row.
[[nodiscard]] constexpr std::size_t source_bytes(source_type type, std::uint32_t cols) noexcept {
  const std::size_t c = cols, blocks = c / block_cols;
  switch (type) {
    case source_type::f16:
    case source_type::bf16:
      return c * 2;
    case source_type::q4_0:
      return blocks * 18;
    case source_type::q4_1:
      return blocks * 20;
    case source_type::q8_0:
      return blocks * 34;
    default:
      return c * 4;
  }
}

namespace detail {

template <class T>
T load_as(const std::byte* p) noexcept {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
void store_as(std::byte* p, T v) noexcept {
  std::memcpy(p, &v, sizeof v);
}

inline constexpr bool finite(f16 x) noexcept { return (x.bits & 0x7c00u) != 0x7c00u; }

/// Where block b of a q8_0 panel keeps its scales and its codes.
inline constexpr std::size_t q8_0_scales(std::size_t b) noexcept { return b / 2 * 1088 + b % 2 * 32; }
inline constexpr std::size_t q8_0_codes(std::size_t b) noexcept { return b / 2 * 1088 + 64 + b % 2 * 512; }

/// Writes lane r of a panel from one source row; false when a scale or a minimum is not finite.
inline bool pack_row(source_type type, const std::byte* row, std::uint32_t cols, std::uint32_t r,
                     std::byte* panel) noexcept {
  const std::uint32_t blocks = cols / block_cols;
  switch (type) {
    case source_type::f32:
      for (std::uint32_t c = 0; c < cols; ++c)
        std::memcpy(panel + 64 * std::size_t{c} + 4 * r, row + 4 * std::size_t{c}, 4);
      return true;
    case source_type::f16:
      for (std::uint32_t c = 0; c < cols; ++c)
        store_as(panel + 64 * std::size_t{c} + 4 * r, f16{load_as<std::uint16_t>(row + 2 * std::size_t{c})}.to_float());
      return true;
    case source_type::bf16:
      for (std::uint32_t c = 0; c < cols; c += 2)
        std::memcpy(panel + 32 * std::size_t{c} + 4 * r, row + 2 * std::size_t{c}, 4);
      return true;
    case source_type::q4_0:
    case source_type::q4_1: {
      const bool centred = type == source_type::q4_0;
      for (std::uint32_t b = 0; b < blocks; ++b, row += centred ? 18 : 20, panel += 320) {
        const f16 scale{load_as<std::uint16_t>(row)};
        const f16 minimum = centred ? f16::from(-8.0f * scale.to_float()) : f16{load_as<std::uint16_t>(row + 2)};
        if (!finite(scale) || !finite(minimum)) return false;
        const std::byte* codes = row + (centred ? 2 : 4);
        // the file's words hold columns 8j.. and 8j+4.., and in the high nibbles those 16 further
        for (std::uint32_t j = 0; j < 2; ++j) {
          const auto first = load_as<std::uint32_t>(codes + 8 * j), next = load_as<std::uint32_t>(codes + 8 * j + 4);
          store_as(panel + 64 * j + 4 * r, (first & 0x0f0f0f0fu) | (next & 0x0f0f0f0fu) << 4);
          store_as(panel + 64 * (j + 2) + 4 * r, (first >> 4 & 0x0f0f0f0fu) | (next & 0xf0f0f0f0u));
        }
        store_as(panel + 256 + 2 * r, scale.bits);
        store_as(panel + 288 + 2 * r, minimum.bits);
      }
      return true;
    }
    case source_type::q8_0:
      for (std::uint32_t b = 0; b < blocks; ++b, row += 34) {
        const f16 scale{load_as<std::uint16_t>(row)};
        if (!finite(scale)) return false;
        store_as(panel + q8_0_scales(b) + 2 * r, scale.bits);
        std::byte* codes = panel + q8_0_codes(b) + 4 * r;
        for (std::uint32_t j = 0; j < 8; ++j)
          store_as(codes + 64 * j, load_as<std::uint32_t>(row + 2 + 4 * j) ^ 0x80808080u);
        if (b + 1 == blocks && b % 2 == 0) store_as(panel + q8_0_scales(b) + 32 + 2 * r, std::uint16_t{0});
      }
      return true;
  }
  return false;
}

}  // namespace detail

/// Packs source rows [row_count, source_bytes] as rows [first_row, first_row + row_count) of a packed matrix of `rows`
/// rows, so that a file can be read in pieces and several tensors can stand under each other. The call that holds the
/// last row also repeats it in the panel's unused lanes, whose outputs nobody stores. Calls on different rows may run
/// at the same time on different threads. fails: unsupported_shape; out_of_range (rows past the end); corrupt (a scale
/// is not finite, `value` names the row).
[[nodiscard]] inline status pack(source_type type, const std::byte* source, std::uint32_t first_row,
                                 std::uint32_t row_count, std::uint32_t rows, std::uint32_t cols,
                                 std::byte* packed) noexcept {
  const weight_type to = packed_as(type);
  if (const status s = supports(to, rows, cols); !s) return s;
  if (first_row > rows) return {errc::out_of_range, "first_row", first_row, 0, rows};
  if (row_count > rows - first_row)
    return {errc::out_of_range, "row_count", row_count, 0, std::int64_t{rows} - first_row};
  const std::size_t from_stride = source_bytes(type, cols), to_stride = panel_bytes(to, cols);
  const std::uint32_t end = first_row + row_count;
  for (std::uint32_t r = first_row; r < end; ++r, source += from_stride)
    if (!detail::pack_row(type, source, cols, r % panel_rows, packed + r / panel_rows * to_stride))
      return {errc::corrupt, "row with a scale that is not finite", r};
  if (row_count != 0 && end == rows)
    for (std::uint32_t r = end; r % panel_rows != 0; ++r)
      static_cast<void>(
          detail::pack_row(type, source - from_stride, cols, r % panel_rows, packed + r / panel_rows * to_stride));
  return {};
}

/// Dequantizes row r of a packed matrix to out [cols]: the embedding of a token. precondition: r < rows.
inline void row(const matrix& m, std::uint32_t r, float* out) noexcept {
  QUIRE_ASSERT(r < m.rows, "quire::linear::row: the row lies outside the matrix");
  const std::byte* panel = m.data + r / panel_rows * panel_bytes(m.type, m.cols);
  const std::uint32_t lane = r % panel_rows;
  const auto half = [](const std::byte* p) { return f16{detail::load_as<std::uint16_t>(p)}.to_float(); };
  for (std::uint32_t c = 0; c < m.cols; ++c) {
    const std::size_t b = c / block_cols;
    const std::uint32_t k = c % block_cols;
    switch (m.type) {
      case weight_type::f32:
        out[c] = detail::load_as<float>(panel + 64 * std::size_t{c} + 4 * lane);
        break;
      case weight_type::bf16:
        out[c] =
            bf16{detail::load_as<std::uint16_t>(panel + 64 * std::size_t{c / 2} + 4 * lane + c % 2 * 2)}.to_float();
        break;
      case weight_type::q4_1: {
        const std::byte* block = panel + 320 * b;
        const auto byte = std::to_integer<std::uint32_t>(block[64 * (k / 8) + 4 * lane + k % 4]);
        const float code = static_cast<float>(k % 8 < 4 ? byte & 15u : byte >> 4);
        out[c] = half(block + 256 + 2 * lane) * code + half(block + 288 + 2 * lane);  // the product is exact
        break;
      }
      case weight_type::q8_0: {
        const auto code = std::to_integer<int>(panel[detail::q8_0_codes(b) + 64 * (k / 4) + 4 * lane + k % 4]) - 128;
        out[c] = half(panel + detail::q8_0_scales(b) + 2 * lane) * static_cast<float>(code);
        break;
      }
    }
  }
}

}  // namespace quire::inline v0::linear
