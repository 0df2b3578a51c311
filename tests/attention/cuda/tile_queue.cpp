// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/tile_queue.cuh"

#include <cstring>
#include <random>

#include "catch.hpp"
#include "device/memory.hpp"
#include "quire/attention/cuda/operand_fp8.cuh"
#include "quire/attention/cuda/operand_integer.cuh"
#include "quire/kv/layout/paged.hpp"

using namespace quire;
using device_test::device_array;
namespace cuda = attention::cuda;

namespace {

constexpr std::uint32_t most_tiles = 64;

template <class Block>
constexpr std::uint32_t stage_words = Block::raw_places * Block::place_bytes / 4;

template <class Operand>
__device__ void unstage(const std::byte* staged, std::uint32_t* out, std::uint32_t thread) {
  const auto word = [&](std::uint32_t at) { return *reinterpret_cast<const std::uint32_t*>(staged + at); };
  constexpr std::uint32_t words = Operand::word_rows * Operand::columns;
  for (std::uint32_t i = thread; i < words; i += cuda::block_threads) out[i] = word((i / Operand::columns * Operand::stride + i % Operand::columns) * 4);
  if constexpr (Operand::parameter_copies != 0)
    for (std::uint32_t i = thread; i < Operand::parameter_copies * 4; i += cuda::block_threads) out[words + i] = word(Operand::parameters + i * 4);
}
template <class Operand>
constexpr std::uint32_t tile_words = Operand::word_rows * Operand::columns + Operand::parameter_copies * 4;

/// Takes tiles as the fold does and writes down what came: descriptions, and the bytes of keys and values. `count`: of tiles, and of
/// turns without one because the ring was full.
template <class Block>
__global__ void __launch_bounds__(cuda::block_threads) drain(const __grid_constant__ kv::head_view head, attention::problem p, attention::work_item item, std::uint32_t from, std::uint32_t to,
                                                             cuda::staged_tile* tiles, std::uint32_t* words, std::uint32_t* count) {
  auto& m = *reinterpret_cast<typename Block::memory*>(device::shared_memory());
  typename Block::copies copies(m.turns, threadIdx.x);
  copies.prepare();
  if (threadIdx.x == 0) m.head = head;
  copies.release();
  __syncthreads();
  cuda::tile_queue<Block> queue(m, copies, p, item, from, to, threadIdx.x);
  for (std::uint32_t i = 0; i + 1 < Block::ring_tiles; ++i) queue.ask(0);
  std::uint32_t n = 0, entry = 0, waits = 0;
  for (std::uint32_t done = from; done < to;) {
    copies.wait(entry);
    copies.release();
    __syncthreads();
    const cuda::staged_tile t = m.tiles[entry];
    queue.ask(t.begin);
    entry = entry + 1 == Block::ring_tiles ? 0 : entry + 1;
    if (t.form == 2 && !t.last) {
      ++waits;
      continue;
    }
    if (threadIdx.x == 0) tiles[n] = t;
    const auto dump = [&]<class Pair>(Pair) {
      using keys = typename Block::template key_operand<Pair>;
      unstage<keys>(m.place(t.begin), words + n * stage_words<Block>, threadIdx.x);
      unstage<typename Block::template value_operand<Pair>>(m.place(t.begin) + keys::staged_bytes, words + n * stage_words<Block> + tile_words<keys>, threadIdx.x);
    };
    if (t.form == 0 || (Block::one_form && t.form == 1)) dump(typename Block::raw_pair{});
    else if (t.form == 1) dump(typename Block::sealed_pair{});
    done += t.last, ++n;
  }
  if (threadIdx.x == 0) count[0] = n, count[1] = waits;
}

/// Runs with gaps between them, in either form, with page tables and without, some tokens dead.
template <class Block>
struct random_head {
  static constexpr std::uint32_t pool_tiles = 12;
  static constexpr std::size_t stride = round_up(stage_words<Block> * 4, 64);
  std::vector<std::byte> pool = std::vector<std::byte>(pool_tiles * stride);
  std::vector<std::uint32_t> pages = std::vector<std::uint32_t>(most_tiles);
  std::vector<std::uint64_t> live = std::vector<std::uint64_t>(most_tiles);
  device_array<std::byte> device_pool{pool_tiles * stride, "pool"};
  device_array<std::uint32_t> device_pages{most_tiles, "page table"};
  device_array<std::uint64_t> device_live{most_tiles, "live masks"};
  kv::head_view host, device;

  explicit random_head(std::mt19937& random) {
    for (std::byte& b : pool) b = static_cast<std::byte>(random());
    for (std::uint32_t& p : pages) p = random() % pool_tiles;
    for (std::uint64_t& l : live) l = random() % 3 != 0 ? ~std::uint64_t{0} : std::uint64_t{random()} << 32 | random();
    device_pool.upload(pool), device_pages.upload(pages), device_live.upload(live);
    using pair0 = typename Block::raw_pair;
    using pair1 = typename Block::sealed_pair;
    std::uint32_t slot = 0;
    host.count = 1 + random() % 4;
    for (std::uint32_t i = 0; i < host.count; ++i) {
      kv::run& r = host.runs[i] = {};
      slot += random() % 2 * (random() % 7);
      const std::uint32_t tiles = 1 + random() % 7;
      r.form = static_cast<std::uint8_t>(random() % 2);
      r.value_offset = static_cast<std::uint32_t>(r.form == 0 ? pair0{}.value_offset(Block::dim) : pair1{}.value_offset(Block::dim));
      r.tokens = (tiles - 1) * tile_tokens + 1 + random() % tile_tokens;
      r.slot = slot, r.position = static_cast<std::int32_t>(slot * tile_tokens), r.page_stride = stride;
      r.bias = static_cast<float>(random() % 2), r.exempt = random() % 4 == 0;
      if (random() % 2 != 0) r.pages = pages.data() + slot;
      if (random() % 2 != 0) r.live = live.data() + slot;
      r.base = pool.data();
      slot += tiles;
    }
    if (random() % 2 != 0) host.sees = {static_cast<std::uint32_t>(random() % 200), static_cast<std::uint32_t>(1 + random() % 500)};
    device = host;
    for (std::uint32_t i = 0; i < host.count; ++i) {
      kv::run& r = device.runs[i];
      r.base = device_pool.data();
      if (r.pages) r.pages = device_pages.data() + r.slot;
      if (r.live) r.live = device_live.data() + r.slot;
    }
  }
};

template <class Block>
void check(unsigned seed) {
  std::mt19937 random(seed);
  const random_head<Block> h(random);
  const std::uint32_t slots = h.host.slots(), end = ceil_div(slots, piece_tiles) + random() % 2;
  attention::problem p{.dim_k = Block::dim, .dim_v = Block::dim};
  if (random() % 3 == 0) p.window = 1 + random() % 300;
  attention::work_item item{0, 0, static_cast<std::uint32_t>(random() % (slots * tile_tokens + 64)), static_cast<std::uint32_t>(1 + random() % 8), {0, 0, end}};
  if (end > 1 && random() % 2 != 0) item.pieces.sinks = random() % end, item.pieces.recent = item.pieces.sinks + random() % (end - item.pieces.sinks);
  const std::uint32_t from = random() % item.pieces.count(), to = from + 1 + random() % (item.pieces.count() - from);
  const std::size_t room = std::size_t{piece_tiles} * (to - from);
  device_array<cuda::staged_tile> tiles(room, "descriptions");
  device_array<std::uint32_t> words(room * stage_words<Block>, "bytes"), count(2, "count");
  const status launched = device::launch(&drain<Block>, {.threads = cuda::block_threads, .shared_bytes = sizeof(typename Block::memory)}, {}, h.device, p, item, from, to, tiles.data(), words.data(), count.data());
  device_test::finish();
  REQUIRE(launched);
  const auto got = tiles.download();
  const auto bytes = words.download();

  std::uint32_t n = 0, exact = 0;
  const auto next = [&](const kv::run& r, std::uint32_t slot) {
    const cuda::staged_tile& t = got[n];
    const std::uint32_t index = slot - r.slot;
    CAPTURE(seed, slot, n);
    CHECK(t.live == r.live_bits(index));
    CHECK(t.position == r.position_of(index * tile_tokens));
    CHECK((t.bias == r.bias && t.form == r.form && t.exempt == r.exempt));
    bool all = t.live == ~std::uint64_t{0};
    for (std::uint32_t q = item.first; q < item.first + item.count; ++q)
      for (std::uint32_t key = static_cast<std::uint32_t>(t.position); key < static_cast<std::uint32_t>(t.position) + tile_tokens; ++key)
        all = all && (r.exempt || h.host.sees.sees(q, key)) && (kv::visibility{0, p.window}.sees(q, key) || (r.exempt && p.window == kv::visibility::everything));
    if (t.whole) CHECK(all);  // saying no is always right; where nothing but causality and the model's window limits it, whole tiles are found
    if (!r.exempt && !h.host.sees.limited()) CHECK(t.whole == all);
    const auto same = [&]<class Pair>(Pair) {
      using keys = typename Block::template key_operand<Pair>;
      using values = typename Block::template value_operand<Pair>;
      const std::uint32_t* at = bytes.data() + n * stage_words<Block>;
      return std::memcmp(at, r.tile(index), tile_words<keys> * 4) == 0 && std::memcmp(at + tile_words<keys>, r.tile(index) + r.value_offset, tile_words<values> * 4) == 0;
    };
    CHECK((r.form == 0 || Block::one_form ? same(typename Block::raw_pair{}) : same(typename Block::sealed_pair{})));
    ++n, exact += r.form == 0;
  };
  for (std::uint32_t ordinal = from; ordinal < to; ++ordinal) {
    const std::uint32_t before = n;
    for (int pass = 0; pass < (Block::rotated_values ? 2 : 1); ++pass)  // exact tiles first where sealed values are rotated
      for (std::uint32_t slot = item.pieces.piece(ordinal) * piece_tiles; slot < (item.pieces.piece(ordinal) + 1) * piece_tiles; ++slot)
        for (std::uint32_t i = 0; i < h.host.count; ++i)
          if (const kv::run& r = h.host.runs[i]; slot >= r.slot && slot < r.slot + r.tiles() && (!Block::rotated_values || r.form == pass)) next(r, slot);
    if (n == before) {  // a piece of which nothing is kept: one description without a tile
      CHECK((got[n].live == 0 && got[n].form == 2));
      ++n;
    }
    for (std::uint32_t i = before; i < n; ++i) {
      CHECK(got[i].last == (i + 1 == n));
      CHECK(got[i].turns == (Block::rotated_values && got[i].form == 0 && (i + 1 == n || got[i + 1].form != 0)));
    }
  }
  const auto turns = count.download();
  CHECK(turns[0] == n);
  if (Block::raw_places == 1 || exact == 0) CHECK(turns[1] == 0);  // nothing waits but for an exact tile among smaller ones
  CHECK(turns[1] <= exact * (Block::raw_places + Block::ring_tiles));
}

template <int Bits>
using rotated = kv::codec_pair<kv::hadamard<kv::integer<Bits, kv::group::column>>, kv::hadamard<kv::integer<Bits, kv::group::row>>>;
template <class Pair, std::uint32_t Dim, std::uint32_t Tiles, cuda::copying How = cuda::copying::async>
using block_of = cuda::fold_block<kv::paged<Pair>, float, Dim, 8, Tiles, cuda::copies_of<How, Tiles>>;
constexpr cuda::copying bulk = device::architectures[0] >= 900 ? cuda::copying::bulk : cuda::copying::async;

}  // namespace

TEST_CASE("cuda tile queue: every tile that is kept comes once, in order, exact ones first where values are rotated") {
  for (unsigned seed = 0; seed < 30; ++seed) {
    check<block_of<kv::raw_bf16, 32, 3>>(seed);
    check<block_of<rotated<4>, 32, 5, bulk>>(1000 + seed);
  }
  for (unsigned seed = 0; seed < 10; ++seed) {
    check<block_of<rotated<8>, 16, 2>>(2000 + seed);
    check<block_of<kv::codec_pair<kv::fp8>, 48, 4, bulk>>(3000 + seed);
    check<block_of<kv::raw_bf16, 16, 2, bulk>>(4000 + seed);
    check<block_of<rotated<4>, 32, 4>>(5000 + seed);  // an exact tile is all there is room for
    check<block_of<rotated<4>, 32, 11, bulk>>(6000 + seed);
    check<block_of<kv::codec_pair<kv::fp8>, 32, 7>>(7000 + seed);
  }
}
