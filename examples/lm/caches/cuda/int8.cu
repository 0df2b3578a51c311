// SPDX-License-Identifier: Apache-2.0
#include "../../gpu_model.cuh"

namespace quire_lm {
template std::unique_ptr<gpu_model<quire::kv::paged<per_token<8>>>> make_gpu_model(const model_weights&, const quire::kv::paged<per_token<8>>&, const backend_options&);
}
