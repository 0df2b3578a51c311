// SPDX-License-Identifier: Apache-2.0
// Decode attention alone, codec by codec: one query token (9 query heads, 3 kv heads of 64) over a cache far larger than the last
// level cache, and over one that stays in L2. Arms alternate in one process with bf16 (and with the backbone a codec repairs);
// every round also reads the same bytes with plain loads. Ratios are medians over rounds, so drift cancels.
// usage: bench_attention [--workers N] [--rounds N] [--megabytes N] [--only TEXT] [--json FILE]
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "../flags.hpp"
#include "arm.hpp"

using namespace quire;
using quire_bench::arm;

namespace {

using maker = std::function<std::unique_ptr<arm>(thread_executor&, std::size_t)>;
struct entry {
  const char* name;
  const char* backbone;   ///< name of the entry this one repairs, or null
  maker make;
};
template <class Pair>
entry cache(const char* name, const char* backbone = nullptr) {
  return {name, backbone, [name](thread_executor& pool, std::size_t bytes) -> std::unique_ptr<arm> {
            using L = kv::paged<Pair>;
            return std::make_unique<quire_bench::cache_arm<L>>(name, pool, L(quire_bench::heads), quire_bench::tokens_for<Pair>(bytes));
          }};
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

result measure(const entry& e, const entry* base, thread_executor& pool, unsigned rounds, std::size_t bytes) {
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
    for (unsigned i = 0; i < rounds; ++i) {
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

void write_json(const char* path, const std::vector<result>& results, unsigned workers, unsigned rounds, std::size_t bytes) {
  std::FILE* f = std::fopen(path, "w");
  if (!f) {
    std::fprintf(stderr, "--json %s: cannot be written\n", path);
    std::exit(2);
  }
  std::fprintf(f, "{\"isa\": \"%s\", \"workers\": %u, \"rounds\": %u, \"sealed_bytes\": %zu, \"q_heads\": 9, \"kv_heads\": 3, \"head_dim\": 64, \"codecs\": [",
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
  unsigned workers = std::max(1u, std::thread::hardware_concurrency()), rounds = 9, megabytes = 512;
  const char *only = "", *json = nullptr;
  if (const int wrong = quire_bench::read_flags(argc, argv, {{"--workers", &workers}, {"--rounds", &rounds}, {"--megabytes", &megabytes}}, {{"--only", &only}, {"--json", &json}})) return wrong;
  thread_executor pool(workers);
  const std::size_t bytes = std::size_t{megabytes} << 20;
  std::printf("%s, %u workers, %u rounds, %u MB of sealed tiles; ns of one kv head group's token; ratios to bf16\n", simd::isa_name(), workers, rounds, megabytes);
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
