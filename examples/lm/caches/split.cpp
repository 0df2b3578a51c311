// SPDX-License-Identifier: Apache-2.0
// Heads that keep everything beside heads that keep sinks and a window.
#include "../backend_for.hpp"

#include "heads.hpp"
#include "quire/kv/codec/gear.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"

namespace quire_lm {
namespace {

using int4_hadamard = kv::codec_pair<kv::hadamard<kv::integer<4, kv::group::column>>, kv::hadamard<kv::integer<4, kv::group::row>>>;
using kv::remainder::mean_token;

template <class Sealed, class Remainder = kv::remainder::none, class Streaming>
std::unique_ptr<backend> split(const model_weights& w, const backend_options& o, const std::vector<std::uint8_t>& whole, Streaming streaming) {
  using L = kv::head_split<Sealed, kv::raw_bf16, Remainder>;
  const extents e = w.config.cache_extents();
  auto classes = std::make_unique<kv::head_classes>(e, whole);
  const L layout(e, *classes, streaming);
  return std::make_unique<backend_for<L>>(w, layout, std::move(classes), o);
}

}  // namespace

std::unique_ptr<backend> make_split(const cache_spec& c, const model_weights& w, const backend_options& o) {
  const kv::retain::sinks_window fixed = fixed_window(c);
  const kv::retain::scaled_window scaled{.sinks = c.tokens("sinks", 64), .least = c.tokens("window", 256), .share = c.tokens("share", 5)};
  if (c.name == "streaming") return split<kv::raw_bf16>(w, o, no_heads(w), kv::retain::sinks_window{.sinks = c.tokens("sinks", 4), .window = c.tokens("window", 1020)});
  if (c.name == "split") return split<kv::raw_bf16>(w, o, every_other_head(w, o), fixed);
  if (c.name == "split-int4") return split<int4_hadamard>(w, o, every_other_head(w, o), fixed);
  if (c.name == "duo") return split<kv::raw_bf16>(w, o, gated_heads(c, w, o), fixed);
  if (c.name == "duo-int4") return split<int4_hadamard>(w, o, gated_heads(c, w, o), fixed);
  if (c.name == "razor") return split<kv::raw_bf16, mean_token>(w, o, repeating_heads(c, w, o), scaled);
  if (c.name == "razor-gear") return split<kv::codec_pair<kv::gear<kv::integer<4, kv::group::row>, 2, 2>>, mean_token>(w, o, repeating_heads(c, w, o), scaled);
  if (c.name == "razor-plain") return split<kv::raw_bf16>(w, o, repeating_heads(c, w, o), scaled);
  return nullptr;
}

}  // namespace quire_lm
