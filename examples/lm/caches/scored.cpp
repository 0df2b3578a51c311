// SPDX-License-Identifier: Apache-2.0
// Important tokens stay exact; the others keep a low-bit copy or are gone.
#include "../backend_for.hpp"

#include "heads.hpp"
#include "quire/kv/codec/balanced.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/overlay.hpp"

namespace quire_lm {
namespace {

using kv::integer;
/// Per token in groups of 32 channels, a rotary half of a head of 64.
template <int Bits>
using low = kv::codec_pair<integer<Bits, kv::group::column, 32>, integer<Bits, kv::group::row, 32>>;
template <int Bits>
using balanced_low = kv::codec_pair<kv::balanced<integer<Bits, kv::group::column, 32>>, integer<Bits, kv::group::row, 32>>;

template <kv::rest Rest, class Base>
std::unique_ptr<backend> overlaid(const cache_spec& c, const model_weights& w, const backend_options& o, const Base& base, std::unique_ptr<kv::head_classes> classes) {
  using L = kv::overlay<Base, Rest>;
  const kv::retain::importance policy{.share = static_cast<float>(c.get("exact", 0.2)), .recent = static_cast<float>(c.get("recent", 0.5))};
  return on_cpu(L(base, policy, o.max_tokens), std::move(classes), w, o);
}
template <class Pair, kv::rest Rest = kv::rest::keep>
std::unique_ptr<backend> overlaid_pages(const cache_spec& c, const model_weights& w, const backend_options& o) {
  return overlaid<Rest>(c, w, o, kv::paged<Pair>(w.config.cache_extents()), nullptr);
}

}  // namespace

std::unique_ptr<backend> make_scored(const cache_spec& c, const model_weights& w, const backend_options& o) {
  if (c.name == "mikv-4") return overlaid_pages<balanced_low<4>>(c, w, o);
  if (c.name == "mikv-2") return overlaid_pages<balanced_low<2>>(c, w, o);
  if (c.name == "mikv-4-plain") return overlaid_pages<low<4>>(c, w, o);
  if (c.name == "mikv-2-plain") return overlaid_pages<low<2>>(c, w, o);
  if (c.name == "h2o") return overlaid_pages<kv::raw_bf16, kv::rest::drop>(c, w, o);
  if (c.name == "mikv-duo") {
    const extents e = w.config.cache_extents();
    auto classes = std::make_unique<kv::head_classes>(e, gated_heads(c, w, o));
    const kv::head_split<balanced_low<2>> base(e, *classes, fixed_window(c));
    return overlaid<kv::rest::keep>(c, w, o, base, std::move(classes));
  }
  return nullptr;
}

}  // namespace quire_lm
