// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/tuning/unit.cuh"

#include "catch.hpp"

using namespace quire;
using namespace quire::attention::cuda::tuning;

TEST_CASE("cuda tuning: a unit for several architectures takes the rows of the smallest processor") {
  static_assert(processor_bytes(800) == sm_80::processor_bytes && processor_bytes(870) == sm_80::processor_bytes);
  static_assert(processor_bytes(860) == sm_86::processor_bytes && processor_bytes(890) == sm_86::processor_bytes && processor_bytes(1200) == sm_86::processor_bytes);
  static_assert(processor_bytes(900) == sm_90::processor_bytes && processor_bytes(1000) == sm_90::processor_bytes && processor_bytes(1030) == sm_90::processor_bytes);
  constexpr std::uint32_t one[] = {900}, two[] = {800, 900}, three[] = {800, 860, 900}, newest[] = {900, 1200};
  static_assert(std::is_same_v<for_bytes<least_bytes(one)>, sm_90> && std::is_same_v<for_bytes<least_bytes(two)>, sm_80>);
  static_assert(std::is_same_v<for_bytes<least_bytes(three)>, sm_86> && std::is_same_v<for_bytes<least_bytes(newest)>, sm_86>);
  static_assert(device::architectures[0] >= 800);
  SUCCEED();
}
