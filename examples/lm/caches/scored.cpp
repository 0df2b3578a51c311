// SPDX-License-Identifier: Apache-2.0
#include "scored.hpp"

#include "../backend_for.hpp"

namespace quire_lm {

std::unique_ptr<backend> make_scored(const cache_spec& c, const model_weights& w, const backend_options& o) {
  return scored_cache(c, w, o, [&](const auto& layout, std::unique_ptr<kv::head_classes> classes) { return on_cpu(layout, std::move(classes), w, o); });
}

}  // namespace quire_lm
