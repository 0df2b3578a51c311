// SPDX-License-Identifier: Apache-2.0
// What rotated heads keep of tokens they drop.
#include "attention/cuda/settle_check.hpp"

TEST_CASE("settle") { settle_check::check<cuda_fixture::rotated<4>, 8>(0.02); }
