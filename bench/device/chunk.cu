// SPDX-License-Identifier: Apache-2.0
// Compiled for every codec and head size: nvcc -DQUIRE_BENCH_CODEC=int4_hadamard -DQUIRE_BENCH_NAME='"int4-hadamard"' -DQUIRE_BENCH_DIM=128
#include "fold_arm.cuh"

using namespace device_bench;

using timed = fold_arm<quire::kv::paged<codecs::QUIRE_BENCH_CODEC>, QUIRE_BENCH_DIM, 64>;
static const registered unit(timed::entry("chunk", QUIRE_BENCH_NAME));
