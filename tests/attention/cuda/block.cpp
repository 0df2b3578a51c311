// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/block.cuh"

#include <map>

#include "catch.hpp"
#include "device/memory.hpp"
#include "quire/attention/cuda/operand_fp8.cuh"
#include "quire/attention/cuda/operand_integer.cuh"
#include "quire/kv/layout/paged.hpp"

using namespace quire;
using device_test::device_array;
namespace cuda = attention::cuda;

namespace {

template <class Pair, std::uint32_t Dim, std::uint32_t Rows, std::uint32_t Tiles = 3>
using block_of = cuda::fold_block<kv::paged<Pair>, float, Dim, Rows, Tiles>;
template <int Bits>
using per_token = kv::codec_pair<kv::integer<Bits, kv::group::column>, kv::integer<Bits, kv::group::row>>;
using per_channel = kv::codec_pair<kv::integer<4, kv::group::row>>;
using rotated = kv::codec_pair<kv::hadamard<kv::integer<4, kv::group::column>>, kv::hadamard<kv::integer<4, kv::group::row>>>;

struct seen {
  std::uint32_t row, channel;
  float m, l, low, o;
  bool speaks;
};

/// Which row and channel each register of each thread is, and what `clear` puts there.
template <class Block>
__global__ void __launch_bounds__(cuda::block_threads) look(seen* out) {
  const cuda::thread_place me = cuda::thread_place::here();
  typename Block::registers r;
  r.clear();
  std::uint32_t n = me.thread * Block::own_blocks * Block::row_blocks * Block::fragment_floats;
  for (std::uint32_t i = 0; i < Block::own_blocks; ++i)
    for (std::uint32_t b = 0; b < Block::row_blocks; ++b)
      for (std::uint32_t c = 0; c < Block::fragment_floats; ++c) {
        const std::uint32_t j = c % Block::lane_rows;
        out[n++] = {Block::row_of(b, j, me.at), me.channel(i) + 2 * me.at.g + c / Block::lane_rows, r.m[b][j], r.l[b][j], r.low[b][j], r.o[i][b][c], Block::speaks(me.at)};
      }
}

template <class Block>
void check_places() {
  device_array<seen> out(std::size_t{cuda::block_threads} * Block::own_blocks * Block::row_blocks * Block::fragment_floats, "places");
  const status launched = device::launch(&look<Block>, {.threads = cuda::block_threads}, {}, out.data());
  device_test::finish();
  REQUIRE(launched);
  std::map<std::pair<std::uint32_t, std::uint32_t>, int> held;
  for (const seen& s : out.download()) {
    CHECK((s.m == -INFINITY && s.l == 0 && s.low == 0 && s.o == 0));
    if (s.channel < Block::dim && s.speaks) ++held[{s.row, s.channel}];  // past the last block of channels nothing is held
  }
  CHECK(held.size() == std::size_t{Block::rows} * Block::dim);
  for (const auto& [place, times] : held) CHECK(times == 1);
}

}  // namespace

TEST_CASE("cuda blocks: every row's every channel is one thread's, cleared to the identity") {
  check_places<block_of<kv::raw_bf16, 16, 8>>();
  check_places<block_of<kv::raw_bf16, 64, 16>>();
  check_places<block_of<kv::raw_bf16, 96, 8>>();
  check_places<block_of<kv::raw_bf16, 256, 32>>();
  check_places<block_of<kv::raw_bf16, 96, 2>>();
  check_places<block_of<kv::raw_bf16, 64, 1>>();
}

TEST_CASE("cuda blocks: shared memory and states of the usual shapes") {
  using exact = block_of<kv::raw_bf16, 128, 16>;
  static_assert(exact::one_form && !exact::rotated_keys && !exact::rotated_values);
  using codes = block_of<rotated, 128, 16, 6>;
  static_assert(!codes::one_form && codes::rotated_keys && codes::rotated_values && !codes::by_tile<rotated>);
  static_assert(block_of<per_channel, 64, 8, 4>::by_tile<per_channel> && sizeof(block_of<per_channel, 64, 8, 4>::memory::sealed_queries) == 64 * 8 * 4);
  static_assert(sizeof(exact::memory::raw_queries) == 128 * 16 * 2 && sizeof(exact::memory::weights) == 64 * 16 * 2);
  static_assert(exact::state_bytes == 16 * 8 + 16 * 128 * 4 && block_of<kv::raw_bf16, 96, 8>::state_bytes == 8 * 8 + 8 * 128 * 4);
  // Places are a sealed tile's: 4-bit caches read their newest tile exactly, from four of them.
  static_assert(exact::raw_places == 1 && codes::raw_places == 4 && block_of<kv::codec_pair<kv::fp8>, 128, 8>::raw_places == 2);
  static_assert(codes::place_bytes * 4 >= exact::place_bytes && codes::place_bytes * 3 < exact::place_bytes && alignof(exact::memory) == 128 && exact::place_bytes % 16 == 0);
  // Two blocks of a decode kernel with three 16-bit tiles or six rotated 4-bit ones on an SM of 228 KiB; one at 256 channels and of 64 rows.
  static_assert(2 * (sizeof(exact::memory) + 1024) <= 228 * 1024 && 2 * (sizeof(codes::memory) + 1024) <= 228 * 1024);
  static_assert(sizeof(block_of<kv::raw_bf16, 256, 16>::memory) <= 227 * 1024 && sizeof(block_of<rotated, 128, 64, 10>::memory) <= 227 * 1024);
  // A place more costs a tile and its description: attend counts on that.
  using codes_more = block_of<rotated, 128, 16, 9>;
  static_assert(sizeof(codes_more::memory) <= sizeof(codes::memory) + 3 * (codes::place_bytes + sizeof(cuda::staged_tile)) + 127);
  CHECK(sizeof(block_of<per_token<8>, 64, 8>::memory) > 3 * block_of<per_token<8>, 64, 8>::place_bytes);
}
