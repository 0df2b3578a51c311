// SPDX-License-Identifier: Apache-2.0
// Compiled once per instruction set; QUIRE_LM_ENTRY is the one symbol that leaves the shared object.
#include "backend_for.hpp"

namespace quire_lm {

/// fails: bad_input (a cache that can't be made), std::bad_alloc
__attribute__((visibility("default"))) std::unique_ptr<backend> QUIRE_LM_ENTRY(const model_weights& w, const backend_options& o) {
  const cache_spec c = parse_cache(o.kv);
  for (const auto make : {make_plain, make_split, make_scored})
    if (auto made = make(c, w, o)) return made;
  throw bad_input("kv is " + quoted(c.name) + ", which has a name and no cache");
}

}  // namespace quire_lm
