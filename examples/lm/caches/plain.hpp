// SPDX-License-Identifier: Apache-2.0
// Every head keeps every token, in one codec: the layouts of those names.
#pragma once

#include <memory>

#include "../backend.hpp"
#include "quire/kv/codec/balanced.hpp"
#include "quire/kv/codec/fp8.hpp"
#include "quire/kv/codec/gear.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/paged.hpp"

namespace quire_lm {

template <int Bits>
using per_token = quire::kv::codec_pair<quire::kv::integer<Bits, quire::kv::group::column>, quire::kv::integer<Bits, quire::kv::group::row>>;
template <int Bits, int Size = 0>
using per_channel = quire::kv::codec_pair<quire::kv::integer<Bits, quire::kv::group::row, Size>, quire::kv::integer<Bits, quire::kv::group::row, Size>>;
using int4_hadamard = quire::kv::codec_pair<quire::kv::hadamard<quire::kv::integer<4, quire::kv::group::column>>, quire::kv::hadamard<quire::kv::integer<4, quire::kv::group::row>>>;
/// One backbone on both sides: KCVT where a tile is one group, KIVI with groups of 64.
template <int Bits, int Rank, int Outliers>
using repaired = quire::kv::codec_pair<quire::kv::gear<quire::kv::integer<Bits, quire::kv::group::row>, Rank, Outliers>>;

/// Per token in groups of 32 channels, a rotary half of a head of 64.
template <int Bits>
using low = quire::kv::codec_pair<quire::kv::integer<Bits, quire::kv::group::column, 32>, quire::kv::integer<Bits, quire::kv::group::row, 32>>;
template <int Bits>
using balanced_low = quire::kv::codec_pair<quire::kv::balanced<quire::kv::integer<Bits, quire::kv::group::column, 32>>, quire::kv::integer<Bits, quire::kv::group::row, 32>>;

/// make(layout) for the cache of that name; null for a name that is not here.
template <class Make>
std::unique_ptr<backend> plain_cache(const cache_spec& c, quire::extents e, Make&& make) {
  namespace kv = quire::kv;
  const auto paged = [&]<class Sealed>(Sealed) { return make(kv::paged<Sealed>(e)); };
  if (c.name == "f32") return make(kv::paged<kv::raw_f32, kv::raw_f32>(e));
  if (c.name == "bf16") return paged(kv::raw_bf16{});
  if (c.name == "fp8") return paged(kv::codec_pair<kv::fp8>{});
  if (c.name == "int8") return paged(per_token<8>{});
  if (c.name == "int4") return paged(per_token<4>{});
  if (c.name == "int4-channel") return paged(per_channel<4>{});
  if (c.name == "int4-hadamard") return paged(int4_hadamard{});
  if (c.name == "kivi-4") return paged(per_channel<4, 32>{});
  if (c.name == "kivi-3") return paged(per_channel<3, 32>{});
  if (c.name == "kivi-2") return paged(per_channel<2, 32>{});
  if (c.name == "kivi-3-g64") return paged(per_channel<3>{});
  if (c.name == "kivi-2-g64") return paged(per_channel<2>{});
  if (c.name == "gear-4") return paged(repaired<4, 2, 2>{});
  if (c.name == "gear-2") return paged(repaired<2, 2, 2>{});
  if (c.name == "gear-l-4") return paged(repaired<4, 2, 0>{});
  if (c.name == "gear-l-2") return paged(repaired<2, 2, 0>{});
  return nullptr;
}

}  // namespace quire_lm
