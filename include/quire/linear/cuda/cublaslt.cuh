// SPDX-License-Identifier: Apache-2.0
// Products of many rows, for prefill: cuBLASLt over weights that dequantize.cuh has made bf16. The only header that needs
// cuBLASLt. Results differ from `multiply` by the rounding of weights and rows to bf16 and by the order of sums.
#pragma once

#include <cublasLt.h>

#include <memory>

#include "panel.cuh"

namespace quire::inline v0::linear::cuda {

namespace detail {

template <auto Destroy>
struct destroyed_by {
  template <class T>
  void operator()(T* p) const noexcept {
    static_cast<void>(Destroy(p));
  }
};
template <class T, auto Destroy>
using lt_owner = std::unique_ptr<std::remove_pointer_t<T>, destroyed_by<Destroy>>;

/// fails: device (`native`: a cublasStatus_t)
[[nodiscard]] inline status check_lt(cublasStatus_t s, const char* what) noexcept {
  if (s == CUBLAS_STATUS_SUCCESS) return {};
  return {errc::device, what, 0, 0, 0, static_cast<int>(s)};
}

/// Takes what a function of cuBLASLt creates. `create(T*)`. fails: device.
template <class Owner, class T = typename Owner::pointer, class Create>
[[nodiscard]] status make_lt(Owner& to, const char* what, Create create) noexcept {
  T made{};
  if (const status s = check_lt(create(&made), what); !s) return s;
  to.reset(made);
  return {};
}

}  // namespace detail

/// cuBLASLt's context for the device that is current when it is opened. Any thread may use it.
class lt_context {
 public:
  /// fails: device.
  [[nodiscard]] status open() noexcept { return detail::make_lt(handle_, "cublasLtCreate", cublasLtCreate); }
  cublasLtHandle_t handle() const noexcept { return handle_.get(); }

 private:
  detail::lt_owner<cublasLtHandle_t, cublasLtDestroy> handle_;
};

/// y [n][y_stride] f32 = (or +=) x [n][x_stride] bf16 · Wᵀ, W [outputs][w_stride] bf16; sums are f32.
struct matmul_shape {
  std::uint32_t n = 0, outputs = 0, inputs = 0;
  std::size_t x_stride = 0, w_stride = 0, y_stride = 0;  ///< numbers from row to row; rows begin at multiples of 16 bytes
  store_mode mode = store_mode::assign;
  std::size_t workspace_bytes = 0;                       ///< what run() will be given; more allows faster algorithms
};

/// fails: unsupported_shape, out_of_range.
[[nodiscard]] constexpr status supports(const matmul_shape& s) noexcept {
  if (s.n == 0 || s.n > 1u << 30) return {errc::unsupported_shape, "n", s.n, 1, 1 << 30};
  if (s.outputs == 0 || s.outputs > 1u << 30) return {errc::unsupported_shape, "outputs", s.outputs, 1, 1 << 30};
  if (s.inputs == 0 || s.inputs > 1u << 20) return {errc::unsupported_shape, "inputs", s.inputs, 1, 1 << 20};
  const auto stride = [](const char* what, std::size_t v, std::uint32_t least, std::size_t unit) -> status {
    if (v >= least && v % unit == 0) return {};
    return {errc::out_of_range, what, static_cast<std::int64_t>(v), least};
  };
  if (const status r = stride("x_stride (a multiple of 8)", s.x_stride, s.inputs, row_unit<bf16>); !r) return r;
  if (const status r = stride("w_stride (a multiple of 8)", s.w_stride, s.inputs, row_unit<bf16>); !r) return r;
  return stride("y_stride (a multiple of 4)", s.y_stride, s.outputs, row_unit<float>);
}

/// One shape of product and the algorithm for it, chosen once: whoever has chunks of several sizes keeps one of each.
/// Immutable after `prepare`, then any thread may run it. Movable.
class matmul {
 public:
  /// Asks cuBLASLt's heuristic; on failure the object stays what it was. fails: unsupported_shape, out_of_range, device (also
  /// where no algorithm serves the shape).
  [[nodiscard]] status prepare(const lt_context& context, const matmul_shape& shape) noexcept {
    if (const status s = supports(shape); !s) return s;
    matmul next;
    if (const status s = next.describe(shape); !s) return s;
    if (const status s = next.choose(context.handle()); !s) return s;
    next.handle_ = context.handle();
    *this = std::move(next);
    return {};
  }

  /// Pointers are the device's, at multiples of 16 bytes; workspace [workspace_bytes], at a multiple of 256, used by no
  /// other launch meanwhile. Allocates nothing and does not wait; may be captured. precondition: the context is open.
  /// fails: not_ready (not prepared), device.
  [[nodiscard]] status run(const bf16* w, const bf16* x, float* y, std::byte* workspace, device::stream on) const noexcept {
    if (handle_ == nullptr) return {errc::not_ready, "product that was not prepared"};
    const float alpha = 1, beta = shape_.mode == store_mode::add ? 1 : 0;
    return detail::check_lt(cublasLtMatmul(handle_, product_.get(), &alpha, w, w_.get(), x, x_.get(), &beta, y, y_.get(), y, y_.get(),
                                           &algorithm_, workspace, shape_.workspace_bytes, on),
                            "cublasLtMatmul");
  }
  const matmul_shape& shape() const noexcept { return shape_; }

 private:
  using layout = detail::lt_owner<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;

  /// cuBLASLt counts by columns: rows of ours are columns of its matrices, so it computes yᵀ = (Wᵀ)ᵀ · xᵀ.
  status describe(const matmul_shape& s) noexcept {
    shape_ = s;
    const auto rows = [](layout& to, cudaDataType_t type, std::uint32_t width, std::uint32_t count, std::size_t stride) {
      return detail::make_lt(to, "cublasLtMatrixLayoutCreate", [&](cublasLtMatrixLayout_t* made) {
        return cublasLtMatrixLayoutCreate(made, type, width, count, static_cast<std::int64_t>(stride));
      });
    };
    if (const status r = rows(w_, CUDA_R_16BF, s.inputs, s.outputs, s.w_stride); !r) return r;
    if (const status r = rows(x_, CUDA_R_16BF, s.inputs, s.n, s.x_stride); !r) return r;
    if (const status r = rows(y_, CUDA_R_32F, s.outputs, s.n, s.y_stride); !r) return r;
    if (const status r = detail::make_lt(product_, "cublasLtMatmulDescCreate", [](cublasLtMatmulDesc_t* made) {
          return cublasLtMatmulDescCreate(made, CUBLAS_COMPUTE_32F, CUDA_R_32F);
        }); !r)
      return r;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    return detail::check_lt(cublasLtMatmulDescSetAttribute(product_.get(), CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed),
                            "cublasLtMatmulDescSetAttribute");
  }

  status choose(cublasLtHandle_t handle) noexcept {
    detail::lt_owner<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> limits;
    if (const status s = detail::make_lt(limits, "cublasLtMatmulPreferenceCreate", cublasLtMatmulPreferenceCreate); !s) return s;
    const auto limit = [&](cublasLtMatmulPreferenceAttributes_t which, auto value) {
      return detail::check_lt(cublasLtMatmulPreferenceSetAttribute(limits.get(), which, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
    };
    if (const status s = limit(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, shape_.workspace_bytes); !s) return s;
    for (const auto operand : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                               CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      if (const status s = limit(operand, std::uint32_t{16}); !s) return s;
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    if (const status s = detail::check_lt(cublasLtMatmulAlgoGetHeuristic(handle, product_.get(), w_.get(), x_.get(), y_.get(), y_.get(), limits.get(), 1, &best, &found),
                                          "cublasLtMatmulAlgoGetHeuristic"); !s)
      return s;
    if (found == 0) return detail::check_lt(CUBLAS_STATUS_NOT_SUPPORTED, "algorithm of cuBLASLt for this shape");
    algorithm_ = best.algo;
    return detail::check_lt(best.state, "algorithm of cuBLASLt for this shape");
  }

  matmul_shape shape_;
  cublasLtHandle_t handle_ = nullptr;
  layout w_, x_, y_;
  detail::lt_owner<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> product_;
  cublasLtMatmulAlgo_t algorithm_{};
};

}  // namespace quire::inline v0::linear::cuda
