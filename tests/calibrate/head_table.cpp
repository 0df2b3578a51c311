// SPDX-License-Identifier: Apache-2.0
#include "quire/calibrate/head_table.hpp"

#include <cmath>

#include "catch.hpp"

using namespace quire;
using calibrate::head_table;

TEST_CASE("a table is checked field by field") {
  const head_table good{.model = "a model", .how = "by hand", .layers = 2, .kv_heads = 3, .scores = {1, 2, 3, 4, 5, 6}};
  CHECK(check(good));
  CHECK(fits(good, 2, 3));
  CHECK(describe(fits(good, 3, 3)) == "unsupported_shape: layers of the head table is 2, allowed 3 to 3");
  CHECK(describe(fits(good, 2, 1)) == "unsupported_shape: kv_heads of the head table is 3, allowed 1 to 1");
  const auto why = [&](auto change) {
    head_table t = good;
    change(t);
    return describe(check(t));
  };
  CHECK(why([](head_table& t) { t.version = 2; }) == "version_mismatch: version is 2, allowed 1 to 1");
  CHECK(why([](head_table& t) { t.model.clear(); }) == "out_of_range: model (length) is 0, allowed 1 to 65536");
  CHECK(why([](head_table& t) { t.how.clear(); }) == "out_of_range: how (length) is 0, allowed 1 to 65536");
  CHECK(why([](head_table& t) { t.layers = 0; }) == "out_of_range: layers is 0, allowed 1 to 4096");
  CHECK(why([](head_table& t) { t.kv_heads = 5000; }) == "out_of_range: kv_heads is 5000, allowed 1 to 4096");
  CHECK(why([](head_table& t) { t.scores.pop_back(); }) == "out_of_range: scores (how many) is 5, allowed 6 to 6");
  CHECK(why([](head_table& t) { t.scores[4] = std::nan(""); }) == "not_finite: score of head is 4");
}
