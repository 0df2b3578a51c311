// SPDX-License-Identifier: Apache-2.0
#include "../../gpu_model.cuh"

namespace quire_lm {
template std::unique_ptr<gpu_model<quire::kv::head_split<int4_hadamard>>> make_gpu_model(const model_weights&, const quire::kv::head_split<int4_hadamard>&, const backend_options&);
}
