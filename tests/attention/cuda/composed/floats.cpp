// SPDX-License-Identifier: Apache-2.0
#include "attention/cuda/composed/matrix.hpp"

TEST_CASE("cuda, every pair: bf16") { composed::check_codec<composed::with_bf16>(); }
TEST_CASE("cuda, every pair: f16") { composed::check_codec<composed::with_f16>(); }
TEST_CASE("cuda, every pair: fp8") { composed::check_codec<composed::with_fp8>(); }
