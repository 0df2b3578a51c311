// SPDX-License-Identifier: Apache-2.0
// Every head keeps every token, in one codec.
#include "../backend_for.hpp"

#include "quire/kv/codec/fp8.hpp"
#include "quire/kv/codec/gear.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"

namespace quire_lm {
namespace {

using kv::codec_pair;
using kv::hadamard;
using kv::integer;
template <int Bits>
using per_token = codec_pair<integer<Bits, kv::group::column>, integer<Bits, kv::group::row>>;
template <int Bits, int Size = 0>
using per_channel = codec_pair<integer<Bits, kv::group::row, Size>, integer<Bits, kv::group::row, Size>>;
using int4_hadamard = codec_pair<hadamard<integer<4, kv::group::column>>, hadamard<integer<4, kv::group::row>>>;
/// One backbone on both sides: KCVT where a tile is one group, KIVI with groups of 64.
template <int Bits, int Rank, int Outliers>
using repaired = codec_pair<kv::gear<integer<Bits, kv::group::row>, Rank, Outliers>>;

}  // namespace

std::unique_ptr<backend> make_plain(const cache_spec& c, const model_weights& w, const backend_options& o) {
  if (c.name == "f32") return paged<kv::raw_f32, kv::raw_f32>(w, o);
  if (c.name == "bf16") return paged<kv::raw_bf16>(w, o);
  if (c.name == "fp8") return paged<codec_pair<kv::fp8>>(w, o);
  if (c.name == "int8") return paged<per_token<8>>(w, o);
  if (c.name == "int4") return paged<per_token<4>>(w, o);
  if (c.name == "int4-channel") return paged<per_channel<4>>(w, o);
  if (c.name == "int4-hadamard") return paged<int4_hadamard>(w, o);
  if (c.name == "kivi-4") return paged<per_channel<4, 32>>(w, o);
  if (c.name == "kivi-3") return paged<per_channel<3, 32>>(w, o);
  if (c.name == "kivi-2") return paged<per_channel<2, 32>>(w, o);
  if (c.name == "kivi-3-g64") return paged<per_channel<3>>(w, o);
  if (c.name == "kivi-2-g64") return paged<per_channel<2>>(w, o);
  if (c.name == "gear-4") return paged<repaired<4, 2, 2>>(w, o);
  if (c.name == "gear-2") return paged<repaired<2, 2, 2>>(w, o);
  if (c.name == "gear-l-4") return paged<repaired<4, 2, 0>>(w, o);
  if (c.name == "gear-l-2") return paged<repaired<2, 2, 0>>(w, o);
  return nullptr;
}

}  // namespace quire_lm
