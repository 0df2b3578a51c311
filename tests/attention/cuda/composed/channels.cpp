// SPDX-License-Identifier: Apache-2.0
#include "attention/cuda/composed/matrix.hpp"

TEST_CASE("cuda, every pair: int4, scales of keys by channel") { composed::check_codec<composed::with_int4_channel>(); }
TEST_CASE("cuda, every pair: int4, rotated") { composed::check_codec<composed::with_int4_rotated>(); }
TEST_CASE("cuda, every pair: int8, rotated") { composed::check_codec<composed::with_int8_rotated>(); }
TEST_CASE("cuda, every pair: int2 with factors and outliers") { composed::check_codec<composed::with_gear_2>(); }
TEST_CASE("cuda, every pair: int3, scales for 32 tokens of a channel and 32 channels of a token") { composed::check_codec<composed::with_int3_groups>(); }
