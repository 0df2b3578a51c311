// SPDX-License-Identifier: Apache-2.0
// Decode attention alone, codec by codec: one query token (9 query heads, 3 kv heads of 64) over a cache far larger than the last
// level cache, and over one that stays in L2. Arms alternate in one process with bf16 (and with the backbone a codec repairs);
// every round also reads the same bytes with plain loads. Ratios are medians over rounds, so drift cancels.
// usage: bench_attention [--workers N] [--rounds N] [--megabytes N] [--only TEXT] [--json FILE]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../bandwidth.hpp"
#include "quire/attention/cpu/attend.hpp"
#include "quire/attention/cpu/product_balanced.hpp"
#include "quire/attention/cpu/product_fp8.hpp"
#include "quire/attention/cpu/product_gear.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/kv/store.hpp"

using namespace quire;

namespace {

constexpr attention::problem shape{.q_heads = 9, .kv_heads = 3};
constexpr extents heads{1, 3, 64};

/// One cache with one sequence, and the time of one decode step over it.
struct arm {
  std::string name;
  double token_bytes = 0, bits = 0;
  std::uint32_t tokens = 0;
  virtual ~arm() = default;
  /// Seconds per step over `repeat` steps in one parallel region.
  virtual double step(int repeat) = 0;
  virtual double read() = 0;   ///< bytes a second of plain loads over the sealed tiles
  double ns_per_token(int repeat) { return step(repeat) * 1e9 / tokens; }
};

/// Rows like a model's: keys with a few large channels, values with one; heavy tokens now and then.
void draw(kv::tile_shape s, kv::side which, std::mt19937& random, float* x) {
  std::normal_distribution<float> normal;
  for (std::uint32_t r = 0; r < s.rows; ++r)
    for (std::uint32_t c = 0; c < s.columns; ++c) {
      const std::uint32_t channel = which == kv::side::key ? r : c, token = which == kv::side::key ? c : r;
      const bool large = which == kv::side::key ? channel % 29 == 3 : channel % 61 == 5;
      x[r * s.columns + c] = normal(random) * (large ? 8.0f : 1.0f) * (token % 31 == 7 ? 3.0f : 1.0f);
    }
}

template <class Pair>
class cache_arm : public arm {
 public:
  using L = kv::paged<Pair>;
  cache_arm(const char* title, thread_executor& pool, std::size_t bytes)
      : layout_(heads), length_(tokens_for(layout_, bytes)), store_(layout_, options(length_)), work_(layout_, shape, pool.workers(), 1, 1, length_ + 1), pool_(pool) {
    name = title, tokens = length_;
    token_bytes = static_cast<double>(kv::page_bytes(layout_, 0)) / tile_tokens;
    bits = (kv::bits_per_element(layout_.sealed().key, kv::shape_of(kv::side::key, heads.head_dim)) +
            kv::bits_per_element(layout_.sealed().value, kv::shape_of(kv::side::value, heads.head_dim))) / 2;
    if (!store_.open(sequence_) || !store_.reserve(sequence_, length_)) std::abort();
    fill();
    if (!store_.commit(sequence_, length_) || !store_.reserve(sequence_, 1)) std::abort();
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    q_.resize(shape.q_heads * 64), k_.resize(shape.kv_heads * 64), v_ = k_, out_ = q_;
    for (auto* row : {&q_, &k_, &v_})
      for (float& x : *row) x = normal(random);
  }
  double step(int repeat) override {
    const attention::query_span span{sequence_, length_, 1, 0};
    attention::cpu::layer_call<L> c{store_.view(), shape, 0, {&span, 1}};
    c.q = q_.data(), c.k = k_.data(), c.v = v_.data(), c.out = out_.data();
    c.ldq = c.ldo = q_.size(), c.ldkv = k_.size();
    const double start = quire_bench::seconds();
    pool_.run([&](const team& t) {
      for (int i = 0; i < repeat; ++i) attention::cpu::attend(t, c, work_);
    });
    return (quire_bench::seconds() - start) / repeat;
  }
  double read() override { return quire_bench::read_bandwidth(pool_, store_.view().base[0], length_ / tile_tokens * kv::page_bytes(layout_, 0)); }

 private:
  static std::uint32_t tokens_for(const L& l, std::size_t bytes) {  // whole pieces
    return std::max<std::uint32_t>(1, static_cast<std::uint32_t>(bytes / (kv::page_bytes(l, 0) * piece_tiles))) * piece_tokens;
  }
  static kv::store_options<L> options(std::uint32_t tokens) {
    static const std::vector<float> ones(heads.head_dim, 1.0f);
    kv::store_options<L> o{.sequences = 1, .max_tokens = tokens + 64, .params = reinterpret_cast<const std::byte*>(ones.data())};
    o.pages[0] = tokens / tile_tokens;
    return o;
  }
  /// Seals a few hundred tiles and repeats their bytes.
  void fill() {
    const Pair pair = layout_.sealed();
    const std::size_t piece = pair.piece_bytes(heads.head_dim);
    const std::uint32_t distinct = std::min<std::uint32_t>(256, length_ / tile_tokens * heads.kv_heads);
    std::vector<std::byte> pieces(piece * distinct);
    std::vector<float> x(64 * 64);
    std::mt19937 random(1);
    const auto view = store_.view();
    for (std::uint32_t i = 0; i < distinct; ++i)
      for (kv::side which : {kv::side::key, kv::side::value}) {
        const kv::tile_shape s = kv::shape_of(which, heads.head_dim);
        draw(s, which, random, x.data());
        std::byte* to = pieces.data() + i * piece + (which == kv::side::key ? 0 : pair.value_offset(heads.head_dim));
        if (which == kv::side::key) pair.key.encode(view.context(0, 0, i, which), s, x.data(), to);
        else pair.value.encode(view.context(0, 0, i, which), s, x.data(), to);
      }
    for (std::uint32_t t = 0, i = 0; t < length_ / tile_tokens; ++t)
      for (std::uint32_t h = 0; h < heads.kv_heads; ++h, ++i) std::memcpy(view.sealed(sequence_, 0, h, t), pieces.data() + i % distinct * piece, piece);
  }

  L layout_;
  std::uint32_t length_, sequence_ = 0;
  kv::store<L> store_;
  attention::cpu::workspace<L> work_;
  thread_executor& pool_;
  std::vector<float> q_, k_, v_, out_;
};

using maker = std::function<std::unique_ptr<arm>(thread_executor&, std::size_t)>;
struct entry {
  const char* name;
  const char* backbone;   ///< name of the entry this one repairs, or null
  maker make;
};
template <class Pair>
entry cache(const char* name, const char* backbone = nullptr) {
  return {name, backbone, [name](thread_executor& pool, std::size_t bytes) { return std::make_unique<cache_arm<Pair>>(name, pool, bytes); }};
}

using kv::codec_pair, kv::group, kv::hadamard, kv::integer;
template <int Bits, std::uint32_t Size = 0>
using by_token = codec_pair<integer<Bits, group::column, Size>, integer<Bits, group::row, Size>>;
template <int Bits, std::uint32_t Size = 0>
using by_channel = codec_pair<integer<Bits, group::row, Size>, integer<Bits, group::row, Size>>;

template <int Bits, std::uint32_t Size, std::uint32_t Rank, std::uint32_t Outliers>
using repaired = codec_pair<kv::gear<integer<Bits, group::row, Size>, Rank, Outliers>>;
using int4_hadamard = codec_pair<hadamard<integer<4, group::column>>, hadamard<integer<4, group::row>>>;
using int2_balanced = codec_pair<kv::balanced<integer<2, group::column, 32>>, integer<2, group::row, 32>>;

const std::vector<entry>& entries() {
  static const std::vector<entry> list = {
      cache<kv::raw_bf16>("bf16"),
      cache<codec_pair<kv::fp8>>("fp8"),
      cache<by_token<8>>("int8 token"),
      cache<by_token<4>>("int4 token"),
      cache<by_channel<4>>("int4 channel"),
      cache<by_channel<4, 32>>("int4 channel g32"),
      cache<by_channel<3, 32>>("int3 channel g32"),
      cache<by_channel<2>>("int2 channel"),
      cache<by_channel<2, 32>>("int2 channel g32"),
      cache<by_token<2, 32>>("int2 token g32"),
      cache<int4_hadamard>("int4 hadamard"),
      cache<int2_balanced>("int2 token g32 balanced", "int2 token g32"),
      cache<repaired<4, 0, 2, 0>>("gear int4 r2", "int4 channel"),
      cache<repaired<4, 0, 2, 2>>("gear int4 r2 s2", "int4 channel"),
      cache<repaired<2, 0, 2, 2>>("gear int2 r2 s2", "int2 channel"),
      cache<repaired<2, 32, 2, 0>>("gear int2 g32 r2", "int2 channel g32"),
      cache<repaired<2, 32, 2, 2>>("gear int2 g32 r2 s2", "int2 channel g32"),
      cache<repaired<2, 32, 4, 2>>("gear int2 g32 r4 s2", "int2 channel g32"),
  };
  return list;
}

/// Medians of one codec beside bf16 (and its backbone).
struct result {
  std::string name, backbone;
  double bits = 0, bytes_ratio = 0;                       ///< of bf16
  double memory_ns = 0, memory_ratio = 0, l2_ns = 0, l2_ratio = 0;
  double GBs = 0, read_GBs = 0, share = 0;
  double base_bytes_ratio = 0, base_memory_ratio = 0, base_l2_ratio = 0;
  double limit() const { return 1.25 * std::max(bytes_ratio, l2_ratio); }
  bool passes() const { return memory_ratio <= limit(); }
  double base_limit() const { return 1.15 * base_bytes_ratio; }
};

result measure(const entry& e, const entry* base, thread_executor& pool, int rounds, std::size_t bytes) {
  const entry& reference = entries().front();
  result out{.name = e.name, .backbone = base ? base->name : ""};
  for (const bool in_l2 : {false, true}) {
    const std::size_t size = in_l2 ? std::size_t{448} << 10 : bytes;
    const auto a = reference.make(pool, size), b = e.make(pool, size);
    const auto c = base ? base->make(pool, size) : nullptr;
    const int repeat = in_l2 ? 200 : 1;
    for (arm* x : {a.get(), b.get(), c.get()})
      if (x) x->step(repeat);
    std::vector<double> ratio, ns, base_ratio, rate, read, share;
    for (int i = 0; i < rounds; ++i) {
      const double first = a->ns_per_token(repeat), base_time = c ? c->ns_per_token(repeat) : 0, time = b->ns_per_token(repeat);
      const double bandwidth = in_l2 ? 1 : b->read();
      ratio.push_back(time / first), ns.push_back(time), base_ratio.push_back(c ? time / base_time : 0);
      rate.push_back(b->token_bytes / time), read.push_back(bandwidth * 1e-9), share.push_back(b->token_bytes / time / (bandwidth * 1e-9));
    }
    using quire_bench::median;
    if (in_l2) {
      out.l2_ns = median(ns), out.l2_ratio = median(ratio), out.base_l2_ratio = median(base_ratio);
    } else {
      out.memory_ns = median(ns), out.memory_ratio = median(ratio), out.base_memory_ratio = median(base_ratio);
      out.GBs = median(rate), out.read_GBs = median(read), out.share = median(share);
      out.bits = b->bits, out.bytes_ratio = b->token_bytes / a->token_bytes, out.base_bytes_ratio = c ? b->token_bytes / c->token_bytes : 0;
    }
  }
  return out;
}

void write_json(const char* path, const std::vector<result>& results, unsigned workers, int rounds, std::size_t bytes) {
  std::FILE* f = std::fopen(path, "w");
  if (!f) {
    std::fprintf(stderr, "--json %s: cannot be written\n", path);
    std::exit(2);
  }
  std::fprintf(f, "{\"isa\": \"%s\", \"workers\": %u, \"rounds\": %d, \"sealed_bytes\": %zu, \"q_heads\": 9, \"kv_heads\": 3, \"head_dim\": 64, \"codecs\": [",
               simd::isa_name(), workers, rounds, bytes);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const result& r = results[i];
    std::fprintf(f,
                 "%s\n {\"codec\": \"%s\", \"bits_per_element\": %.4f, \"bytes_ratio\": %.4f, \"memory_ns_per_token\": %.4f, \"memory_ratio\": %.4f, "
                 "\"l2_ns_per_token\": %.4f, \"l2_ratio\": %.4f, \"GB_per_s\": %.3f, \"read_GB_per_s\": %.3f, \"share_of_read\": %.4f, \"limit\": %.4f, \"passes\": %s",
                 i ? "," : "", r.name.c_str(), r.bits, r.bytes_ratio, r.memory_ns, r.memory_ratio, r.l2_ns, r.l2_ratio, r.GBs, r.read_GBs, r.share, r.limit(),
                 r.passes() ? "true" : "false");
    if (!r.backbone.empty())
      std::fprintf(f, ", \"backbone\": \"%s\", \"backbone_bytes_ratio\": %.4f, \"backbone_memory_ratio\": %.4f, \"backbone_l2_ratio\": %.4f, \"backbone_limit\": %.4f",
                   r.backbone.c_str(), r.base_bytes_ratio, r.base_memory_ratio, r.base_l2_ratio, r.base_limit());
    std::fprintf(f, "}");
  }
  std::fprintf(f, "\n]}\n");
  std::fclose(f);
}

}  // namespace

int main(int argc, char** argv) {
  unsigned workers = std::max(1u, std::thread::hardware_concurrency());
  int rounds = 9;
  std::size_t megabytes = 512;
  const char *only = "", *json = nullptr;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--only") only = value;
    else if (flag == "--json" && *value) json = value;
    else if (const int n = std::atoi(value); n < 1) return std::fprintf(stderr, "%s %s: flags are --workers, --rounds, --megabytes (each at least 1), --only, --json\n", flag.c_str(), value), 2;
    else if (flag == "--workers") workers = static_cast<unsigned>(n);
    else if (flag == "--rounds") rounds = n;
    else if (flag == "--megabytes") megabytes = static_cast<std::size_t>(n);
    else return std::fprintf(stderr, "%s: no such flag\n", flag.c_str()), 2;
  }
  thread_executor pool(workers);
  const std::size_t bytes = megabytes << 20;
  std::printf("%s, %u workers, %d rounds, %zu MB of sealed tiles; ns of one kv head group's token; ratios to bf16\n", simd::isa_name(), workers, rounds, megabytes);
  std::printf("%-24s %6s %7s %8s %7s %8s %7s %7s %7s %6s %7s\n", "codec", "bits", "bytes", "mem ns", "ratio", "L2 ns", "ratio", "GB/s", "read", "share", "limit");
  std::vector<result> results;
  for (const entry& e : entries()) {
    if (std::strstr(e.name, only) == nullptr || &e == &entries().front()) continue;
    const entry* base = nullptr;
    for (const entry& b : entries())
      if (e.backbone && std::strcmp(e.backbone, b.name) == 0) base = &b;
    const result r = measure(e, base, pool, rounds, bytes);
    std::printf("%-24s %6.3f %7.4f %8.3f %7.4f %8.3f %7.4f %7.2f %7.2f %6.3f %7.4f %s\n", r.name.c_str(), r.bits, r.bytes_ratio, r.memory_ns, r.memory_ratio, r.l2_ns, r.l2_ratio,
                r.GBs, r.read_GBs, r.share, r.limit(), r.passes() ? "pass" : "FAIL");
    if (base)
      std::printf("  over %-19s bytes %.4f, memory %.4f, L2 %.4f, limit %.4f: %s, in L2 %s\n", base->name, r.base_bytes_ratio, r.base_memory_ratio, r.base_l2_ratio, r.base_limit(),
                  r.base_memory_ratio <= r.base_limit() ? "pass" : "FAIL", r.base_l2_ratio <= r.base_limit() ? "pass" : "FAIL");
    std::fflush(stdout);
    results.push_back(r);
  }
  if (json) write_json(json, results, workers, rounds, bytes);
}
