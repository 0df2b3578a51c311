// SPDX-License-Identifier: Apache-2.0
#include "../../gpu_model.cuh"

namespace quire_lm {
using f32_pages = quire::kv::paged<quire::kv::raw_f32, quire::kv::raw_f32>;
template std::unique_ptr<gpu_model<f32_pages>> make_gpu_model(const model_weights&, const f32_pages&, const backend_options&);
}
