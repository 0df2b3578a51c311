// SPDX-License-Identifier: Apache-2.0
// Every host-and-device function of core, called from a kernel. What is only included is parsed; what is called here is
// compiled for the device. visible.hpp lists all headers that say QUIRE_HD (see compile.cmake).
#include "visible.hpp"

#include "quire/core/deal.hpp"
#include "quire/core/extents.hpp"
#include "quire/core/number.hpp"
#include "quire/core/softmax.hpp"
#include "quire/core/status.hpp"

#include <type_traits>

namespace {

using namespace quire;

template <class T>
constexpr bool kernel_argument = std::is_trivially_copyable_v<T>;
static_assert(kernel_argument<bf16> && kernel_argument<f16> && kernel_argument<f8e4m3> && kernel_argument<f8e5m2> &&
              kernel_argument<affine>);
static_assert(kernel_argument<softmax_state> && kernel_argument<range> && kernel_argument<tree_node> &&
              kernel_argument<extents> && kernel_argument<status>);

__global__ void numbers(const float* in, float* out, std::uint32_t count, affine code) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float x = in[i];
  out[i] = bf16::from(x).to_float() + f16::from(x).to_float() + f8e4m3::from(x).to_float() + f8e5m2::from(x).to_float() +
           code.decode(code.encode(x, 15)) + affine::fit(x, x + 1, 255).scale;
}

__global__ void states(const softmax_state* in, float* rows, softmax_state* out, std::uint32_t count, std::uint32_t dim) {
  softmax_state whole;
  for (std::uint32_t i = 0; i < count; ++i) whole = merge(whole, in[i]).state;
  softmax_state row = in[threadIdx.x];
  merge_into(row, rows + threadIdx.x * dim, whole, rows, dim);
  rows[threadIdx.x * dim] *= normalizer(row);
  out[threadIdx.x] = row;
}

__global__ void dealing(std::uint64_t total, range window, extents e, status s, std::uint64_t* out) {
  range mine = intersect(deal(total, gridDim.x, blockIdx.x, piece_tiles), window);
  std::uint64_t sum = root(total).pieces().size() + e.heads() + tiles_touched(e.head_dim) + tiles_filled(e.head_dim) +
                      round_up(e.layers, 16);
  while (!mine.empty() && s) {
    const tree_node node = first_subtree(mine);
    sum += node.level + node.left().index + node.right().index;
    mine.begin = node.pieces().end;
  }
  out[blockIdx.x] = sum;
}

}  // namespace

/// Referenced from outside, so that no kernel is dropped.
const void* kernels[] = {reinterpret_cast<const void*>(numbers), reinterpret_cast<const void*>(states),
                         reinterpret_cast<const void*>(dealing)};
