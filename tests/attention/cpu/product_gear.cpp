// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cpu/product_gear.hpp"

#include "attention/cpu/product_check.hpp"
#include "quire/attention/cpu/product_balanced.hpp"

using namespace product_check;
using kv::gear;
using kv::group;
using kv::integer;

TEST_CASE("GEAR over integer backbones multiplies within the backbone's fixed-point error") {
  check<gear<integer<4, group::row>, 2, 2>>(exact, fixed_point<integer<4, group::row>>);
  check<gear<integer<2, group::row, 32>, 4, 2>>(exact, fixed_point<integer<2, group::row, 32>>);
  check<gear<integer<2, group::column>, 2, 2>>(exact, fixed_point<integer<2, group::column>>);
  check<gear<integer<3, group::row>, 1, 4>>(exact, fixed_point<integer<3, group::row>>);
  check<gear<integer<8, group::column>, 1, 2>>(exact, fixed_point<integer<8, group::column>>);
}
TEST_CASE("GEAR without outliers or without factors multiplies as well") {
  check<gear<integer<2, group::row>, 2, 0>>(exact, fixed_point<integer<2, group::row>>);
  check<gear<integer<2, group::row>, 0, 6>>(exact, fixed_point<integer<2, group::row>>);
  check<gear<integer<4, group::column>, 8, 0>>(exact, fixed_point<integer<4, group::column>>);
}
TEST_CASE("GEAR over a backbone of any kind multiplies") {
  check<gear<kv::raw<float>, 1, 2>>(exact, nothing);
  check<gear<kv::raw<f16>, 2, 2>>(exact, nothing);  // through the generic decode
  check<kv::hadamard<gear<integer<2, group::row>, 2, 2>>>(exact, fixed_point<integer<2, group::row>>);
  check<kv::balanced<gear<integer<2, group::column, 32>, 2, 2>>>(exact, fixed_point<integer<2, group::column, 32>>);
  check<gear<kv::balanced<integer<2, group::column, 32>>, 2, 2>>(exact, fixed_point<integer<2, group::column, 32>>);
}
