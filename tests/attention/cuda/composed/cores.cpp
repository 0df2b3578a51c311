// SPDX-License-Identifier: Apache-2.0
// One and two rows a kv head, on CUDA cores: every codec, and every layout and head size with some of them.
#include "attention/cuda/composed/matrix.hpp"

using namespace composed;

TEST_CASE("cuda, one or two rows: 16-bit and fp8") {
  check_group<with_bf16, in_pages, 128, 2>(2, {by_lean_split, by_no_split, by_fixed_split, by_heuristic}, 1);
  check_group<with_f16, in_two_groups, 64, 1>(1, {by_fixed_split, by_no_split}, 2);
  check_group<with_fp8, in_windows, 96, 2>(1, {by_heuristic, by_lean_split}, 3);
}
TEST_CASE("cuda, one or two rows: codes scaled by token") {
  check_group<with_int8, in_pages, 64, 1>(1, {by_lean_split, by_fixed_split}, 4);
  check_group<with_int4, in_two_groups, 256, 2>(2, {by_no_split, by_fixed_split}, 5);
  check_group<with_int2, in_pages, 64, 2>(2, {by_heuristic, by_fixed_split}, 6);
}
TEST_CASE("cuda, one or two rows: scales of keys by channel, repaired and rotated codes") {
  check_group<with_int4_channel, in_windows, 64, 2>(2, {by_lean_split, by_fixed_split}, 7);
  check_group<with_gear_2, in_two_groups, 64, 2>(2, {by_heuristic, by_fixed_split}, 10);
  check_group<with_int3_groups, in_pages, 128, 2>(2, {by_lean_split, by_fixed_split}, 11);
  check_group<with_int4_rotated, in_two_groups, 128, 2>(2, {by_lean_split, by_no_split, by_fixed_split, by_heuristic}, 8);
  check_group<with_int8_rotated, in_pages, 96, 1>(1, {by_heuristic, by_fixed_split}, 9);
}
TEST_CASE("cuda, one or two rows: the largest errors") {
  for (std::uint32_t c = 0; c < codecs; ++c) {
    INFO("codec " << c << ": " << worst_of(c));
    CHECK(worst_of(c) < 1);
  }
}
