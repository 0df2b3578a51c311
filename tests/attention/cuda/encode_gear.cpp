// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/encode_gear.cuh"

#include "attention/cuda/encode_gear_check.hpp"
#include "catch.hpp"

using namespace encode_gear_check;

namespace {

template <class Codec, class Raw = kv::raw<bf16>>
void check_all(std::initializer_list<std::uint32_t> dims) {
  for (std::uint32_t dim : dims)
    for (kv::side which : {kv::side::key, kv::side::value})
      for (rows what : {rows::noise, rows::spiky}) check<Codec, Raw>(which, dim, what);
  for (rows what : {rows::low_rank, rows::equal, rows::zero, rows::ramps, rows::huge}) check<Codec, Raw>(kv::side::key, 64, what), check<Codec, Raw>(kv::side::value, 64, what);
}

}  // namespace

TEST_CASE("cuda encode: backbone, outliers and factors of a tile") {
  check_all<gear<integer<2, group::row>, 2, 2>>({24, 64, 128, 256});
  check_all<gear<integer<4, group::column>, 8, 6>, kv::raw<float>>({64});
}
TEST_CASE("cuda encode: factors alone, outliers alone, and behind a scale of two bytes") {
  check_all<gear<integer<4, group::row>, 2, 0>>({64});
  check_all<gear<integer<2, group::row>, 0, 4>>({96});
  check_all<gear<kv::fp8, 1, 2>>({40});
}
TEST_CASE("cuda encode: repaired tiles in a rotated basis") { check_all<kv::hadamard<gear<integer<4, group::row>, 2, 2>>>({96}); }
