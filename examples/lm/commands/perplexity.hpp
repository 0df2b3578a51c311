// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "common.hpp"

namespace quire_lm {

/// Tokens of `text` and the beginning token of a window, if the file asks for one. fails: bad_input where the text is
/// shorter than a window, or a window longer than the model's context.
std::vector<token> window_tokens(const loaded_model& m, const std::string& text, std::uint32_t context);

}  // namespace quire_lm
