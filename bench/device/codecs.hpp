// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "quire/kv/codec/fp8.hpp"
#include "quire/kv/codec/gear.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/paged.hpp"

/// Codecs by the names that the command line and results use.
namespace device_bench::codecs {

template <int Bits>
using per_token = quire::kv::codec_pair<quire::kv::integer<Bits, quire::kv::group::column>, quire::kv::integer<Bits, quire::kv::group::row>>;

using bf16 = quire::kv::raw_bf16;
using fp8 = quire::kv::codec_pair<quire::kv::fp8>;
using int8 = per_token<8>;
using int4 = per_token<4>;
using int4_hadamard = quire::kv::codec_pair<quire::kv::hadamard<quire::kv::integer<4, quire::kv::group::column>>, quire::kv::hadamard<quire::kv::integer<4, quire::kv::group::row>>>;
/// Scales for 32 tokens of a channel and for 32 channels of a token.
template <int Bits>
using kivi = quire::kv::codec_pair<quire::kv::integer<Bits, quire::kv::group::row, 32>>;
using kivi_2 = kivi<2>;
using kivi_3 = kivi<3>;
using gear_2 = quire::kv::codec_pair<quire::kv::gear<quire::kv::integer<2, quire::kv::group::row>, 2, 2>>;

}  // namespace device_bench::codecs
