// SPDX-License-Identifier: Apache-2.0
// Somebody's engine: one decode kernel, launched where a device is; the launch is only compiled where there is none.
#include <quire/attention/cuda/attend.cuh>
#include <quire/kv/layout/paged.hpp>

#include <cstdio>

using decode = quire::attention::cuda::attend<quire::kv::paged<quire::kv::raw_bf16>, 128, 8>;

int main(int count, char**) {
  if (count > 1) return decode::launch({}, nullptr) ? 0 : 1;
  std::printf("shared memory of a block: %zu bytes\n", decode::shared_bytes());
}
