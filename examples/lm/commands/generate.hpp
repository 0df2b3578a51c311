// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "../sampler.hpp"
#include "common.hpp"

namespace quire_lm {

/// A text to continue and how it went.
struct run_result {
  std::vector<token> generated;
  std::uint32_t prompt_tokens = 0;
  std::uint32_t rows = 0;  ///< in the cache at the end
  bool stopped = false;    ///< by an ending token
  double first_token = 0, last_token = 0;  ///< seconds after the start
};

/// Continues `prompts` on one backend through serve::engine; `on_token` is told (prompt, token) in order of generation.
/// The backend must have room for `seats` sequences. Returns the most cache bytes held at a time in `kv_bytes`.
/// fails: std::runtime_error when the engine ends a text with an error, or a sequence's bytes are not as the formula says.
std::vector<run_result> run_prompts(backend& model, const tokenizer& tok, const std::vector<std::vector<token>>& prompts, std::uint32_t tokens,
                                    const sampler_options& sampling, std::uint32_t seats,
                                    const std::function<void(std::size_t, token)>& on_token, std::size_t& kv_bytes);

}  // namespace quire_lm
