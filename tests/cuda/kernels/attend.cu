// SPDX-License-Identifier: Apache-2.0
// Decoding kernels as an engine instantiates them: compile.cmake looks at what ptxas says of registers, spills and local memory.
#include "quire/attention/cuda/append.cuh"
#include "quire/attention/cuda/attend.cuh"
#include "quire/attention/cuda/operand_balanced.cuh"
#include "quire/attention/cuda/operand_fp8.cuh"
#include "quire/attention/cuda/operand_gear.cuh"
#include "quire/attention/cuda/operand_integer.cuh"
#include "quire/attention/cuda/overlay.cuh"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/overlay.hpp"

using namespace quire;
using attention::cuda::attend;
using per_token_4 = kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>;
using per_token_8 = kv::codec_pair<kv::integer<8, kv::group::column>, kv::integer<8, kv::group::row>>;
using per_channel_4 = kv::codec_pair<kv::integer<4, kv::group::row>, kv::integer<4, kv::group::row>>;
using repaired_2 = kv::codec_pair<kv::gear<kv::integer<2, kv::group::row>, 2, 2>>;
using rotated_4 = kv::codec_pair<kv::hadamard<kv::integer<4, kv::group::column>>, kv::hadamard<kv::integer<4, kv::group::row>>>;
using important_over_4 = kv::overlay<kv::paged<kv::codec_pair<kv::balanced<per_token_4::key_codec>, per_token_4::value_codec>>>;

template <class... Kernels>
bool launch_all(device::stream on) {
  return (static_cast<bool>(Kernels::launch({}, on)) && ...);
}

bool decode_kernels(device::stream on) {
  return launch_all<attend<kv::paged<kv::raw_bf16>, 64, 8>, attend<kv::paged<kv::raw_bf16>, 128, 8>, attend<kv::paged<kv::raw_bf16>, 128, 16>,
                    attend<kv::paged<kv::raw_f16, kv::raw_f16>, 128, 8>, attend<kv::paged<kv::codec_pair<kv::fp8>>, 128, 8>, attend<kv::paged<per_token_8>, 128, 8>,
                    attend<kv::paged<per_token_4>, 64, 8>, attend<kv::paged<per_token_4>, 128, 8>, attend<kv::paged<per_channel_4>, 128, 8>, attend<kv::paged<rotated_4>, 64, 8>,
                    attend<kv::paged<rotated_4>, 128, 8>, attend<kv::head_split<kv::raw_bf16>, 128, 8>, attend<kv::paged<kv::raw_bf16>, 64, 64>,
                    attend<kv::paged<kv::raw_bf16>, 128, 8, 32>, attend<kv::paged<kv::raw_bf16>, 128, 2>, attend<kv::paged<kv::raw_bf16>, 64, 1>,
                    attend<kv::paged<per_channel_4>, 128, 2>, attend<kv::paged<rotated_4>, 128, 2>,
                    attend<kv::paged<repaired_2>, 64, 8>, attend<kv::paged<repaired_2>, 128, 16>, attend<important_over_4, 128, 16>>(on);
}
