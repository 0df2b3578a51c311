// SPDX-License-Identifier: Apache-2.0
#include "../../gpu_model.cuh"

namespace quire_lm {
template <class Sealed>
using over = important_over<quire::kv::paged<Sealed>>;
template std::unique_ptr<gpu_model<over<balanced_low<4>>>> make_gpu_model(const model_weights&, const over<balanced_low<4>>&, const backend_options&);
template std::unique_ptr<gpu_model<over<low<4>>>> make_gpu_model(const model_weights&, const over<low<4>>&, const backend_options&);
}
