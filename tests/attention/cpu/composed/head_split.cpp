// SPDX-License-Identifier: Apache-2.0
#include "matrix.hpp"

using namespace composed;

TEST_CASE("every codec resumes bit for bit in head splits with a fixed and with a growing window") {
  const kv::head_classes classes(shape, first_whole);
  each_codec([&]<class Pair>(const char* name) {
    check(kv::head_split<Pair>(shape, classes, kv::retain::sinks_window{10, 100}), name);
    check(kv::head_split<Pair>(shape, classes, kv::retain::scaled_window{64, 100, 3}), name);
  });
}

TEST_CASE("every codec resumes bit for bit in head splits that read their prompt whole") {
  const kv::head_classes classes(shape, first_whole);
  each_codec([&]<class Pair>(const char* name) {
    check(kv::head_split<Pair>(shape, classes, kv::retain::sinks_window{10, 100}), name, 300);
    check(kv::head_split<Pair, kv::raw_bf16, kv::remainder::mean_token>(shape, classes, kv::retain::scaled_window{64, 70, 4}), name, 256);
  });
}

TEST_CASE("every codec resumes bit for bit in head splits with a compensation token") {
  const kv::head_classes classes(shape, first_whole);
  each_codec([&]<class Pair>(const char* name) {
    check(kv::head_split<Pair, kv::raw_bf16, kv::remainder::mean_token>(shape, classes, kv::retain::scaled_window{64, 70, 4}), name);
  });
}
