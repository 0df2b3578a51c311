// SPDX-License-Identifier: Apache-2.0
// Minutes of compiling and running: hidden, and built by nobody who does not ask for it.
#include "attention/cuda/composed/matrix.hpp"

using namespace composed;

TEST_CASE("cuda, the full grid: heads of sinks and a window, bf16", "[.full]") { check_grid<with_bf16, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, f16", "[.full]") { check_grid<with_f16, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, fp8", "[.full]") { check_grid<with_fp8, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, int8, scales by token", "[.full]") { check_grid<with_int8, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, int4, scales by token", "[.full]") { check_grid<with_int4, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, int2, scales by token", "[.full]") { check_grid<with_int2, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, int4, scales of keys by channel", "[.full]") { check_grid<with_int4_channel, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, int4, rotated", "[.full]") { check_grid<with_int4_rotated, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, int8, rotated", "[.full]") { check_grid<with_int8_rotated, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, int2 with factors and outliers", "[.full]") { check_grid<with_gear_2, in_windows>(); }
TEST_CASE("cuda, the full grid: heads of sinks and a window, int3, scales in groups of 32", "[.full]") { check_grid<with_int3_groups, in_windows>(); }
