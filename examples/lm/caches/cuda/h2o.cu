// SPDX-License-Identifier: Apache-2.0
#include "../../gpu_model.cuh"

namespace quire_lm {
template std::unique_ptr<gpu_model<important_alone>> make_gpu_model(const model_weights&, const important_alone&, const backend_options&);
}
