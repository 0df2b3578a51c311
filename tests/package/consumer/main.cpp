// SPDX-License-Identifier: Apache-2.0
// A program of somebody else: two units with every host header, and (with the cpu component) kernels for two instruction sets.
#include <quire/quire.hpp>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "shared.hpp"

int main() {
  quire::softmax_state whole;
  for (std::uint32_t i = 0; i < 64; ++i) whole = quire::merge(whole, {static_cast<float>(i % 7), 1.0f}).state;
  for (std::uint32_t workers : {1u, 3u, 64u}) {
    const float l = fold_in_second_unit(workers);
    if (std::abs(l - whole.l) > 1e-4f * whole.l) {
      std::printf("%u workers: l %g, expected %g\n", workers, l, whole.l);
      return 1;
    }
  }
  const quire::status bad{quire::errc::out_of_range, "workers", 0, 1, 64};
  if (quire::describe(bad).find("workers is 0") == std::string::npos) return 2;
#if defined(WITH_KERNELS)
  measured a = run_baseline();
  std::printf("kernels %s: %g\n", a.isa, a.dot);
  if (a.dot != 11.0f || std::strcmp(a.isa, "baseline") != 0) return 3;
#if defined(WITH_AVX2)
  a = run_avx2();
  std::printf("kernels %s: %g\n", a.isa, a.dot);
  if (a.dot != 11.0f || std::strcmp(a.isa, "avx2") != 0) return 4;
#endif
#endif
  std::printf("quire %d.%d.%d\n", QUIRE_VERSION_MAJOR, QUIRE_VERSION_MINOR, QUIRE_VERSION_PATCH);
}
