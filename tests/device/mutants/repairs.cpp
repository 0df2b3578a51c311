// SPDX-License-Identifier: Apache-2.0
// Factors and outliers over 2-bit codes: as operands, decoding on tensor cores and on CUDA cores.
#include "attention/cuda/fixture.hpp"
#include "attention/cuda/operand_check.hpp"

template <std::uint32_t Rows>
void decode() {
  using namespace cuda_fixture;
  using L = kv::paged<repaired<2>>;
  const attention::problem p{.q_heads = 4, .kv_heads = 2, .dim_k = 64, .dim_v = 64};
  step<L> s(L({2, 2, 64}), p, 1, 500);
  s.add(400, 1, 3);
  check_dealings<cuda::attend<L, 64, Rows>>(s, Rows, Rows < 8 ? 5e-6 : 0.01, {});
}

TEST_CASE("repairs") {
  operand_check::check_keys<cuda_fixture::repaired<2>::key_codec, 64>();
  decode<8>();
  decode<2>();
}
