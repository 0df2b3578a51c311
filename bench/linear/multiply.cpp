// SPDX-License-Identifier: Apache-2.0
// Packed weights at the machine's wall. Prints JSON: mat-vec over one token's matrices of a 135M-parameter llama (30
// layers of Q4_1, a Q8_0 head) beside the read bandwidth of the same bytes, alternating; mat-mat rates for several row
// counts. usage: bench_multiply [workers = all] [repetitions = 15]
#include "quire/linear/cpu/multiply.hpp"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../bandwidth.hpp"
#include "quire/core/extents.hpp"

using namespace quire;
using namespace quire::linear;
using namespace quire::linear::cpu;

namespace {

struct shape {
  source_type type;
  std::uint32_t rows, cols;
};

/// A packed matrix of random weights.
matrix fill(shape s, std::byte* to, std::mt19937& random) {
  std::vector<std::byte> source(source_bytes(s.type, s.cols) * s.rows);
  const std::size_t block = s.type == source_type::q4_1 ? 20 : 34, heads = s.type == source_type::q4_1 ? 4 : 2;
  for (std::size_t i = 0; i < source.size(); ++i) {
    const std::uint16_t half = f16::from(0.01f + 0.0001f * static_cast<float>(random() % 64)).bits;
    const std::size_t k = i % block;
    source[i] = k < heads ? static_cast<std::byte>(k % 2 ? half >> 8 : half & 255) : static_cast<std::byte>(random());
  }
  if (s.type == source_type::f32 || s.type == source_type::bf16) {
    const float w = 0.01f;
    const std::uint16_t b = bf16::from(w).bits;
    for (std::size_t i = 0; i < source.size(); ++i) {
      const auto bits = s.type == source_type::f32 ? std::bit_cast<std::uint32_t>(w) >> 8 * (i % 4)
                                                   : static_cast<std::uint32_t>(b) >> 8 * (i % 2);
      source[i] = static_cast<std::byte>(bits);
    }
  }
  if (const status outcome = pack(s.type, source.data(), 0, s.rows, s.rows, s.cols, to); !outcome) {
    std::fprintf(stderr, "%s\n", describe(outcome).c_str());
    std::exit(1);
  }
  return {packed_as(s.type), s.rows, s.cols, to};
}

/// What one instruction can do: operations per second of dot_u8s8 (bytes) or of f32 multiply-adds, in registers, with
/// all workers. It drifts too (shared cores), so each row of results carries the peak of its own moment.
double peak(thread_executor& executor, bool bytes) {
  namespace hn = simd::hn;
  constexpr int chains = 12, rounds = 2000000;
  const simd::f32_tag d;
  const simd::i32_of<simd::f32_tag> di;
  const simd::u32_of<simd::f32_tag> du;
  std::vector<float> sink(executor.workers() * 16);
  const double start = quire_bench::seconds();
  executor.run([&](const team& t) {
    volatile std::uint32_t seed = 0x01020304u;
    const auto a = hn::Set(du, seed);
    const auto x = hn::Set(d, static_cast<float>(seed) * 1e-9f);
    hn::Vec<simd::i32_of<simd::f32_tag>> sums[chains];
    hn::Vec<simd::f32_tag> totals[chains];
    for (int i = 0; i < chains; ++i) sums[i] = hn::Set(di, i + 1), totals[i] = hn::Zero(d);
    if (bytes)
      for (int r = 0; r < rounds; ++r)
        kernel::unroll<chains>([&](auto i) __attribute__((always_inline)) {
          sums[i] = simd::dot_u7s8(di, sums[i], a, hn::BitCast(du, sums[i]));
        });
    else
      for (int r = 0; r < rounds; ++r)
        kernel::unroll<chains>([&](auto i) __attribute__((always_inline)) { totals[i] = hn::MulAdd(x, x, totals[i]); });
    for (int i = 1; i < chains; ++i) sums[0] = hn::Add(sums[0], sums[i]), totals[0] = hn::Add(totals[0], totals[i]);
    sink[t.worker * 16] = hn::GetLane(hn::Add(totals[0], hn::ConvertTo(d, sums[0])));
  });
  const double elapsed = quire_bench::seconds() - start;
  volatile float keep = sink[0];
  static_cast<void>(keep);
  return executor.workers() * double{rounds} * chains * static_cast<double>(hn::Lanes(d)) * (bytes ? 8 : 2) / elapsed;
}

std::vector<float> normal(std::size_t n, std::mt19937& random) {
  std::normal_distribution<float> d;
  std::vector<float> v(n);
  for (auto& x : v) x = d(random);
  return v;
}

}  // namespace

int main(int argc, char** argv) {
  const unsigned all = std::max(1u, std::thread::hardware_concurrency());
  const unsigned workers = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : all;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 15;
  thread_executor executor(workers);
  std::mt19937 random(1);

  std::vector<shape> shapes;
  for (int layer = 0; layer < 30; ++layer)
    for (const shape s : {shape{source_type::q4_1, 960, 576}, shape{source_type::q4_1, 576, 576},
                          shape{source_type::q4_1, 3072, 576}, shape{source_type::q4_1, 576, 1536}})
      shapes.push_back(s);
  shapes.push_back({source_type::q8_0, 49152, 576});
  std::size_t bytes = 0;
  for (const auto& s : shapes) bytes += round_up(packed_bytes(packed_as(s.type), s.rows, s.cols), 64);
  quire_bench::big_buffer weights(bytes);
  std::vector<matrix> matrices;
  std::size_t at = 0;
  for (const auto& s : shapes) {
    matrices.push_back(fill(s, weights.data() + at, random));
    at += round_up(packed_bytes(packed_as(s.type), s.rows, s.cols), 64);
  }

  const auto x = normal(1536, random);
  std::vector<float> y(49152);
  std::vector<std::vector<std::byte>> codes(workers,
                                            std::vector<std::byte>(activations::workspace_bytes(1, 1536) + 64));
  const auto token = [&] {
    executor.run([&](const team& t) {
      for (const matrix& m : matrices) {
        const activations a{x.data(), m.cols, 1, m.cols, codes[t.worker].data()};
        static_cast<void>(quantize(a));
        multiply(t, m, a, y.data(), m.rows);
        t.barrier();
      }
    });
  };
  token();
  std::vector<double> rate, wall, share;
  for (int i = 0; i < repetitions; ++i) {
    const double read = quire_bench::read_bandwidth(executor, weights.data(), bytes);
    const double start = quire_bench::seconds();
    token();
    const double got = static_cast<double>(bytes) / (quire_bench::seconds() - start);
    const double again = quire_bench::read_bandwidth(executor, weights.data(), bytes);
    rate.push_back(got * 1e-9);
    wall.push_back((read + again) / 2 * 1e-9);
    share.push_back(got / ((read + again) / 2));
  }
  std::printf(
      "{\"isa\": \"%s\", \"workers\": %u, \"matvec\": {\"bytes\": %zu, \"GB_per_s\": %.2f, \"read_GB_per_s\": %.2f, "
      "\"share_of_read\": %.3f, \"passes_per_s\": %.1f},\n \"matmat\": [\n",
      simd::isa_name(), workers, bytes, quire_bench::median(rate), quire_bench::median(wall),
      quire_bench::median(share), quire_bench::median(rate) * 1e9 / static_cast<double>(bytes));

  bool first = true;
  for (const shape s :
       {shape{source_type::q4_1, 3072, 576}, shape{source_type::q4_1, 576, 1536}, shape{source_type::q8_0, 3072, 576},
        shape{source_type::bf16, 3072, 576}, shape{source_type::f32, 3072, 576}}) {
    quire_bench::big_buffer space(packed_bytes(packed_as(s.type), s.rows, s.cols));
    const matrix m = fill(s, space.data(), random);
    for (const std::uint32_t n : {1u, 4u, 16u, 64u, 256u, 512u}) {
      const auto rows = normal(std::size_t{n} * s.cols, random);
      std::vector<std::byte> work(activations::workspace_bytes(n, s.cols));
      std::vector<float> out(std::size_t{n} * s.rows);
      const activations a{rows.data(), s.cols, n, s.cols, work.data()};
      const double operations = 2.0 * n * s.rows * s.cols;
      const int passes = std::max(1, static_cast<int>(2e9 / operations));
      std::vector<double> sample, part;
      const bool quantized = m.type == weight_type::q4_1 || m.type == weight_type::q8_0;
      for (int i = 0; i < repetitions; ++i) {
        const double start = quire_bench::seconds();
        executor.run([&](const team& t) {
          for (int p = 0; p < passes; ++p) {
            if (quantized) static_cast<void>(quantize(a, t.share(n)));
            t.barrier();
            multiply(t, m, a, out.data(), s.rows);
            t.barrier();
          }
        });
        sample.push_back(operations * passes / (quire_bench::seconds() - start) * 1e-9);
        part.push_back(sample.back() * 1e9 / peak(executor, quantized));
      }
      static const char* const names[] = {"f32", "bf16", "q4_1", "q8_0"};
      std::printf(
          "%s  {\"type\": \"%s\", \"rows\": %u, \"cols\": %u, \"n\": %u, \"Gop_per_s\": %.1f, "
          "\"share_of_peak\": %.3f}",
          first ? "" : ",\n", names[static_cast<int>(m.type)], s.rows, s.cols, n, quire_bench::median(sample),
          quire_bench::median(part));
      first = false;
    }
  }
  std::printf("]}\n");
}
