// SPDX-License-Identifier: Apache-2.0
// Which caches run on a GPU, and the model there as the rest of the program sees it: nvcc compiles one unit of caches/cuda/ for each
// layout, and what calls them needs no nvcc.
#pragma once

#include <type_traits>

#include "caches/plain.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/overlay.hpp"
#include "quire/kv/store.hpp"
#include "weights.hpp"

namespace quire_lm {

/// Names, for messages; the layouts below are theirs.
inline constexpr std::string_view device_cache_names =
    "f32, bf16, fp8, int8, int4, int4-channel, int4-hadamard, kivi-4, kivi-3, kivi-2, kivi-3-g64, kivi-2-g64, gear-2, gear-4, gear-l-2, gear-l-4, streaming, split, split-int4, duo, duo-int4, razor, razor-gear, razor-plain, mikv-4, mikv-2, mikv-4-plain, mikv-2-plain, h2o, mikv-duo";

template <class Base>
using important_over = quire::kv::overlay<Base>;
using important_alone = quire::kv::overlay<quire::kv::paged<quire::kv::raw_bf16>, quire::kv::rest::drop>;

template <class L, class... Known>
inline constexpr bool one_of_layouts = (std::is_same_v<L, Known> || ...);
template <class L>
inline constexpr bool on_device =
    one_of_layouts<L, quire::kv::paged<quire::kv::raw_f32, quire::kv::raw_f32>, quire::kv::paged<quire::kv::raw_bf16>, quire::kv::paged<quire::kv::codec_pair<quire::kv::fp8>>,
                   quire::kv::paged<per_token<8>>, quire::kv::paged<per_token<4>>, quire::kv::paged<per_channel<4>>, quire::kv::paged<int4_hadamard>,
                   quire::kv::paged<per_channel<4, 32>>, quire::kv::paged<per_channel<3, 32>>, quire::kv::paged<per_channel<2, 32>>, quire::kv::paged<per_channel<3>>,
                   quire::kv::paged<per_channel<2>>, quire::kv::paged<repaired<2, 2, 2>>, quire::kv::paged<repaired<4, 2, 2>>, quire::kv::paged<repaired<2, 2, 0>>,
                   quire::kv::paged<repaired<4, 2, 0>>, quire::kv::head_split<quire::kv::raw_bf16>,
                   quire::kv::head_split<int4_hadamard>, quire::kv::head_split<quire::kv::raw_bf16, quire::kv::raw_bf16, quire::kv::remainder::mean_token>,
                   quire::kv::head_split<repaired<4, 2, 2>, quire::kv::raw_bf16, quire::kv::remainder::mean_token>, important_alone,
                   important_over<quire::kv::paged<balanced_low<4>>>, important_over<quire::kv::paged<balanced_low<2>>>, important_over<quire::kv::paged<low<4>>>,
                   important_over<quire::kv::paged<low<2>>>, important_over<quire::kv::head_split<balanced_low<2>>>>;

/// A device_model (device_model.cuh) of any head size, with the memory it works on.
template <quire::kv::Layout L>
class gpu_model {
 public:
  virtual ~gpu_model() = default;
  virtual quire::tier::memory* memory() noexcept = 0;
  virtual std::uint32_t vocabulary() const noexcept = 0;
  virtual std::uint32_t max_rows() const noexcept = 0;
  virtual std::uint32_t width() const noexcept = 0;
  virtual std::size_t scratch_bytes() const noexcept = 0;
  virtual quire::status step(quire::kv::store<L>& store, std::span<const quire::serve::model_input> inputs, float* logits) = 0;
  virtual quire::status step_all(quire::kv::store<L>& store, const quire::serve::model_input& input, std::uint32_t from, float* logits) = 0;
  virtual quire::status step_hidden(quire::kv::store<L>& store, const quire::serve::model_input& input, std::uint32_t from, float* hidden) = 0;
  virtual double read_bandwidth() = 0;
  quire::status probe(const quire::kv::store<L>&, const quire::serve::model_input&, const quire::calibrate::repeat_scores& to) const {
    return {quire::errc::unsupported_shape, "device of a probe (the CPU alone)", static_cast<std::int64_t>(to.shape().layers)};
  }
};

/// fails: bad_input (a head size without kernels, a group of query heads too large), std::bad_alloc, std::runtime_error (the device
/// refused)
template <class L>
std::unique_ptr<gpu_model<L>> make_gpu_model(const model_weights& w, const L& layout, const backend_options& o);

/// What stands against a GPU here; empty: nothing.
std::string no_device();

}  // namespace quire_lm
