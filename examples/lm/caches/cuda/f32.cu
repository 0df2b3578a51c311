// SPDX-License-Identifier: Apache-2.0
#include "../../gpu_model.cuh"

namespace quire_lm {
template std::unique_ptr<gpu_model<quire::kv::paged<quire::kv::raw_f32, quire::kv::raw_f32>>> make_gpu_model(const model_weights&, const quire::kv::paged<quire::kv::raw_f32, quire::kv::raw_f32>&, const backend_options&);
}
