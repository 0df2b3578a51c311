// SPDX-License-Identifier: Apache-2.0
// What of a kernel's shape depends on the processor and on nothing else: rows of numbers for each architecture, found by what a
// kernel folds. Numbers change speed and never a result.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "../../core/extents.hpp"

namespace quire::inline v0::attention::cuda {

/// How tiles come: by all threads 16 bytes at a time, or by the copy engine (compute capability 9.0 and later: before, a kernel traps).
enum class copying : std::uint8_t { async, bulk };

/// Knobs of one kernel. Fields are only appended.
struct fold_tuning {
  std::uint32_t tiles = 3;                   ///< sealed tiles a block's ring holds at most: one is folded, the others are on their way
  std::uint32_t blocks = 2;                  ///< blocks of a processor that registers are shared out to
  std::uint32_t shared_bytes = 227 * 1024;   ///< of a block, at most: the ring holds fewer tiles where it would need more
  copying copies = copying::async;
};

/// What rows are found by.
struct fold_key {
  std::uint32_t head_dim = 0;
  std::uint32_t bits = 0;   ///< of an element of a sealed tile, scales included, rounded down
  std::uint32_t rows = 0;   ///< of the widest item
  std::size_t bytes = 0;    ///< shared memory of a block with the smallest ring
};

/// Where a row's numbers are from. `listing`: none was timed; registers and blocks are from the compiler's listing, bytes on their way
/// from those (bench/device/run --architecture prints both).
enum class origin : std::uint8_t { listing, measured };

/// Serves kernels of at most this head size, these bits and these query rows that fit its shared memory.
struct tuning_row {
  std::uint32_t head_dim, bits, rows;
  fold_tuning use;
  origin from = origin::listing;
};

/// The first row that serves `k`; the last one where none does.
template <std::size_t N>
constexpr const tuning_row& find_row(const tuning_row (&rows)[N], fold_key k) noexcept {
  for (const tuning_row& r : rows)
    if (k.head_dim <= r.head_dim && k.bits <= r.bits && k.rows <= r.rows && k.bytes <= r.use.shared_bytes) return r;
  return rows[N - 1];
}

/// Shared memory that each of `blocks` blocks can have on a processor of `processor_bytes`, of which the driver keeps 1 KiB a block.
constexpr std::uint32_t shared_of(std::uint32_t processor_bytes, std::uint32_t blocks) noexcept { return (processor_bytes / blocks - 1024) / 128 * 128; }

/// Whether each row's blocks have a place on a processor together.
template <std::size_t N>
constexpr bool rows_fit(const tuning_row (&rows)[N], std::uint32_t processor_bytes) noexcept {
  for (const tuning_row& r : rows)
    if (r.use.tiles < 2 || r.use.blocks == 0 || r.use.blocks * (r.use.shared_bytes + 1024) > processor_bytes) return false;
  return true;
}

/// Tiles of a ring: as many as the numbers ask for and have room for, `least` of them (in a block of `least_bytes`) at least.
constexpr std::uint32_t tiles_that_fit(const fold_tuning& t, std::uint32_t least, std::size_t least_bytes, std::size_t tile_bytes) noexcept {
  const std::size_t more = t.shared_bytes < least_bytes ? 0 : (t.shared_bytes - least_bytes) / tile_bytes, most = t.tiles < least ? 0 : t.tiles - least;
  return least + static_cast<std::uint32_t>(more < most ? more : most);
}

/// What `attend` asks for its numbers: an architecture of tuning/, or the user's own.
template <class T>
concept FoldTuner = requires(fold_key k) {
  { T::of(k) } noexcept -> std::same_as<fold_tuning>;
};

/// The same numbers for every kernel.
template <fold_tuning Tuning>
struct tuned_by {
  static constexpr fold_tuning of(fold_key) noexcept { return Tuning; }
};
static_assert(FoldTuner<tuned_by<fold_tuning{}>>);

}  // namespace quire::inline v0::attention::cuda
