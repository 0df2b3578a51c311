// SPDX-License-Identifier: Apache-2.0
// Caches of a host store as a device sees them, plans cut anywhere, and the double-precision answer for every row.
#pragma once

#include <random>
#include <vector>

#include "attention/token_rows.hpp"
#include "device/memory.hpp"
#include "quire/attention/cohort.hpp"
#include "quire/attention/cpu/settle.hpp"
#include "quire/attention/cuda/attend.cuh"
#include "quire/attention/cuda/operand_balanced.cuh"
#include "quire/attention/cuda/operand_fp8.cuh"
#include "quire/attention/cuda/operand_gear.cuh"
#include "quire/attention/cuda/operand_integer.cuh"
#include "quire/attention/cuda/operand_split.cuh"
#include "quire/attention/cuda/overlay.cuh"
#include "quire/attention/cuda/settle.cuh"
#include "quire/attention/plan/build.hpp"
#include "quire/attention/reference.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/store.hpp"

namespace cuda_fixture {

using namespace quire;
using device_test::device_array;
using device_test::finish;
using attention::query_span;
namespace cuda = attention::cuda;
template <int Bits>
using per_token = kv::codec_pair<kv::integer<Bits, kv::group::column>, kv::integer<Bits, kv::group::row>>;
template <int Bits, std::uint32_t Size = 0>
using per_channel = kv::codec_pair<kv::integer<Bits, kv::group::row, Size>, kv::integer<Bits, kv::group::row, Size>>;
template <int Bits>
using rotated = kv::codec_pair<kv::hadamard<kv::integer<Bits, kv::group::column>>, kv::hadamard<kv::integer<Bits, kv::group::row>>>;

template <int Bits>
using repaired = kv::codec_pair<kv::gear<kv::integer<Bits, kv::group::row>, 2, 2>>;

using fixture::token_rows;

/// A step on several sequences: committed tokens, then a span of each that is appended but not committed.
template <kv::Layout L>
class step {
 public:
  static constexpr std::uint32_t layer = 1;   ///< of two, so that strides count

  /// `memory`: the store takes it for a device's, but the host may look into it.
  step(const L& layout, const attention::problem& p, std::uint32_t sequences, std::uint32_t tokens, tier::memory* memory = nullptr)
      : layout_(layout), p_(p), store_(layout, options(layout, sequences, tokens, memory)) {
    staging_.resize((tiles_touched(tokens) + 1) * sequences * p.kv_heads * layout.raw().piece_bytes(p.dim_k));
  }
  const L& layout() const noexcept { return layout_; }
  const attention::problem& shape() const noexcept { return p_; }

  /// A sequence of `before` committed tokens and a span of `count` more.
  void add(std::uint32_t before, std::uint32_t count, unsigned seed) {
    std::uint32_t s = 0;
    if (!store_.open(s)) throw std::runtime_error("no sequence");
    rows_.emplace_back(before + count, p_, seed);
    grow(s, before);
    begin(s, count);
  }
  /// The same of a prompt that was read whole and has ended: what it drops is summed by nobody yet.
  void add_whole(std::uint32_t before, std::uint32_t count, unsigned seed) {
    std::uint32_t s = 0;
    if (!store_.open(s) || !store_.read_whole_until(s, before + count)) throw std::runtime_error("no sequence");
    rows_.emplace_back(before + count, p_, seed);
    grow(s, before);
    if (!store_.read_whole_until(s, before)) throw std::runtime_error("not read whole");
    const kv::state_block left = store_.state(s);
    std::fill_n(reinterpret_cast<float*>(left.data), left.bytes / sizeof(float), 3.0f);  // as a step may leave it that was not committed
    begin(s, count);
  }
  /// Another continuation of the committed tokens of a sequence that was added.
  void add_fork(std::uint32_t from, std::uint32_t more, std::uint32_t count, unsigned seed) {
    std::uint32_t s = 0;
    const std::uint32_t shared = store_.length(from);
    if (!store_.fork(from, s)) throw std::runtime_error("no fork");
    token_rows own(shared + more + count, p_, seed);
    std::copy_n(rows_[from].k.begin(), shared * own.kv_width, own.k.begin());
    std::copy_n(rows_[from].v.begin(), shared * own.kv_width, own.v.begin());
    rows_.push_back(std::move(own));
    grow(s, more);
    begin(s, count);
  }

  const std::vector<query_span>& spans() const noexcept { return spans_; }
  const std::vector<std::uint32_t>& staged() const noexcept { return staged_; }
  std::uint32_t row_count() const noexcept { return row_count_; }
  /// Queries of the step's rows [rows][q_heads·dim].
  std::vector<float> queries() const {
    std::vector<float> q;
    for (const query_span& s : spans_) {
      const auto& from = rows_[s.sequence];
      q.insert(q.end(), from.q.begin() + static_cast<std::ptrdiff_t>(s.first * from.q_width), from.q.begin() + static_cast<std::ptrdiff_t>((s.first + s.count) * from.q_width));
    }
    return q;
  }
  const token_rows& rows_of(std::uint32_t sequence) const noexcept { return rows_[sequence]; }
  const kv::store<L>& store() const noexcept { return store_; }
  kv::store<L>& store() noexcept { return store_; }
  const std::vector<std::byte>& staging() const noexcept { return staging_; }

  /// Row r of span s for one query head.
  std::vector<double> expected(const query_span& s, std::uint32_t r, std::uint32_t q_head) const {
    const auto view = store_.view();
    const std::uint32_t head = q_head / p_.group(), query = s.first + r, tile = query / tile_tokens;
    const std::byte* exact = attention::cpu::raw_tiles<L>{view, const_cast<std::byte*>(staging_.data()), staged_[index_of(s)]}.at(s, layer, head, tile);
    kv::head_view runs;
    std::vector<std::byte> mean;
    if constexpr (L::compensates) {  // sums of what stood before, and of tiles that the step dropped before this query
      mean.resize(layout_.raw().piece_bytes(p_.dim_k));
      const auto block = sums(s, query / tile_tokens);
      std::vector<typename kv::store_view<L>::record> records(view.sequences, view.sequences + s.sequence + 1);
      records.back().state = const_cast<std::byte*>(block.data());
      auto summed = view;
      summed.sequences = records.data();
      runs = summed.head(s.sequence, layer, head, tile, exact, query % tile_tokens + 1, mean.data());
    } else {
      runs = view.head(s.sequence, layer, head, tile, exact, query % tile_tokens + 1);
    }
    std::vector<double> out(p_.dim_v);
    const auto& from = rows_[s.sequence];
    attention::reference_row(layout_, runs, p_, q_head, query, from.q.data() + query * from.q_width + std::size_t{q_head} * p_.dim_k,
                             view.context(s.sequence, layer, head, 0, kv::side::key), out.data());
    return out;
  }

  /// The state block of a span's sequence as queries in `tile` find it, of `layer` at least.
  std::vector<std::byte> sums(const query_span& s, std::uint32_t tile) const {
    const auto view = store_.view();
    std::vector<typename kv::store_view<L>::record> records(view.sequences, view.sequences + s.sequence + 1);
    std::vector<std::byte> block(records.back().state, records.back().state + layout_.state().bytes());
    records.back().state = block.data();
    auto own = view;
    own.sequences = records.data();
    std::vector<float> x(p_.dim_k * tile_tokens);
    for (std::uint32_t h = 0; h < p_.kv_heads; ++h)
      if constexpr (L::compensates)
        if (view.layout.slot(layer, h).group == 1) {
          const std::uint32_t summed = view.summed_tiles(s.sequence);
          const kv::head_state to = own.state(s.sequence, layer, h);
          for (std::uint32_t i = 0; i < p_.dim_k && summed == 0; ++i) to.key_sum[i] = to.value_sum[i] = 0;
          kv::sum_dropped(own, s.sequence, layer, h, summed, view.dropped_tiles(s.sequence, layer, h, tile), x.data());
        }
    return block;
  }

 private:
  static kv::store_options<L> options(const L& layout, std::uint32_t sequences, std::uint32_t tokens, tier::memory* memory) {
    auto o = kv::pages_for(layout, sequences, tokens, tokens);
    o.memory = memory;
    return o;
  }
  /// Adds what queries in tile `to` see no more and those in tile `from` still did.
  static void drop(const kv::store_view<L>& view, std::uint32_t sequence, std::uint32_t l, std::uint32_t h, std::uint32_t from, std::uint32_t to, std::vector<float>& x) {
    if constexpr (L::compensates)
      if (view.layout.slot(l, h).group == 1) kv::sum_dropped(view, sequence, l, h, view.dropped_tiles(sequence, l, h, from), view.dropped_tiles(sequence, l, h, to), x.data());
  }
  std::size_t index_of(const query_span& s) const noexcept { return static_cast<std::size_t>(&s - spans_.data()); }
  void append(const query_span& s, std::uint32_t staged) {
    const auto view = store_.view();
    std::vector<float> x(p_.dim_k * tile_tokens);
    const auto& from = rows_[s.sequence];
    for (std::uint32_t l = 0; l < layout_.extent().layers; ++l)
      for (std::uint32_t h = 0; h < p_.kv_heads; ++h) {
        // Layer 0 holds other numbers: a kernel that reads it is found out.
        std::vector<float> k(from.k.begin() + static_cast<std::ptrdiff_t>(s.first * from.kv_width), from.k.end()), v(from.v.begin() + static_cast<std::ptrdiff_t>(s.first * from.kv_width), from.v.end());
        if (l != layer)
          for (float& e : k) e = -e;
        if constexpr (kv::balances<typename L::sealed_pair>) attention::cpu::note_query_peak(view.state(s.sequence, l, h), p_, s, h, from.q.data() + s.first * from.q_width, from.q_width);
        attention::cpu::append(attention::cpu::raw_tiles<L>{view, staging_.data(), staged}, s, l, h, k.data() + h * p_.dim_k, v.data() + h * p_.dim_k, from.kv_width, x.data());
      }
  }
  void grow(std::uint32_t s, std::uint32_t tokens) {
    while (tokens != 0) {
      const std::uint32_t at = store_.length(s), n = std::min(tokens, tile_tokens - at % tile_tokens);
      if (!store_.reserve(s, n)) throw std::runtime_error("reserve failed");
      append({s, at, n, 0}, 0);
      std::vector<float> x(p_.dim_k * tile_tokens);
      if ((at + n) % tile_tokens == 0) choose({s, at, n, 0});
      for (std::uint32_t l = 0; l < layout_.extent().layers; ++l)
        for (std::uint32_t h = 0; h < p_.kv_heads; ++h) drop(store_.view(), s, l, h, at / tile_tokens, (at + n) / tile_tokens, x);
      if (!store_.commit(s, n)) throw std::runtime_error("commit failed");
      tokens -= n;
    }
  }
  /// Overlays choose by scores that nobody had to compute.
  void choose(const query_span& s) {
    if constexpr (L::overlays) {
      std::mt19937 random(s.first + 1);
      std::vector<kv::retain::importance::candidate> all(layout_.policy().budget(s.first / tile_tokens * tile_tokens) + tile_tokens);
      for (std::uint32_t l = 0; l < layout_.extent().layers; ++l)
        for (std::uint32_t h = 0; h < p_.kv_heads; ++h) {
          if (layout_.slot(l, h).group != 0) continue;
          const auto view = store_.view();
          for (std::uint32_t j = 0; j < tile_tokens; ++j) view.state(s.sequence, l, h).tail_scores[j] = static_cast<float>(random() % 1000) / 100;
          attention::cpu::choose_exact(view, s, l, h, view.tail(s.sequence, l, h), all.data());
        }
    } else {
      static_cast<void>(s);
    }
  }
  void begin(std::uint32_t s, std::uint32_t count) {
    const std::uint32_t at = store_.length(s);
    if (!store_.reserve(s, count)) throw std::runtime_error("reserve failed");
    spans_.push_back({s, at, count, row_count_, store_.whole_until(s)});
    staged_.push_back(staged_tiles_);
    if (count != 0) {
      append(spans_.back(), staged_tiles_);
      staged_tiles_ += (at + count - 1) / tile_tokens - at / tile_tokens;
    }
    row_count_ += count;
  }

  L layout_;
  attention::problem p_;
  kv::store<L> store_;
  std::vector<token_rows> rows_;
  std::vector<query_span> spans_;
  std::vector<std::uint32_t> staged_;
  std::vector<std::byte> staging_;
  std::uint32_t row_count_ = 0, staged_tiles_ = 0;
};

/// A store's bytes in device memory.
template <kv::Layout L>
class device_cache {
 public:
  using record = typename kv::store_view<L>::record;

  explicit device_cache(const kv::store<L>& store) : view_(store.view()) {
    const L& layout = store.layout();
    const auto count = static_cast<std::uint32_t>(store.options().sequences);
    std::vector<record> records(view_.sequences, view_.sequences + count);
    for (std::uint32_t g = 0; g < layout.groups(); ++g) {
      const std::size_t bytes = store.options().pages[g] * kv::page_bytes(layout, g);
      pools_.emplace_back(std::max<std::size_t>(bytes, 64), "pages");
      pools_.back().upload(std::span<const std::byte>(view_.base[g], bytes));
      view_.base[g] = pools_.back().data();
    }
    if constexpr (L::overlays) {
      exact_.assign(view_.overlay_base, view_.overlay_base + store.options().overlay_pages * kv::overlay_page_bytes(layout));
      overlay_ = device_array<std::byte>(std::max<std::size_t>(exact_.size(), 64), "overlays");
      view_.overlay_base = overlay_.data();
    }
    for (record& r : records) {
      if constexpr (L::overlays)
        if (r.overlay != nullptr) {
          tables_.emplace_back(std::max(layout.overlay_tiles(store.options().max_tokens), 1u), "overlay table");
          tables_.back().upload(std::span<const std::uint32_t>(r.overlay, layout.overlay_tiles(store.options().max_tokens)));
          r.overlay = tables_.back().data();
        }
      for (std::uint32_t g = 0; g < layout.groups(); ++g) {
        if (r.pages[g] == nullptr) continue;
        const std::uint32_t tiles = tiles_touched(store.options().max_tokens);
        tables_.emplace_back(tiles, "page table");
        tables_.back().upload(std::span<const std::uint32_t>(r.pages[g], tiles));
        r.pages[g] = tables_.back().data();
      }
      if (layout.state().bytes() != 0)
        if (r.state != nullptr) {
          blocks_.emplace_back(r.state, r.state + layout.state().bytes());
          states_.emplace_back(blocks_.back().size(), "state block");
          r.state = states_.back().data();
        }
      if (r.tail == nullptr) continue;
      tails_.emplace_back(kv::tail_bytes(layout), "tail");
      tails_.back().upload(std::span<const std::byte>(r.tail, kv::tail_bytes(layout)));
      r.tail = tails_.back().data();
    }
    if constexpr (requires { layout.slots(); }) {
      slots_ = device_array<kv::head_slot>(std::span<const kv::head_slot>(layout.slots(), layout.extent().heads()), "head slots");
      view_.layout = layout.with_slots(slots_.data());
    }
    records_ = device_array<record>(count, "sequences");
    records_.upload(records);
    view_.sequences = records_.data();
    begin();
  }
  /// State blocks and overlays as they were before the step.
  void begin() const {
    if (!exact_.empty()) overlay_.upload(exact_);
    for (std::size_t i = 0; i < states_.size(); ++i) states_[i].upload(blocks_[i]);
  }
  const kv::store_view<L>& view() const noexcept { return view_; }
  const device_array<std::byte>& pool(std::uint32_t g) const noexcept { return pools_[g]; }
  const device_array<std::byte>& tail(std::uint32_t i) const noexcept { return tails_[i]; }
  const device_array<std::byte>& state(std::uint32_t i) const noexcept { return states_[i]; }
  const device_array<std::byte>& overlay() const noexcept { return overlay_; }

 private:
  kv::store_view<L> view_;
  std::vector<device_array<std::byte>> pools_, tails_;
  std::vector<std::vector<std::byte>> blocks_;
  std::vector<std::byte> exact_;
  mutable device_array<std::byte> overlay_{0, "overlays"};
  mutable std::vector<device_array<std::byte>> states_;
  std::vector<device_array<std::uint32_t>> tables_;
  device_array<record> records_{0, "sequences"};
  device_array<kv::head_slot> slots_{0, "head slots"};
};

/// A plan whose line is cut where `cuts` says (numbers of pieces before each cut, ascending), so that any dealing can be tried.
struct any_plan {
  std::vector<attention::plan_item> items;
  std::vector<attention::plan_cut> cuts;
  std::vector<attention::plan_member> members;
  std::uint64_t pieces = 0;
  attention::plan_view host;

  template <kv::Layout L>
  any_plan(const step<L>& s, std::uint32_t rows, const attention::cohort_plan* cohorts = nullptr) {
    const attention::problem& p = s.shape();
    const L& layout = s.layout();
    const auto unlimited = [&](std::uint32_t h) { return !layout.group_sees(layout.slot(s.layer, h).group).limited(); };
    std::vector<std::uint32_t> first_member;
    if (cohorts)
      for (const attention::cohort& c : cohorts->cohorts())
        for (std::uint32_t h = 0; h < p.kv_heads; ++h) {
          first_member.push_back(unlimited(h) ? static_cast<std::uint32_t>(items.size()) : ~0u);
          if (!unlimited(h)) continue;
          attention::plan_item item;
          static_cast<attention::work_item&>(item) = {cohorts->members(c)[0], h, c.pieces * piece_tokens, c.count, {0, 0, c.pieces}};
          item.link = static_cast<std::uint32_t>(members.size());
          for (std::uint32_t m : cohorts->members(c)) members.push_back({m, 0});
          items.push_back(item);
        }
    host.prefix_items = static_cast<std::uint32_t>(items.size());
    const std::uint32_t block = std::min(tile_tokens, std::bit_floor(std::max(1u, rows / p.group())));
    for (std::uint32_t n = 0; n < s.spans().size(); ++n) {
      const query_span& span = s.spans()[n];
      for (std::uint32_t at = span.first; at < span.first + span.count;) {
        const std::uint32_t stop = std::min(span.first + span.count, (at / block + 1) * block), tile = at / tile_tokens;
        for (std::uint32_t h = 0; h < p.kv_heads; ++h) {
          attention::plan_item item;
          const std::uint32_t group = layout.slot(s.layer, h).group;
          static_cast<attention::work_item&>(item) = {n, h, at, stop - at, attention::live_pieces_of(layout.group_sees(group), at, tile + 1 + kv::extra_tiles(layout, group, tile, layout.group_sees(group)))};
          if (cohorts && cohorts->pieces(n) != 0 && unlimited(h)) {
            item.prefix = item.pieces.recent = cohorts->pieces(n);
            const auto place = cohorts->of(n);
            item.link = first_member[place.cohort * p.kv_heads + h], item.ordinal = place.ordinal;
            members[items[item.link].link + place.ordinal].item = static_cast<std::uint32_t>(items.size());
          }
          items.push_back(item);
        }
        at = stop;
      }
    }
    for (const auto& i : items) pieces += i.pieces.count();
    spans_ = s.spans();
  }

  /// What a policy makes of the step, with room for more workers and items than it has.
  template <kv::Layout L, attention::Policy P>
  any_plan(const step<L>& s, const P& policy, attention::plan_shape asked, const attention::cohort_plan* cohorts = nullptr) : spans_(s.spans()) {
    attention::plan_room room = attention::plan_needs(s.layout(), s.shape(), s.layer, spans_, policy, asked, cohorts);
    room.slots += 2, room.items += 1;
    std::vector<std::uint64_t> words(attention::plan_bytes(room) / 8 + 2);
    auto* const memory = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(words.data()), attention::plan_alignment));
    if (!attention::plan_step(s.layout(), s.shape(), s.layer, spans_, policy, asked, room, {memory, attention::plan_bytes(room)}, host, cohorts)) throw std::runtime_error("no plan");
    items.assign(host.items, host.items + host.item_count), cuts.assign(host.cuts, host.cuts + host.slots + 1), members.assign(host.members, host.members + host.member_count);
    for (const auto& i : items) pieces += i.pieces.count();
    host.items = items.data(), host.cuts = cuts.data(), host.members = members.data(), host.spans = spans_.data();
  }

  /// Deals to the ranges between ascending numbers of pieces in (0, pieces).
  void cut(std::vector<std::uint64_t> at) {
    cuts.clear();
    at.insert(at.begin(), 0);
    at.push_back(pieces);
    std::uint32_t item = 0;
    std::uint64_t before = 0;
    for (std::uint64_t x : at) {
      while (item < items.size() && x >= before + items[item].pieces.count()) before += items[item++].pieces.count();
      cuts.push_back({item, static_cast<std::uint32_t>(x - before)});
    }
    host.items = items.data(), host.cuts = cuts.data(), host.spans = spans_.data(), host.members = members.data();
    host.item_count = static_cast<std::uint32_t>(items.size()), host.span_count = static_cast<std::uint32_t>(spans_.size());
    host.member_count = static_cast<std::uint32_t>(members.size());
    host.workers = host.slots = static_cast<std::uint32_t>(cuts.size()) - 1;
    for (auto& i : items) i.workers = 0;
    host.depth = host.merge_depth = 1;
    for (std::uint32_t w = 0; w < host.workers; ++w)
      for (std::uint32_t i = 0; i < host.item_count; ++i)
        if (const range r = pieces_of(host, w, i); !r.empty()) {
          if (items[i].workers++ == 0) items[i].first_worker = w;
          host.depth = std::max(host.depth, attention::subtree_walk::depth(items[i].pieces.end));
          host.merge_depth = host.depth;
        }
  }
  void cut_evenly(std::uint32_t workers) {
    std::vector<std::uint64_t> at;
    for (std::uint32_t w = 1; w < workers; ++w)
      if (const std::uint64_t x = pieces * w / workers; x != 0 && x != pieces && (at.empty() || at.back() != x)) at.push_back(x);
    cut(at);
  }

 private:
  std::vector<query_span> spans_;
};

/// Runs a planned step on the device. Returns out [rows][q_heads·dim]; what no kernel wrote is NaN.
/// `device`: the step's shape with pointers of the device's, where it has some.
template <class Kernel, kv::Layout L>
std::vector<float> run(const step<L>& s, const device_cache<L>& cache, const any_plan& plan, const attention::problem& device) {
  const attention::problem& p = s.shape();
  const std::size_t width = std::size_t{p.q_heads} * p.dim_k;
  device_array<float> q(s.row_count() * width, "queries"), out(s.row_count() * width, "outputs");
  q.upload(s.queries());
  out.upload(std::vector<float>(s.row_count() * width, std::numeric_limits<float>::quiet_NaN()));
  device_array<std::byte> staging(s.staging().size(), "staging");
  staging.upload(s.staging());
  device_array<std::uint32_t> staged(s.staged().size(), "staged"), arrivals(plan.items.size(), "arrivals");
  staged.upload(s.staged());
  arrivals.upload(std::vector<std::uint32_t>(plan.items.size(), 0));
  device_array<attention::plan_item> items(plan.items.size(), "items");
  device_array<attention::plan_cut> cuts(plan.cuts.size(), "cuts");
  device_array<attention::plan_member> members(std::max<std::size_t>(plan.members.size(), 1), "members");
  device_array<query_span> spans(s.spans().size(), "spans");
  items.upload(plan.items), cuts.upload(plan.cuts), spans.upload(s.spans());
  if (!plan.members.empty()) members.upload(plan.members);
  typename Kernel::call c;
  c.view = cache.view(), c.shape = device, c.layer = s.layer, c.plan = plan.host;
  c.plan.items = items.data(), c.plan.cuts = cuts.data(), c.plan.spans = spans.data(), c.plan.members = members.data();
  device_array<std::byte> scratch(Kernel::scratch_bytes(c.plan), "scratch");
  c.q = q.data(), c.out = out.data(), c.ldq = c.ldo = width, c.staging = staging.data(), c.staged = staged.data();
  c.scratch = scratch.data(), c.arrivals = arrivals.data();
  std::uint32_t mean_count = 0;
  std::vector<std::uint32_t> first_mean;
  for (const query_span& span : s.spans()) {
    first_mean.push_back(mean_count);
    mean_count += span.count == 0 ? 0 : (span.first + span.count - 1) / tile_tokens - span.first / tile_tokens + 1;
  }
  const std::vector<std::byte> no_means(L::compensates ? mean_count * p.kv_heads * s.layout().raw().piece_bytes(p.dim_k) : 64);
  device_array<std::byte> means(no_means, "means");
  const device_array<std::uint32_t> mean_tiles(first_mean, "first means");
  if constexpr (L::compensates) {
    cache.begin();
    c.means = means.data(), c.mean_tiles = mean_tiles.data();
    const status settled = cuda::settle(cuda::settle_call<L>{cache.view(), s.layer, spans.data(), static_cast<std::uint32_t>(s.spans().size()), means.data(), mean_tiles.data()}, {});
    finish();
    REQUIRE(settled);
  }
  const std::uint32_t score_tiles = 1 + s.layout().overlay_tiles(s.store().options().max_tokens);
  device_array<std::byte> scores(L::overlays ? cuda::score_rows::bytes(s.row_count(), p.q_heads, score_tiles) : 64, "weights of exact tokens");
  std::vector<std::uint32_t> rows_before;
  for (const query_span& span : s.spans()) rows_before.push_back(span.row);
  const device_array<std::uint32_t> first_score(rows_before, "first rows");
  if constexpr (L::overlays) {
    cache.begin();
    c.scores = cuda::score_rows::in(scores.data(), s.row_count(), p.q_heads, score_tiles);
    c.scores.first = first_score.data();
  }
  const status launched = Kernel::launch(c, {});
  finish();
  REQUIRE(launched);
  if constexpr (L::overlays) {
    const status settled = cuda::settle_overlay(cuda::overlay_call<L>{cache.view(), device, s.layer, spans.data(), static_cast<std::uint32_t>(s.spans().size()), c.scores}, {});
    finish();
    REQUIRE(settled);
  }
  for (std::uint32_t a : arrivals.download()) CHECK(a == 0);
  return out.download();
}

template <class Kernel, kv::Layout L>
std::vector<float> run(const step<L>& s, const device_cache<L>& cache, const any_plan& plan) {
  return run<Kernel>(s, cache, plan, s.shape());
}

/// Largest difference to the double reference over some rows of every span.
template <kv::Layout L>
double worst(const step<L>& s, const std::vector<float>& out) {
  const attention::problem& p = s.shape();
  double most = 0;
  for (const query_span& span : s.spans())
    for (std::uint32_t r = 0; r < span.count; r += r + 1 == span.count || span.count < 4 ? 1 : std::min(span.count - 1 - r, 13u))
      for (std::uint32_t h = 0; h < p.q_heads; ++h) {
        const auto want = s.expected(span, r, h);
        for (std::uint32_t i = 0; i < p.dim_v; ++i) {
          const double d = std::fabs(want[i] - static_cast<double>(out[(span.row + r) * p.q_heads * p.dim_k + h * p.dim_k + i]));
          most = d <= most ? most : d;  // NaN counts
          if (!(d == d)) return d;
        }
      }
  return most;
}

/// Whatever the dealing, the same bits, and those of one worker within `bound` of the double reference. Returns them.
template <class Kernel, kv::Layout L>
std::vector<float> check_dealings(const step<L>& s, std::uint32_t rows, double bound, std::initializer_list<std::uint32_t> dealt) {
  const device_cache<L> cache(s.store());
  any_plan plan(s, rows);
  plan.cut_evenly(1);
  const auto alone = run<Kernel>(s, cache, plan);
  CHECK(worst(s, alone) < bound);
  for (const std::uint32_t workers : dealt) {
    device_test::order(workers);
    plan.cut_evenly(workers);
    CHECK(run<Kernel>(s, cache, plan) == alone);
  }
  return alone;
}

}  // namespace cuda_fixture
