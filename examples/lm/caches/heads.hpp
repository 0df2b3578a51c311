// SPDX-License-Identifier: Apache-2.0
// Which heads keep everything, from what a calibration learned.
#pragma once

#include "../store_backend.hpp"
#include "../weights.hpp"
#include "quire/calibrate/select_heads.hpp"

namespace quire_lm {
namespace {

inline kv::retain::sinks_window fixed_window(const cache_spec& c) { return {.sinks = c.tokens("sinks", 64), .window = c.tokens("window", 256)}; }

inline std::vector<std::uint8_t> no_heads(const model_weights& w) { return std::vector<std::uint8_t>(w.config.cache_extents().heads(), 0); }

/// What the caller asked for, or `otherwise`. fails: bad_input for a list of another length.
template <class F>
std::vector<std::uint8_t> heads_or(const model_weights& w, const backend_options& o, F&& otherwise) {
  if (o.whole_heads.empty()) return otherwise();
  if (o.whole_heads.size() != w.config.cache_extents().heads())
    throw bad_input("whole_heads has " + std::to_string(o.whole_heads.size()) + " heads, allowed " + std::to_string(w.config.cache_extents().heads()));
  return {o.whole_heads.begin(), o.whole_heads.end()};
}
inline std::vector<std::uint8_t> every_other_head(const model_weights& w, const backend_options& o) {
  return heads_or(w, o, [&] {
    std::vector<std::uint8_t> whole = no_heads(w);
    for (std::size_t h = 0; h < whole.size(); h += 2) whole[h] = 1;
    return whole;
  });
}

inline const head_scores& scores_of(const cache_spec& c, const model_weights& w) {
  if (!w.heads) throw bad_input("kv is " + quoted(c.name) + ", which needs head scores of this model, allowed with --heads FILE (quire-lm calibrate makes one)");
  return *w.heads;
}
inline void demand(const cache_spec& c, const status& s) {
  if (!s) throw bad_input("kv is " + quoted(c.name) + ": " + describe(s));
}
/// The share `keep` of heads with the largest gates.
inline std::vector<std::uint8_t> gated_heads(const cache_spec& c, const model_weights& w, const backend_options& o) {
  return heads_or(w, o, [&] {
    std::vector<std::uint8_t> whole;
    const double keep = c.get("keep", 0.5);
    demand(c, calibrate::select_by_sparsity(scores_of(c, w).gates_for(keep), 1 - keep, whole));
    return whole;
  });
}
/// The best shares by induction and by echo score, together; by gates where a share of all heads is asked for instead.
inline std::vector<std::uint8_t> repeating_heads(const cache_spec& c, const model_weights& w, const backend_options& o) {
  if (c.get("keep", -1) >= 0) {
    if (c.get("induction", -1) >= 0 || c.get("echo", -1) >= 0) throw bad_input("kv is " + quoted(c.name) + " with keep beside induction or echo, allowed either (keep chooses by gates)");
    return gated_heads(c, w, o);
  }
  return heads_or(w, o, [&] {
    std::vector<std::uint8_t> whole;
    demand(c, calibrate::select_union(scores_of(c, w).induction, scores_of(c, w).echo, whole, {.induction = c.get("induction", 0.14), .echo = c.get("echo", 0.01)}));
    return whole;
  });
}

}  // namespace
}  // namespace quire_lm
