// SPDX-License-Identifier: Apache-2.0
// Caches that nobody filled: pages of a device whose tiles are copies of some that the codec itself encoded, in a shuffled order,
// so that gigabytes of realistic bytes take no time to make. Any tile can be read back for the double reference.
#pragma once

#include <random>

#include "machine.cuh"
#include "quire/attention/cohort.hpp"
#include "quire/attention/problem.hpp"
#include "quire/attention/reference.hpp"
#include "quire/core/random.hpp"
#include "quire/kv/view.hpp"

namespace device_bench {

using namespace quire;

/// `pieces` stretches of `piece_bytes` (a multiple of 16), each a copy of one of `kinds` templates.
struct fill_call {
  std::byte* to = nullptr;
  const std::byte* templates = nullptr;
  std::size_t piece_bytes = 0;
  std::uint64_t pieces = 0, seed = 0;
  std::uint32_t kinds = 1;
};
/// Defined by fill.cuh, which one unit of a program includes.
status fill(const fill_call& c, device::stream on) noexcept;

/// Numbers of a tile [rows][columns]: normal, and for keys an outlier channel in sixteen.
inline std::vector<float> draw_tile(kv::tile_shape s, kv::side which, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(s.elements());
  for (std::uint32_t r = 0; r < s.rows; ++r)
    for (std::uint32_t c = 0; c < s.columns; ++c) x[r * s.columns + c] = normal(random) + (which == kv::side::key && r % 16 == 3 ? 4.0f : 0.0f);
  return x;
}

/// A piece of keys and values of the first `tokens` of a tile, zeros past them, encoded by the codecs.
template <class Pair>
std::vector<std::byte> draw_piece(const Pair& pair, std::uint32_t dim, std::uint32_t tokens, std::mt19937& random) {
  std::vector<std::byte> piece(pair.piece_bytes(dim));
  for (const kv::side which : {kv::side::key, kv::side::value}) {
    const kv::tile_shape s = kv::shape_of(which, dim);
    std::vector<float> x = draw_tile(s, which, random);
    for (std::uint32_t r = 0; r < s.rows; ++r)
      for (std::uint32_t c = 0; c < s.columns; ++c)
        if ((which == kv::side::key ? c : r) >= tokens) x[r * s.columns + c] = 0;
    kv::codec_context at;
    at.which = which;
    if (which == kv::side::key) pair.key.encode(at, s, x.data(), piece.data());
    else pair.value.encode(at, s, x.data(), piece.data() + pair.value_offset(dim));
  }
  return piece;
}

template <kv::Layout L>
class synthetic_cache {
 public:
  using record = typename kv::store_view<L>::record;
  static constexpr std::uint32_t kinds = 16, tail_kinds = 2;   ///< different tiles; open tails of one sequence

  /// Spans as in a step: pages for all full tiles of each, a tail with what is in it. The first `shared` tiles are one for all.
  synthetic_cache(machine& m, const L& layout, std::span<const attention::query_span> spans, std::uint32_t shared, unsigned seed)
      : machine_(m), layout_(layout), random_(seed) {
    const std::uint32_t dim = layout.extent().head_dim;
    raw_templates_ = templates(layout.raw(), kinds, tile_tokens);
    const device_block<std::byte> sealed_templates = templates(layout.sealed(), kinds, tile_tokens);

    std::uint32_t pages = shared;
    for (const auto& s : spans) pages += pages_of(s) - shared;
    std::vector<std::uint32_t> order(pages);
    for (std::uint32_t i = 0; i < pages; ++i) order[i] = i;
    splitmix64(seed).shuffle(std::span(order));
    pool_ = {m, std::max<std::size_t>(pages * kv::page_bytes(layout, 0), 16), "pages"};
    put({pool_.data(), sealed_templates.data(), layout.sealed().piece_bytes(dim), std::uint64_t{pages} * layout.extent().heads(), seed, kinds});

    std::vector<std::uint32_t> table;
    std::vector<std::size_t> begins;
    std::uint32_t next = shared;
    for (const auto& s : spans) {
      begins.push_back(table.size());
      for (std::uint32_t t = 0; t < pages_of(s); ++t) table.push_back(order[t < shared ? t : next++]);
      if (pages_of(s) == 0) table.push_back(0);
    }
    table_ = {m, std::span<const std::uint32_t>(table), "page tables"};
    const std::size_t tail_bytes = kv::tail_bytes(layout);
    tails_ = {m, spans.size() * tail_bytes, "tails"};
    std::vector<record> records(spans.size());
    for (std::size_t i = 0; i < spans.size(); ++i) {
      records[i].pages[0] = table_.data() + begins[i];
      records[i].length = spans[i].first;
      records[i].tail = tails_.data() + i * tail_bytes;
      const auto own = templates(layout.raw(), tail_kinds, (spans[i].first + spans[i].count - 1) % tile_tokens + 1);
      put({records[i].tail, own.data(), layout.raw().piece_bytes(dim), layout.extent().heads(), seed + i, tail_kinds});
      m.finish();  // `own` goes
    }
    host_records_ = records, host_table_ = table, begins_ = begins;
    records_ = {m, std::span<const record>(records), "sequences"};
    view_.layout = layout, view_.base[0] = pool_.data(), view_.sequences = records_.data();
  }

  static std::uint32_t newest_tile(const attention::query_span& s) noexcept { return (s.first + s.count - 1) / tile_tokens; }
  /// Tiles that are full when the step is appended: those before the newest, and the newest itself where the step fills it.
  static std::uint32_t pages_of(const attention::query_span& s) noexcept { return tiles_filled(s.first + s.count); }
  const kv::store_view<L>& view() const noexcept { return view_; }
  const L& layout() const noexcept { return layout_; }
  std::size_t bytes() const noexcept { return pool_.size() + tails_.size(); }

  /// Exact tiles as a chunk leaves them behind, [tiles][kv_heads].
  device_block<std::byte> staging(std::uint32_t tiles) {
    const std::size_t piece = layout_.raw().piece_bytes(layout_.extent().head_dim), pieces = std::size_t{tiles} * layout_.extent().kv_heads;
    device_block<std::byte> r(machine_, std::max<std::size_t>(pieces * piece, 16), "staging");
    put({r.data(), raw_templates_.data(), piece, pieces, 77, kinds});
    return r;
  }

  /// Sequences with common pages, up to `block` in a cohort.
  attention::cohort_plan cohorts(std::span<const attention::query_span> spans, std::uint32_t block) const {
    attention::cohort_plan found(static_cast<std::uint32_t>(spans.size()));
    std::vector<record> records = host_records_;
    for (std::size_t i = 0; i < records.size(); ++i) records[i].pages[0] = host_table_.data() + begins_[i];
    kv::store_view<L> view = view_;
    view.sequences = records.data();
    found.find(view, spans, block, 1);
    return found;
  }

  /// Sealed tile `tile` of a head, read back.
  std::vector<std::byte> sealed(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head, std::uint32_t tile) const {
    const kv::head_slot slot = layout_.slot(layer, head);
    const std::size_t piece = layout_.sealed().piece_bytes(layout_.extent().head_dim);
    return read(pool_.data() + host_table_[begins_[sequence] + tile] * kv::page_bytes(layout_, 0) + slot.index * piece, piece);
  }
  std::byte* tail(std::uint32_t sequence, std::uint32_t layer, std::uint32_t head) const noexcept {
    return host_records_[sequence].tail + (layer * layout_.extent().kv_heads + head) * layout_.raw().piece_bytes(layout_.extent().head_dim);
  }
  std::vector<std::byte> read(const std::byte* from, std::size_t bytes) const {
    std::vector<std::byte> r(bytes);
    machine_.download(r.data(), from, bytes);
    return r;
  }

  /// The double reference for a row at `query` whose own tile is `exact` (the device's) with `held` tokens.
  std::vector<double> expected(const attention::problem& p, std::uint32_t sequence, std::uint32_t layer, std::uint32_t q_head, std::uint32_t query, const float* q,
                               const std::byte* exact, std::uint32_t held) const {
    const std::uint32_t dim = layout_.extent().head_dim, head = q_head / p.group(), tiles = query / tile_tokens;
    const std::size_t piece = layout_.sealed().piece_bytes(dim);
    std::vector<std::byte> before(tiles * piece);
    for (std::uint32_t t = 0; t < tiles; ++t) {
      const auto one = sealed(sequence, layer, head, t);
      std::copy(one.begin(), one.end(), before.begin() + static_cast<std::ptrdiff_t>(t * piece));
    }
    const std::vector<std::byte> own = read(exact, layout_.raw().piece_bytes(dim));
    kv::head_view v;
    if (tiles != 0) {
      kv::run& r = v.runs[v.count++];
      r.base = before.data(), r.page_stride = piece, r.value_offset = static_cast<std::uint32_t>(layout_.sealed().value_offset(dim));
      r.tokens = tiles * tile_tokens, r.form = 1;
    }
    kv::run& r = v.runs[v.count++];
    r.base = own.data(), r.value_offset = static_cast<std::uint32_t>(layout_.raw().value_offset(dim));
    r.tokens = held, r.slot = tiles, r.position = static_cast<std::int32_t>(tiles * tile_tokens);
    std::vector<double> out(dim);
    attention::reference_row(layout_, v, p, q_head, query, q, kv::codec_context{layer, head, 0, kv::side::key, 0, nullptr}, out.data());
    return out;
  }

 private:
  template <class Pair>
  device_block<std::byte> templates(const Pair& pair, std::uint32_t count, std::uint32_t tokens) {
    std::vector<std::byte> all;
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto one = draw_piece(pair, layout_.extent().head_dim, tokens, random_);
      all.insert(all.end(), one.begin(), one.end());
    }
    return {machine_, std::span<const std::byte>(all), "templates"};
  }
  void put(const fill_call& c) { require(fill(c, machine_.stream())); machine_.finish(); }

  machine& machine_;
  L layout_;
  std::mt19937 random_;
  kv::store_view<L> view_{};
  device_block<std::byte> raw_templates_, pool_, tails_;
  device_block<std::uint32_t> table_;
  device_block<record> records_;
  std::vector<record> host_records_;
  std::vector<std::uint32_t> host_table_;
  std::vector<std::size_t> begins_;
};

}  // namespace device_bench
