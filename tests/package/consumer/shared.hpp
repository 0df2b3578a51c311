// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

struct measured {
  const char* isa;
  float dot;
};
float fold_in_second_unit(std::uint32_t workers);
measured run_baseline();
measured run_avx2();
