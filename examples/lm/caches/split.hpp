// SPDX-License-Identifier: Apache-2.0
// Heads that keep everything beside heads that keep sinks and a window: the layouts of those names.
#pragma once

#include "heads.hpp"
#include "plain.hpp"

namespace quire_lm {
namespace {

/// make(layout, classes) for the cache of that name; null for a name that is not here. fails: bad_input
template <class Make>
std::unique_ptr<backend> split_cache(const cache_spec& c, const model_weights& w, const backend_options& o, Make&& make) {
  using kv::remainder::mean_token;
  const auto split = [&]<class Sealed, class Rest>(Sealed, Rest, const std::vector<std::uint8_t>& whole, auto streaming) {
    const extents e = w.config.cache_extents();
    auto classes = std::make_unique<kv::head_classes>(e, whole);
    const kv::head_split<Sealed, kv::raw_bf16, Rest> layout(e, *classes, streaming);
    return make(layout, std::move(classes));
  };
  const kv::remainder::none nothing;
  const kv::raw_bf16 exact;
  const int4_hadamard int4;
  const kv::retain::sinks_window fixed = fixed_window(c);
  const kv::retain::scaled_window scaled{.sinks = c.tokens("sinks", 64), .least = c.tokens("window", 256), .share = c.tokens("share", 5)};
  if (c.name == "streaming") return split(exact, nothing, no_heads(w), kv::retain::sinks_window{.sinks = c.tokens("sinks", 4), .window = c.tokens("window", 1020)});
  if (c.name == "split") return split(exact, nothing, every_other_head(w, o), fixed);
  if (c.name == "split-int4") return split(int4, nothing, every_other_head(w, o), fixed);
  if (c.name == "duo") return split(exact, nothing, gated_heads(c, w, o), fixed);
  if (c.name == "duo-int4") return split(int4, nothing, gated_heads(c, w, o), fixed);
  if (c.name == "razor") return split(exact, mean_token{}, repeating_heads(c, w, o), scaled);
  if (c.name == "razor-gear") return split(repaired<4, 2, 2>{}, mean_token{}, repeating_heads(c, w, o), scaled);
  if (c.name == "razor-plain") return split(exact, nothing, repeating_heads(c, w, o), scaled);
  return nullptr;
}

}  // namespace
}  // namespace quire_lm
