// SPDX-License-Identifier: Apache-2.0
#include "kernels.inl"

measured run_avx2() { return run_kernels(); }
