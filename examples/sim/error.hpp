// SPDX-License-Identifier: Apache-2.0
// What quire-lm says of bad input, quire-sim says in the same words.
#pragma once

#include "../lm/error.hpp"

namespace quire_sim {

using quire_lm::bad_input;

/// Foreign text made safe for a message. Not called `quoted`: json brings std::quoted, which would be found beside it.
[[nodiscard]] inline std::string legible(std::string_view text) { return quire_lm::quoted(text); }

}  // namespace quire_sim
