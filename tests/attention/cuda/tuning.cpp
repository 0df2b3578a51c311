// SPDX-License-Identifier: Apache-2.0
#include "quire/attention/cuda/tuning.cuh"

#include "catch.hpp"

using namespace quire;
using namespace quire::attention::cuda;

TEST_CASE("cuda tuning: the first row that serves a kernel and has room for it, else the last one") {
  constexpr tuning_row rows[] = {{64, 4, 8, {9, 4, 1000}}, {64, 16, 64, {3, 2, 2000}}, {128, 16, 64, {2, 1, 4000}}};
  static_assert(find_row(rows, {64, 4, 8, 900}).use.tiles == 9);
  static_assert(find_row(rows, {32, 2, 1, 1000}).use.tiles == 9);
  static_assert(find_row(rows, {64, 4, 8, 1001}).use.tiles == 3);   // does not fit the first
  static_assert(find_row(rows, {64, 8, 8, 900}).use.tiles == 3);
  static_assert(find_row(rows, {64, 4, 16, 900}).use.tiles == 3);
  static_assert(find_row(rows, {80, 4, 8, 900}).use.tiles == 2);
  static_assert(find_row(rows, {256, 16, 8, 900}).use.tiles == 2);
  static_assert(find_row(rows, {128, 16, 8, 5000}).use.tiles == 2); // attend refuses it
  static_assert(rows[0].from == origin::listing);
  SUCCEED();
}

TEST_CASE("cuda tuning: blocks of a row share a processor's memory") {
  static_assert(shared_of(164 * 1024, 1) == 163 * 1024 && shared_of(228 * 1024, 1) == 227 * 1024);
  static_assert(3 * (shared_of(228 * 1024, 3) + 1024) <= 228 * 1024 && shared_of(228 * 1024, 3) % 128 == 0);
  constexpr tuning_row good[] = {{64, 4, 8, {2, 2, 1024}}}, wide[] = {{64, 4, 8, {2, 2, 1025}}}, short_ring[] = {{64, 4, 8, {1, 2, 1024}}}, none[] = {{64, 4, 8, {2, 0, 1024}}};
  static_assert(rows_fit(good, 4096) && !rows_fit(wide, 4096) && !rows_fit(short_ring, 4096) && !rows_fit(none, 4096));
  SUCCEED();
}

TEST_CASE("cuda tuning: a ring holds what is asked for, what there is room for, and never less than it must") {
  static_assert(tiles_that_fit({6, 1, 1000}, 2, 400, 100) == 6);
  static_assert(tiles_that_fit({20, 1, 1000}, 2, 400, 100) == 8);
  static_assert(tiles_that_fit({20, 1, 1000}, 2, 401, 100) == 7);
  static_assert(tiles_that_fit({1, 1, 1000}, 4, 400, 100) == 4);
  static_assert(tiles_that_fit({6, 1, 300}, 2, 400, 100) == 2);
  static_assert(tuned_by<fold_tuning{5, 3, 7}>::of({}).tiles == 5);
  SUCCEED();
}
