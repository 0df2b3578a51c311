// SPDX-License-Identifier: Apache-2.0
#include "plain.hpp"

#include "../backend_for.hpp"

namespace quire_lm {

std::unique_ptr<backend> make_plain(const cache_spec& c, const model_weights& w, const backend_options& o) {
  return plain_cache(c, w.config.cache_extents(), [&](const auto& layout) { return on_cpu(layout, nullptr, w, o); });
}

}  // namespace quire_lm
