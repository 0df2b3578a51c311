// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "common.hpp"

namespace quire_lm {

/// The texts of examples/data, in order of their names. fails: bad_input when there are none.
std::string own_texts();

}  // namespace quire_lm
