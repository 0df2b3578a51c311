// SPDX-License-Identifier: Apache-2.0
#include "matrix.hpp"

using namespace composed;

TEST_CASE("every codec resumes bit for bit in pages") {
  each_codec([]<class Pair>(const char* name) { check(kv::paged<Pair>(shape), name); });
}
