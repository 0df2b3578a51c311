// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/encode.cuh"

#include <random>

#include "catch.hpp"
#include "device/memory.hpp"

using namespace quire;
using device_test::device_array;
namespace cuda = attention::cuda;
using kv::group;
using kv::integer;

namespace {

template <class Raw, class Codec>
__global__ void __launch_bounds__(cuda::block_threads) seal(kv::side which, std::uint32_t dim, const std::byte* exact, std::byte* out) {
  cuda::seal_tile<Raw, Codec>({.which = which}, dim, exact, out, reinterpret_cast<float*>(device::shared_memory()), cuda::thread_place::here());
}

enum class rows { usual, constant, zero, huge };

/// The bytes are those of the codec's own `encode`, and only they are written.
/// g++ without -ffp-contract leaves products alone, as the codec's own code does: bytes are equal. nvcc may fuse (x − minimum)·inverse + ½
/// or take rsqrtf for a rotation: a code may then be its neighbour, so on a GPU decoded elements lie within one step.
template <class Raw, class Codec>
void check(kv::side which, std::uint32_t dim, rows what) {
  const kv::tile_shape s = kv::shape_of(which, dim);
  std::mt19937 random(dim + static_cast<unsigned>(what));
  std::normal_distribution<float> normal;
  std::vector<float> x(s.elements());
  for (std::uint32_t i = 0; i < x.size(); ++i) {
    const std::uint32_t r = i / s.columns, c = i % s.columns;
    x[i] = what == rows::constant ? static_cast<float>(r % 3) - 1.25f : what == rows::zero ? 0.0f : normal(random) * static_cast<float>(1 + r % 5) * static_cast<float>(1 + c % 3) * (what == rows::huge ? 40000.0f : 1.0f);
  }
  const Raw raw{};
  const Codec codec{};
  std::vector<std::byte> exact(raw.tile_bytes(s)), want(codec.tile_bytes(s)), got(want.size() + 64, std::byte{0x5a});
  raw.encode({}, s, x.data(), exact.data());
  raw.decode({}, s, exact.data(), x.data());
  codec.encode({.which = which}, s, x.data(), want.data());
  const device_array<std::byte> device_exact(exact, "exact tile");
  device_array<std::byte> out(got, "sealed tile");
  const status launched = device::launch(&seal<Raw, Codec>, {.threads = cuda::block_threads, .shared_bytes = std::size_t{s.elements()} * sizeof(float)}, {}, which, dim, device_exact.data(), out.data());
  device_test::finish();
  REQUIRE(launched);
  got = out.download();
  CAPTURE(Codec::format(), Raw::format(), dim, static_cast<int>(which), static_cast<int>(what));
  for (std::size_t i = want.size(); i < got.size(); ++i) CHECK(got[i] == std::byte{0x5a});
  got.resize(want.size());
  if (device_test::emulated) {
    CHECK(got == want);
    return;
  }
  std::vector<float> a(s.elements()), b(s.elements());
  codec.decode({.which = which}, s, want.data(), a.data()), codec.decode({.which = which}, s, got.data(), b.data());
  float step = 0;
  for (float e : a) step = std::max(step, std::fabs(e));
  if constexpr (requires { Codec::levels; }) step *= 2.5f / Codec::levels;
  else step *= 0x1p-3f;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::fabs(a[i] - b[i]) <= step)) FAIL("element " << i << ": " << b[i] << " for " << a[i]);
}

template <class Raw, class... Codec>
void check_all(std::initializer_list<std::uint32_t> dims) {
  for (std::uint32_t dim : dims)
    for (kv::side which : {kv::side::key, kv::side::value}) (check<Raw, Codec>(which, dim, rows::usual), ...);
  for (rows what : {rows::constant, rows::zero, rows::huge}) (check<Raw, Codec>(kv::side::key, 64, what), ...);
}

}  // namespace

TEST_CASE("cuda encode: integer codes of every width, one group a row or column") {
  check_all<kv::raw<bf16>, integer<8, group::row>, integer<8, group::column>, integer<4, group::row>, integer<4, group::column>, integer<3, group::row>, integer<3, group::column>, integer<2, group::row>,
            integer<2, group::column>>({24, 64, 96, 256});
}
TEST_CASE("cuda encode: groups of 32 neighbours") {
  check_all<kv::raw<f16>, integer<4, group::row, 32>, integer<2, group::column, 32>, integer<3, group::row, 32>, integer<8, group::column, 32>>({40, 128});
}
TEST_CASE("cuda encode: fp8, other formats, the tail's own") {
  check_all<kv::raw<bf16>, kv::fp8, kv::raw<bf16>, kv::raw<f16>, kv::raw<float>>({24, 64, 256});
  check_all<kv::raw<float>, kv::fp8, kv::raw<bf16>, kv::raw<float>>({64});
}
TEST_CASE("cuda encode: rotated channels") {
  check_all<kv::raw<bf16>, kv::hadamard<integer<4, group::column>>, kv::hadamard<integer<4, group::row>>, kv::hadamard<kv::fp8>>({24, 64, 96, 128, 256});
}
