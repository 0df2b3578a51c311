// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "arm.hpp"
#include "cache.cuh"
#include "codecs.hpp"
#include "plans.hpp"
#include "quire/attention/cuda/attend.cuh"
#include "quire/attention/cuda/operand_fp8.cuh"
#include "quire/attention/cuda/operand_gear.cuh"
#include "quire/attention/cuda/operand_integer.cuh"

namespace device_bench {

/// attention::cuda::attend on a step. Queries and outputs are bf16, as a model's would be. `PrefixRows`: a second kernel for `fused`.
template <kv::Layout L, std::uint32_t Dim, std::uint32_t Rows, std::uint32_t PrefixRows = 0, class Tuner = attention::cuda::tuning::of_unit>
class fold_arm final : public arm {
 public:
  using row = quire::bf16;
  using kernel = attention::cuda::attend<L, Dim, Rows, 0, row, Tuner>;
  using fused_kernel = attention::cuda::attend<L, Dim, Rows, PrefixRows, row, Tuner>;

  fold_arm(machine& m, const workload& w)
      : machine_(m), work_(w), spans_(w.spans()), shape_{.q_heads = w.kv_heads * w.group, .kv_heads = w.kv_heads, .dim_k = Dim, .dim_v = Dim},
        layout_({w.layers, w.kv_heads, Dim}), cache_(m, layout_, spans_, w.prefix / tile_tokens, 11) {
    require(kernel::supports(shape_));
    const std::size_t width = std::size_t{shape_.q_heads} * Dim, rows = spans_.back().row + spans_.back().count;
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    host_queries_.resize(rows * width);
    for (row& x : host_queries_) x = row::from(2 * normal(random));
    queries_ = {m, std::span<const row>(host_queries_), "queries"};
    outputs_ = {m, rows * width, "outputs"};
    for (const auto& s : spans_) {
      staged_.push_back(staged_tiles_);
      staged_tiles_ += cache_.newest_tile(s) - s.first / tile_tokens;
      const std::uint32_t end = s.first + s.count, sealed = cache_.newest_tile(s);
      bytes += std::uint64_t{shape_.kv_heads} * (std::uint64_t{sealed} * token_bytes(layout_.sealed()) * tile_tokens + (end - sealed * tile_tokens) * token_bytes(layout_.raw()));
      for (std::uint32_t q = s.first; q < end; ++q) products += 4.0 * Dim * shape_.q_heads * (q + 1);
    }
    if (w.prefix != 0) bytes -= std::uint64_t{shape_.kv_heads} * (w.batch - 1) * w.prefix * token_bytes(layout_.sealed());
    staging_ = cache_.staging(staged_tiles_);
    device_staged_ = {m, std::span<const std::uint32_t>(staged_), "staged"};
    held_bytes = cache_.bytes(), layers = w.layers;

    call_.view = cache_.view(), call_.shape = shape_, call_.q = queries_.data(), call_.out = outputs_.data(), call_.ldq = call_.ldo = width;
    call_.staging = staging_.data(), call_.staged = device_staged_.data();
    use<kernel>();
  }

  std::vector<std::string> plans() const override {
    return PrefixRows != 0 && work_.prefix != 0 ? std::vector<std::string>{"fused", "lean"} : std::vector<std::string>{"lean", "heuristic", "unsplit"};
  }
  plan_facts plan(const std::string& name) override {
    fused_ = name == "fused";
    if (fused_ && (PrefixRows == 0 || work_.prefix == 0)) throw std::runtime_error("fused: sequences without a shared prefix");
    if constexpr (PrefixRows != 0)
      if (fused_) use<fused_kernel>();
    if (!fused_) use<kernel>();
    const std::uint32_t units = resident_blocks * machine_.processors();
    const host_plan p = plan_by_name(name, layout_, shape_, spans_, {units, Rows}, cache_.cohorts(spans_, std::max(PrefixRows / work_.group, 1u)));
    if (fused_ && p.view.prefix_items == 0) throw std::runtime_error("fused: no shared prefix was found");
    plan_memory_ = {machine_, std::span<const std::byte>(p.memory), "plan"};
    call_.plan = attention::moved(p.view, p.memory.data(), plan_memory_.data());
    const std::size_t scratch = fused_ ? fused_kernel::scratch_bytes(call_.plan) : kernel::scratch_bytes(call_.plan);
    scratch_ = {machine_, scratch, "scratch"};
    arrivals_ = {machine_, std::span<const std::uint32_t>(std::vector<std::uint32_t>(p.view.item_count, 0)), "arrivals"};
    call_.scratch = scratch_.data(), call_.arrivals = arrivals_.data();
    return {p.view.workers, p.view.item_count, p.microseconds, p.occupancy};
  }

  void spoil() override {
    machine_.finish();
    outputs_.upload(std::vector<row>(outputs_.size(), row{0xffff}));
  }
  status launch(std::uint32_t layer) override {
    auto c = call_;
    c.layer = layer;
    if constexpr (PrefixRows != 0)
      if (fused_) return fused_kernel::launch(c, machine_.stream());
    return kernel::launch(c, machine_.stream());
  }

  double error(std::uint32_t layer) override {
    machine_.finish();
    for (const std::uint32_t a : arrivals_.download())
      if (a != 0) return std::numeric_limits<double>::infinity();
    const std::vector<row> out = outputs_.download();
    for (const row& x : out)
      if (const float f = x.to_float(); f != f) return std::numeric_limits<double>::infinity();
    const std::size_t width = std::size_t{shape_.q_heads} * Dim;
    std::size_t shortest = 0, longest = 0;
    for (std::size_t i = 0; i < spans_.size(); ++i) {
      if (spans_[i].first < spans_[shortest].first) shortest = i;
      if (spans_[i].first > spans_[longest].first) longest = i;
    }
    double most = 0;
    const auto check = [&](std::size_t span, std::uint32_t r, std::uint32_t head) {
      const attention::query_span& s = spans_[span];
      const std::uint32_t query = s.first + r, tile = query / tile_tokens, newest = cache_.newest_tile(s), kv_head = head / shape_.group(), end = s.first + s.count;
      const std::byte* exact = cache_.tail(static_cast<std::uint32_t>(span), layer, kv_head);
      if (tile != newest) exact = staging_.data() + (std::size_t{staged_[span] + tile - s.first / tile_tokens} * shape_.kv_heads + kv_head) * layout_.raw().piece_bytes(Dim);
      const std::size_t at = (s.row + r) * width + head * Dim;
      std::vector<float> q(Dim);
      for (std::uint32_t i = 0; i < Dim; ++i) q[i] = host_queries_[at + i].to_float();
      const auto want = cache_.expected(shape_, static_cast<std::uint32_t>(span), layer, head, query, q.data(), exact, std::min(end - tile * tile_tokens, tile_tokens));
      relative_error e;
      for (std::uint32_t i = 0; i < Dim; ++i) e.add(static_cast<double>(out[at + i].to_float()), want[i]);
      most = std::max(most, e.value());
    };
    check(shortest, 0, 0), check(shortest, spans_[shortest].count - 1, shape_.q_heads - 1);
    if (spans_[longest].first < 20000) check(longest, spans_[longest].count / 2, shape_.q_heads / 2);
    return most;
  }
  std::vector<std::byte> result() override {
    machine_.finish();
    std::vector<std::byte> r(outputs_.size() * sizeof(row));
    machine_.download(r.data(), outputs_.data(), r.size());
    return r;
  }

  static std::uint64_t layer_bytes(const workload& w) {
    const L layout({1, w.kv_heads, Dim});
    std::uint64_t pages = w.prefix / tile_tokens;
    for (const auto& s : w.spans()) pages += synthetic_cache<L>::pages_of(s) - w.prefix / tile_tokens;
    return pages * kv::page_bytes(layout, 0) + std::uint64_t{w.batch} * kv::tail_bytes(layout);
  }
  static std::unique_ptr<arm> make(machine& m, const workload& w) { return std::make_unique<fold_arm>(m, w); }
  static kernel_entry entry(const char* part, const char* codec) {
    return {part, codec, Dim, &layer_bytes, &make, static_cast<std::uint32_t>(kernel::shared_bytes()), kernel::block::place_bytes, kernel::tiles, kernel::shape::least_tiles,
            static_cast<std::uint32_t>(token_bytes(typename L::sealed_pair{}) * tile_tokens)};
  }

 private:
  template <class Pair>
  static std::uint64_t token_bytes(const Pair& pair) noexcept { return (pair.key_bytes(Dim) + pair.value_bytes(Dim)) / tile_tokens; }
  template <class K>
  void use() {
    const auto* function = reinterpret_cast<const void*>(&attention::cuda::fold_kernel<typename K::block, typename K::prefix_block, K::numbers.blocks, typename K::call>);
    shared_bytes = static_cast<std::uint32_t>(K::shared_bytes());
    resident_blocks = machine_.resident_blocks(function, attention::cuda::block_threads, shared_bytes);
    if (resident_blocks == 0) throw std::runtime_error("a block of this kernel does not fit a processor");
  }

  machine& machine_;
  workload work_;
  std::vector<attention::query_span> spans_;
  attention::problem shape_;
  L layout_;
  synthetic_cache<L> cache_;
  std::vector<row> host_queries_;
  std::vector<std::uint32_t> staged_;
  std::uint32_t staged_tiles_ = 0;
  device_block<row> queries_, outputs_;
  device_block<std::byte> staging_, plan_memory_, scratch_;
  device_block<std::uint32_t> device_staged_, arrivals_;
  typename kernel::call call_;
  bool fused_ = false;
};

}  // namespace device_bench
