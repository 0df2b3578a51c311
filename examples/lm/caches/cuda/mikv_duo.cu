// SPDX-License-Identifier: Apache-2.0
#include "../../gpu_model.cuh"

namespace quire_lm {
using over_heads = important_over<quire::kv::head_split<balanced_low<2>>>;
template std::unique_ptr<gpu_model<over_heads>> make_gpu_model(const model_weights&, const over_heads&, const backend_options&);
}
