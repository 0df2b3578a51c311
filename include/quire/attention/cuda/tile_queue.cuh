// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "block.cuh"

namespace quire::inline v0::attention::cuda {

/// The tiles of a worker's pieces of one item, asked for one at a time, `ring_tiles - 1` ahead of the fold. All threads of a block
/// take the same steps. Within a piece exact tiles come first where sealed values are rotated, else tiles come in slot order.
/// The page number of the next tile is read while the one before is on its way. An exact tile takes several neighbouring places of
/// the ring; until they are free, turns of no copies and descriptions of no tile stand for it, so that both are still counted one for one.
template <class Block>
class tile_queue {
 public:
  /// Ordinals [from, to) of the item's live pieces. `memory.head` is set.
  __device__ tile_queue(typename Block::memory& memory, typename Block::copies& copies, const problem& p, const work_item& item, std::uint32_t from, std::uint32_t to,
                        std::uint32_t thread) noexcept
      : memory_(memory), copies_(copies), p_(p), item_(item), ordinal_(from), end_(to), thread_(thread) {
    look_ahead();
  }

  /// Asks for the next tile, if there is one and there is room, and closes the turn of copies either way. `oldest`: where the
  /// tile that is folded next begins; places before it are free.
  __device__ void ask(std::uint32_t oldest) noexcept {
    if (have_) {
      const bool tile = run_ != none, raw = tile && (Block::one_form || memory_.head.runs[run_].form == 0);
      const std::uint32_t begin = room(raw ? Block::raw_places : tile ? 1 : 0, oldest);
      if (Block::raw_places > 1 && begin == none) {
        if (thread_ == 0) memory_.tiles[entry_] = nothing(false);
        copies_.open(entry_, 0);
      } else {
        if (thread_ == 0) describe(memory_.tiles[entry_], begin);
        const auto order = copies_.open(entry_, !tile ? 0 : raw ? Block::template copied_bytes<typename Block::raw_pair> : Block::template copied_bytes<typename Block::sealed_pair>);
        past_ = begin;
        if (tile) {
          const kv::run& r = memory_.head.runs[run_];
          const std::byte* from = r.base + std::size_t{page_} * r.page_stride;
          if (raw) stage<typename Block::raw_pair>(from, r.value_offset, order);
          else if constexpr (!Block::one_form) stage<typename Block::sealed_pair>(from, r.value_offset, order);
          past_ += raw ? Block::raw_places : 1;
        }
        look_ahead();
      }
      entry_ = entry_ + 1 == Block::ring_tiles ? 0 : entry_ + 1;
    }
    copies_.close();
  }

 private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  /// Where `count` neighbouring places begin that nobody uses, or none. Where one place is all that a tile takes, there always is one.
  __device__ std::uint32_t room(std::uint32_t count, std::uint32_t oldest) const noexcept {
    if constexpr (Block::raw_places == 1) {
      return past_;
    } else {
      const std::uint32_t at = past_ % Block::ring_tiles, begin = at + count > Block::ring_tiles ? past_ + (Block::ring_tiles - at) : past_;
      return past_ == oldest || begin + count - oldest <= Block::ring_tiles ? begin : none;
    }
  }
  template <class Pair, class Order>
  __device__ void stage(const std::byte* tile, std::uint32_t value_offset, const Order& order) noexcept {
    using keys = typename Block::template key_operand<Pair>;
    using values = typename Block::template value_operand<Pair>;
    std::byte* to = memory_.place(past_);
    keys::stage(to, tile, order);
    values::stage(to + keys::staged_bytes, tile + value_offset, order);
  }

  /// Finds the tile after the one asked for last.
  __device__ void look_ahead() noexcept {
    if (left_ == 0) {
      have_ = ordinal_ < end_;
      if (!have_) return;
      piece_ = item_.pieces.piece(ordinal_++);
      list_piece();
      if (left_ == 0) {  // nothing is kept of it: the identity
        run_ = none;
        last_ = true;
        return;
      }
    }
    slot_ = piece_ * piece_tiles + (order_ & 3u);
    order_ >>= 2, --left_;
    last_ = left_ == 0;
    run_ = run_of(slot_);
    const kv::run& r = memory_.head.runs[run_];
    page_ = r.pages != nullptr ? r.pages[slot_ - r.slot] : slot_ - r.slot;
    if constexpr (Block::layout::overlays) live_ = r.live_bits(slot_ - r.slot);
  }
  /// The slots of this piece that runs hold, two bits each, in the order of folding.
  __device__ void list_piece() noexcept {
    order_ = left_ = 0;
    for (std::uint32_t pass = 0; pass < (Block::rotated_values ? 2 : 1); ++pass)
      for (std::uint32_t k = 0; k < piece_tiles; ++k) {
        const std::uint32_t run = run_of(piece_ * piece_tiles + k);
        if (run == none || (Block::rotated_values && memory_.head.runs[run].form != pass)) continue;
        order_ |= k << 2 * left_, ++left_;
      }
  }
  __device__ std::uint32_t run_of(std::uint32_t slot) const noexcept {
    for (std::uint32_t i = 0; i < memory_.head.count; ++i) {
      const kv::run& r = memory_.head.runs[i];
      if (slot >= r.slot && slot < r.slot + r.tiles()) return i;
    }
    return none;
  }

  /// Whether no further exact tile of the piece comes after one of `r`.
  __device__ bool turns(const kv::run& r) const noexcept {
    if constexpr (!Block::rotated_values) return false;
    else return r.form == 0 && (last_ || memory_.head.runs[run_of(piece_ * piece_tiles + (order_ & 3u))].form != 0);
  }
  __device__ staged_tile nothing(bool last) const noexcept {
    return {.live = 0, .position = 0, .bias = 0, .begin = past_, .form = 2, .exempt = false, .whole = false, .last = last, .turns = false};
  }
  /// What the fold must know of the tile. One thread.
  __device__ void describe(staged_tile& t, std::uint32_t begin) const noexcept {
    if (run_ == none) {
      t = nothing(true);
      return;
    }
    const kv::run& r = memory_.head.runs[run_];
    const std::uint32_t tile = slot_ - r.slot;
    const std::int32_t position = r.position + static_cast<std::int32_t>(tile * tile_tokens);
    const std::uint64_t live = Block::layout::overlays ? live_ : r.live_bits(tile);
    const bool scattered = Block::layout::overlays && r.position_offset != 0;
    const kv::visibility& sees = memory_.head.sees;
    const std::uint32_t oldest = static_cast<std::uint32_t>(position), newest = item_.first + item_.count - 1;
    const bool in_window = r.exempt || !sees.limited() || oldest >= sees.window_begin(newest) || oldest + tile_tokens <= sees.sinks;
    const bool in_model = p_.window == kv::visibility::everything || (!scattered && oldest >= kv::visibility{0, p_.window}.window_begin(newest));
    const bool before = position + static_cast<std::int32_t>(tile_tokens) <= static_cast<std::int32_t>(item_.first) + 1;
    t = {.live = live, .position = position, .bias = r.bias, .begin = begin, .form = r.form, .exempt = r.exempt,
         .whole = live == ~std::uint64_t{0} && before && in_window && in_model, .last = last_, .turns = turns(r)};
    if constexpr (Block::layout::overlays)
      if (r.form == 0) t.exact = scattered ? 1 + tile : slot_ == item_.first / tile_tokens ? 0 : not_exact;
  }

  typename Block::memory& memory_;
  typename Block::copies& copies_;
  const problem& p_;
  const work_item& item_;
  std::uint32_t ordinal_, end_, thread_;
  std::uint32_t entry_ = 0, past_ = 0, piece_ = 0, slot_ = 0, run_ = none, page_ = 0;   // past_: the place after those in use, counted on and on
  std::uint32_t order_ = 0, left_ = 0;
  bool have_ = false, last_ = false;
  std::uint64_t live_ = 0;   ///< of the next tile, read with its page number where masks may hide tokens
};

}  // namespace quire::inline v0::attention::cuda
