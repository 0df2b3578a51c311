// SPDX-License-Identifier: Apache-2.0
#include "kernels.inl"

measured run_baseline() { return run_kernels(); }
