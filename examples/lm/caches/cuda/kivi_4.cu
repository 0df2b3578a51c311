// SPDX-License-Identifier: Apache-2.0
#include "../../gpu_model.cuh"

namespace quire_lm {
template std::unique_ptr<gpu_model<quire::kv::paged<per_channel<4, 32>>>> make_gpu_model(const model_weights&, const quire::kv::paged<per_channel<4, 32>>&, const backend_options&);
template std::unique_ptr<gpu_model<quire::kv::paged<per_channel<4>>>> make_gpu_model(const model_weights&, const quire::kv::paged<per_channel<4>>&, const backend_options&);
}
