// SPDX-License-Identifier: Apache-2.0
#include "../../gpu_model.cuh"

namespace quire_lm {
template <class Sealed>
using compensated = quire::kv::head_split<Sealed, quire::kv::raw_bf16, quire::kv::remainder::mean_token>;
template std::unique_ptr<gpu_model<compensated<quire::kv::raw_bf16>>> make_gpu_model(const model_weights&, const compensated<quire::kv::raw_bf16>&, const backend_options&);
template std::unique_ptr<gpu_model<compensated<repaired<4, 2, 2>>>> make_gpu_model(const model_weights&, const compensated<repaired<4, 2, 2>>&, const backend_options&);
}
