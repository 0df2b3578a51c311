// SPDX-License-Identifier: Apache-2.0
// Caches by name on a GPU: the names and layouts of the CPU's, where a layout has device kernels.
#include "../device_caches.hpp"
#include "scored.hpp"
#include "split.hpp"

namespace quire_lm {

/// fails: bad_input (a cache that a GPU does not serve), std::bad_alloc, std::runtime_error
std::unique_ptr<backend> make_backend_cuda(const model_weights& w, const backend_options& o) {
  const cache_spec c = parse_cache(o.kv);
  if (!o.spill.empty()) throw bad_input("spill folder is " + quoted(o.spill) + ", allowed none with --device cuda: texts are swapped out to memory alone");
  const auto refused = [&] { return bad_input("kv is " + quoted(c.name) + ", allowed with --device cuda " + std::string(device_cache_names)); };
  const auto make = [&](const auto& layout, std::unique_ptr<kv::head_classes> classes) -> std::unique_ptr<backend> {
    using L = std::remove_cvref_t<decltype(layout)>;
    if constexpr (on_device<L>) return std::make_unique<store_backend<L, gpu_model<L>>>(make_gpu_model(w, layout, o), layout, std::move(classes), o);
    throw refused();
  };
  if (auto made = plain_cache(c, w.config.cache_extents(), [&](const auto& layout) { return make(layout, nullptr); })) return made;
  if (auto made = split_cache(c, w, o, make)) return made;
  if (auto made = scored_cache(c, w, o, make)) return made;
  throw refused();
}

}  // namespace quire_lm
