// SPDX-License-Identifier: Apache-2.0
// A recorded launch replayed over the plans of other steps.
#include "attention/cuda/replay_check.hpp"

TEST_CASE("a launch that is recorded once") { cuda_fixture::check_replay(); }
