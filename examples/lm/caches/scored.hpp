// SPDX-License-Identifier: Apache-2.0
// Important tokens stay exact; the others keep a low-bit copy or are gone: the layouts of those names.
#pragma once

#include "heads.hpp"
#include "plain.hpp"
#include "quire/kv/layout/overlay.hpp"

namespace quire_lm {

namespace {

/// make(layout, classes) for the cache of that name; null for a name that is not here. fails: bad_input
template <class Make>
std::unique_ptr<backend> scored_cache(const cache_spec& c, const model_weights& w, const backend_options& o, Make&& make) {
  const extents e = w.config.cache_extents();
  const kv::retain::importance policy{.share = static_cast<float>(c.get("exact", 0.2)), .recent = static_cast<float>(c.get("recent", 0.5))};
  const auto keeping = [&]<class Pair>(Pair) { return make(kv::overlay<kv::paged<Pair>>(kv::paged<Pair>(e), policy, o.max_tokens), nullptr); };
  if (c.name == "mikv-4") return keeping(balanced_low<4>{});
  if (c.name == "mikv-2") return keeping(balanced_low<2>{});
  if (c.name == "mikv-4-plain") return keeping(low<4>{});
  if (c.name == "mikv-2-plain") return keeping(low<2>{});
  if (c.name == "h2o") return make(kv::overlay<kv::paged<kv::raw_bf16>, kv::rest::drop>(kv::paged<kv::raw_bf16>(e), policy, o.max_tokens), nullptr);
  if (c.name == "mikv-duo") {
    auto classes = std::make_unique<kv::head_classes>(e, gated_heads(c, w, o));
    const kv::head_split<balanced_low<2>> base(e, *classes, fixed_window(c));
    return make(kv::overlay<kv::head_split<balanced_low<2>>>(base, policy, o.max_tokens), std::move(classes));
  }
  return nullptr;
}

}  // namespace
}  // namespace quire_lm
