// SPDX-License-Identifier: Apache-2.0
// Shared prefixes: the tiles of a cohort are read once for the query rows of all its members, and each member's own fold
// goes on from the states of the prefix. The nodes are those of the one merge tree, so sharing changes no bit.
#pragma once

#include <vector>

#include "../../core/executor.hpp"
#include "../cohort.hpp"
#include "subtree_stack.hpp"

namespace quire::inline v0::attention::cpu::inline QUIRE_ISA {

template <kv::Layout L>
struct layer_call;

/// States of the prefixes of one layer's call: [slot of prefix_units][row]. Rows of a cohort: [head][member][group].
class prefix_states {
 public:
  prefix_states() = default;
  /// throws: std::bad_alloc
  prefix_states(std::uint32_t rows, std::uint32_t pieces, std::uint32_t dim)
      : rows_(rows), dim_(dim), states_(std::size_t{rows} * prefix_units::slots(pieces)), o_(states_.size() * dim) {}
  row_states at(std::uint32_t slot, std::uint32_t row) noexcept {
    const std::size_t i = std::size_t{slot} * rows_ + row;
    return {states_.data() + i, o_.data() + i * dim_};
  }
  static std::uint32_t first_row(const problem& p, const cohort& c, std::uint32_t head) noexcept { return c.first * p.q_heads + head * c.count * p.group(); }
  std::size_t bytes() const noexcept { return states_.size() * (sizeof(softmax_state) + dim_ * sizeof(float)); }

 private:
  std::uint32_t rows_ = 0, dim_ = 0;
  std::vector<softmax_state> states_;
  std::vector<float> o_;
};

inline void copy_rows(row_states from, row_states to, std::uint32_t rows, std::uint32_t dim) noexcept {
  std::copy_n(from.state, rows, to.state);
  std::copy_n(from.o, std::size_t{rows} * dim, to.o);
}

/// Units of each prefix of a call. All workers agree on it.
inline std::uint32_t units_wanted(const team& t, const problem& p, const cohort_plan& plan) noexcept {
  return prefix_units::wanted(plan.cohorts().size() * p.kv_heads, t.workers);
}

/// This worker's share of all prefixes, whole units, dealt by cost. Reads committed pages only, so it may run beside `append`; the results
/// count after the next barrier. `states(level)`: scratch of this worker.
template <kv::Layout L, class States>
void fold_prefixes(const team& t, const layer_call<L>& c, const cohort_plan& plan, piece_folder<L>& folder, prefix_states& to, States&& states) noexcept {
  const problem& p = c.shape;
  const L& layout = c.view.layout;
  const std::uint32_t wanted = units_wanted(t, p, plan);
  const auto each_head = [&](auto&& f) {
    std::uint64_t n = 0;
    for (const cohort& a : plan.cohorts())
      for (std::uint32_t h = 0; h < p.kv_heads; ++h)
        if (!layout.group_sees(layout.slot(c.layer, h).group).limited()) {
          const prefix_units units(a.pieces, wanted);
          const item_load load{a.pieces, a.count * p.group()};
          const lean by_units{c.dealing.costs, 1u << units.level};
          f(a, h, units, by_units, load, n);
          n += by_units.length(load);
        }
    return n;
  };
  const range mine = t.share(each_head([](auto&&...) {}));
  each_head([&](const cohort& a, std::uint32_t h, prefix_units units, const lean& by_units, item_load load, std::uint64_t before) {
    const range here = share_of(by_units, load, before, mine);
    if (here.empty()) return;
    const auto members = plan.members(a);
    const std::uint32_t sequence = c.spans[members[0]].sequence;
    const kv::head_view head = c.view.head(sequence, c.layer, h, a.pieces * piece_tiles, nullptr, 0);
    const work_item item{members[0], h, a.pieces * piece_tokens, a.count, {}};  // every member stands behind the prefix and sees all of it
    folder.begin(item, sequence, c.layer, head, [&](std::uint32_t i) { return c.q + c.spans[members[i]].row * c.ldq; });
    for (auto u = static_cast<std::uint32_t>(here.begin >> units.level); u << units.level < here.end; ++u) {
      const range pieces = units.unit(u);
      subtree_stack stack(pieces.begin, folder.rows(), p.dim_v);
      for (std::uint64_t i = pieces.begin; i < pieces.end; ++i) {
        folder.fold(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(std::min<std::uint64_t>(i + 1, a.pieces - 1)), states(stack.filled()), null_sink{});
        stack.push({0, i}, states);
      }
      for (std::uint32_t k = 0; k < stack.filled(); ++k) copy_rows(states(k), to.at(u + k, prefix_states::first_row(p, a, h)), folder.rows(), p.dim_v);
    }
  });
}

/// Puts a member's part of its prefix on the stack that folds the rest of its pieces.
template <class States>
void push_prefix(const team& t, subtree_stack& stack, States&& states, const cohort_plan& plan, const work_item& item, const problem& p, prefix_states& from) noexcept {
  const auto [number, ordinal] = plan.of(item.span);
  const cohort& a = plan.cohorts()[number];
  const std::uint32_t row = prefix_states::first_row(p, a, item.head) + ordinal * p.group();
  prefix_units(a.pieces, units_wanted(t, p, plan)).for_each_node([&](std::uint32_t slot, tree_node n) {
    copy_rows(from.at(slot, row), states(stack.filled()), p.group(), p.dim_v);
    stack.push(n, states);
  });
}

}  // namespace quire::inline v0::attention::cpu::inline QUIRE_ISA
