// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../core/softmax.hpp"
#include "../../kv/view.hpp"
#include "../plan_view.hpp"
#include "../problem.hpp"
#include "operand.cuh"
#include "scores.cuh"

namespace quire::inline v0::attention::cuda {

/// What one launch reads and writes. Rows are f32, bf16 or f16; q and out [rows][q_heads·dim], after rotary embedding; the step's
/// keys and values stand in the cache. Every pointer is the device's.
template <kv::Layout L, class Row>
struct layer_call {
  kv::store_view<L> view;
  problem shape;
  std::uint32_t layer = 0;
  plan_view plan;
  const Row* q = nullptr;
  std::size_t ldq = 0;                      ///< elements between rows
  Row* out = nullptr;
  std::size_t ldo = 0;
  const std::byte* staging = nullptr;       ///< exact tiles that a span fills before its newest, [tiles][kv_heads][raw piece]
  const std::uint32_t* staged = nullptr;    ///< [spans] first such tile of each; null: no span fills one
  const std::byte* means = nullptr;         ///< as settle.cuh leaves them, and `mean_tiles` [spans], where the layout compensates for what it drops
  const std::uint32_t* mean_tiles = nullptr;
  score_rows scores{};                      ///< where the layout has overlays
  std::byte* scratch = nullptr;             ///< scratch_bytes(plan), aligned to 16; contents do not matter
  std::uint32_t* arrivals = nullptr;        ///< [plan.item_count] zeros; zeros again when the launch is done
};

/// Where the mean token stands that queries in a span's tile read (settle.cuh): `first` of the span's tiles in `means`, and which one.
template <kv::Layout L>
__device__ inline std::size_t mean_at(const L& layout, std::uint32_t first, std::uint32_t tile, std::uint32_t head) noexcept {
  return (std::size_t{first + tile} * layout.extent().kv_heads + head) * layout.raw().piece_bytes(layout.extent().head_dim);
}

/// What a tile in shared memory is, beside its bytes.
struct staged_tile {
  std::uint64_t live;       ///< tokens there are to see
  std::int32_t position;    ///< of its first token
  float bias;
  std::uint32_t begin;      ///< first place it has in the ring, counted on and on: place p lies at p modulo the ring's places
  std::uint8_t form;        ///< 0 raw, 1 sealed, 2: no tile, for the piece has none (`last`) or the ring had no room yet
  bool exempt, whole, last; ///< seen whatever the window says; seen whole by every row; the last of its piece
  bool turns;               ///< the last exact one of a piece whose sealed values are rotated: their sum so far is turned over
  std::uint32_t exact = not_exact;   ///< which exact tile it is, where a layout has overlays
};

/// Compile-time shape of what a block folds: `Rows` query rows of one kv head. Eight and more stand on a tensor-core product's columns;
/// of one or two most columns would be empty, and CUDA cores sum them in f32.
template <kv::Layout L, class Row, std::uint32_t Dim, std::uint32_t Rows>
struct fold_shape {
  static_assert(Rows == 1 || Rows == 2 || (Rows % 8 == 0 && Rows <= 64), "quire::attention::cuda: Rows must be 1, 2, 8, 16, 32 or 64");
  static_assert(Dim % 16 == 0 && Dim <= max_head_dim, "quire::attention::cuda: head_dim must be a multiple of 16 up to 256");
  static_assert(operand<typename L::sealed_pair::value_codec, tile_tokens, Dim>::scaled != scaling::columns && operand<typename L::raw_pair::value_codec, tile_tokens, Dim>::scaled != scaling::columns,
                "quire::attention::cuda: values are scaled by token or by tile; scales by channel have no device kernel");
  using layout = L;
  using row = Row;
  using raw_pair = typename L::raw_pair;
  using sealed_pair = typename L::sealed_pair;
  template <class Pair>
  using key_operand = operand<typename Pair::key_codec, Dim, tile_tokens>;
  template <class Pair>
  using value_operand = operand<typename Pair::value_codec, tile_tokens, Dim>;
  static constexpr bool one_form = std::is_same_v<raw_pair, sealed_pair>;
  static constexpr bool rotated_values = kv::RotatingCodec<typename sealed_pair::value_codec>;
  static constexpr std::uint32_t key_parts = column_parts_of<key_operand<sealed_pair>>();   ///< of channels with scales of their own
  static constexpr bool balanced_keys = kv::balances<sealed_pair>;
  static constexpr bool rotated_keys = kv::RotatingCodec<typename sealed_pair::key_codec>;
  /// Values have one minimum a token: a piece's sum of weights times minima is the same for all channels.
  static constexpr bool sums_minima = value_operand<sealed_pair>::scaled == scaling::rows || value_operand<raw_pair>::scaled == scaling::rows;
  static constexpr bool repaired_keys = is_repaired<key_operand<sealed_pair>>, repaired_values = is_repaired<value_operand<sealed_pair>>;

  static constexpr std::uint32_t dim = Dim, rows = Rows;
  static constexpr bool on_cores = Rows < 8;
  static constexpr std::uint32_t row_blocks = on_cores ? 1 : Rows / 8;                      ///< columns of products, eight query rows each
  static constexpr std::uint32_t lane_rows = on_cores ? Rows : 2;                           ///< rows of a block that a lane holds
  static constexpr std::uint32_t row_lanes = on_cores ? Rows * 4 : warp_threads;            ///< [row of a block][t]
  static constexpr std::uint32_t channel_blocks = Dim / mma_columns;                        ///< dealt to the warps in turn
  static constexpr std::uint32_t own_blocks = (channel_blocks + block_warps - 1) / block_warps;
  static constexpr std::uint32_t key_steps = Dim / mma_rows, value_steps = tile_tokens / mma_rows;

  template <class Pair>
  static constexpr std::uint32_t copied_bytes = key_operand<Pair>::copied_bytes + value_operand<Pair>::copied_bytes;
  template <class Pair>
  static constexpr std::uint32_t staged_bytes = key_operand<Pair>::staged_bytes + value_operand<Pair>::staged_bytes;
  /// Tiles wait in a ring of places of a sealed tile's size; an exact one takes several.
  static constexpr std::uint32_t place_bytes = staged_bytes<sealed_pair>;
  static constexpr std::uint32_t raw_places = (staged_bytes<raw_pair> + place_bytes - 1) / place_bytes;
  /// Of an element, scales included.
  static constexpr std::uint32_t sealed_bits = static_cast<std::uint32_t>((sealed_pair{}.key_bytes(Dim) + sealed_pair{}.value_bytes(Dim)) * 8 / (2 * tile_tokens * Dim));
  static constexpr std::uint32_t least_tiles = raw_places > 2 ? raw_places : 2;
  template <class Pair>
  static constexpr bool by_tile = scales_coefficients<key_operand<Pair>>;                   ///< coefficients of keys change with the tile
  /// Coefficients: two packed words of four rows of X, or four f32 where keys are scaled anew for every tile and on CUDA cores.
  template <class Pair>
  static constexpr std::uint32_t query_words = key_steps * row_blocks * row_lanes * (on_cores || by_tile<Pair> ? 4 : 2);
  static constexpr std::uint32_t packed_words = value_steps * row_blocks * row_lanes * (on_cores ? 4 : 2);
  static constexpr std::uint32_t weight_words = packed_words * (!on_cores && value_operand<sealed_pair>::scaled == scaling::parts ? 2 : 1);

  /// Row j of block b that a lane holds. On CUDA cores all four t hold the same rows, and t 0 speaks for them.
  __device__ static constexpr std::uint32_t row_of(std::uint32_t b, std::uint32_t j, lane_place at) noexcept { return on_cores ? j : b * 8 + at.t * 2 + j; }
  __device__ static constexpr bool speaks(lane_place at) noexcept { return !on_cores || at.t == 0; }

  /// States in scratch: (m, l) of each row, then o in the order in which threads hold it.
  static constexpr std::uint32_t fragments = own_blocks * row_blocks * (on_cores ? block_threads / 4 : block_threads), fragment_floats = 2 * lane_rows;
  static constexpr std::size_t sum_bytes = round_up(Rows * sizeof(softmax_state), 16), state_bytes = sum_bytes + round_up(fragments * fragment_floats * sizeof(float), 16);

  /// Query rows of one item as the lanes of a warp hold them: rows 8b + 2t and 8b + 2t + 1 for each block b. m and l: every lane
  /// with that t has the same; o [own block][row block]: channels 2g (then 2g + 1) of the block for the lane's rows. On CUDA cores the
  /// four t have parts of o while a piece is folded, and all have the whole afterwards.
  struct registers {
    float m[row_blocks][lane_rows], l[row_blocks][lane_rows], low[row_blocks][lane_rows];
    float o[own_blocks][row_blocks][fragment_floats];

    __device__ void clear() noexcept {
#pragma unroll
      for (std::uint32_t b = 0; b < row_blocks; ++b) {
#pragma unroll
        for (std::uint32_t j = 0; j < lane_rows; ++j) m[b][j] = -INFINITY, l[b][j] = 0, low[b][j] = 0;
#pragma unroll
        for (std::uint32_t i = 0; i < own_blocks; ++i)
#pragma unroll
          for (std::uint32_t c = 0; c < fragment_floats; ++c) o[i][b][c] = 0;
      }
    }
  };
};

/// The same with a ring of `Tiles` sealed tiles: one is folded while the others are on their way, by `Copies`.
template <kv::Layout L, class Row, std::uint32_t Dim, std::uint32_t Rows, std::uint32_t Tiles, TileCopies Copies = async_copies<Tiles>>
struct fold_block : fold_shape<L, Row, Dim, Rows> {
  using shape = fold_shape<L, Row, Dim, Rows>;
  static_assert(Tiles >= shape::least_tiles, "quire::attention::cuda: the ring must hold two tiles, and the exact one");
  using copies = Copies;
  static constexpr std::uint32_t ring_tiles = Tiles;

  /// Dynamic shared memory. Queries and outputs pass through `ring` as f32 [Rows][Dim] while no tile is there.
  struct memory {
    alignas(128) std::byte ring[Tiles * shape::place_bytes];
    [[no_unique_address]] typename Copies::shared turns;                                            ///< at the same place whatever the rows
    alignas(16) std::uint32_t raw_queries[shape::template query_words<typename shape::raw_pair>];   ///< [step][row block][row][t][2 or 4]
    alignas(16) std::uint32_t sealed_queries[shape::one_form ? 4 : shape::template query_words<typename shape::sealed_pair>];
    alignas(16) std::uint32_t weights[shape::weight_words];
    alignas(16) std::uint32_t repair_queries[shape::repaired_keys && !shape::on_cores ? shape::key_steps * shape::row_blocks * shape::row_lanes * 2 : 4];   ///< f16 and not scaled, as weights below
    alignas(16) std::uint32_t repair_weights[shape::repaired_values ? shape::packed_words : 4];
    alignas(16) float turning[shape::rotated_values ? Rows * Dim : 4];
    float top[block_warps][Rows], sum[block_warps][Rows], low[block_warps][Rows];
    float query_sum[shape::key_parts * Rows];                                               ///< [part of the channels][row]
    staged_tile tiles[Tiles];                                                               ///< one for each turn of copies that is not folded yet
    kv::head_view head;
    std::uint32_t last[2];                                                                  ///< bits: items whose last part this block brought

    __device__ std::byte* place(std::uint32_t p) noexcept { return ring + p % Tiles * shape::place_bytes; }
    __device__ const std::byte* place(std::uint32_t p) const noexcept { return ring + p % Tiles * shape::place_bytes; }
  };
  static_assert(sizeof(float) * Rows * Dim <= sizeof(memory::ring), "quire::attention::cuda: too few tiles for this many rows");
};

using device::log2_e;

/// The place of this thread in its block.
struct thread_place {
  std::uint32_t thread, warp, lane;
  lane_place at;
  __device__ static thread_place here() noexcept {
    const std::uint32_t thread = threadIdx.x;
    return {thread, thread / warp_threads, thread % warp_threads, lane_place::of(thread % warp_threads)};
  }
  /// First channel of own block i.
  __device__ std::uint32_t channel(std::uint32_t i) const noexcept { return (warp + i * block_warps) * mma_columns; }
};

}  // namespace quire::inline v0::attention::cuda
