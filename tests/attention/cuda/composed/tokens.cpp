// SPDX-License-Identifier: Apache-2.0
#include "attention/cuda/composed/matrix.hpp"

TEST_CASE("cuda, every pair: int8, scales by token") { composed::check_codec<composed::with_int8>(); }
TEST_CASE("cuda, every pair: int4, scales by token") { composed::check_codec<composed::with_int4>(); }
TEST_CASE("cuda, every pair: int2, scales by token") { composed::check_codec<composed::with_int2>(); }
