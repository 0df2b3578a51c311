// SPDX-License-Identifier: Apache-2.0
#include "quire/linear/cuda/panel.cuh"

#include "fixture.hpp"

using namespace linear_fixture;

namespace {

/// One warp reads one panel: to [16][cols] gets each weight, and `seen` counts how often.
template <weight_type Type>
__global__ void read_panel(const std::byte* panel, std::uint32_t cols, float* to, std::uint32_t* seen) {
  using word = cuda::lane_weights<Type>;
  const std::uint32_t lane = threadIdx.x;
  for (std::uint32_t s = 0; s < word::steps(cols); ++s) {
    const std::uint32_t column = word::first_column(s, lane);
    if (column >= cols) continue;
    word w;
    w.load(panel, s, lane);
    for (std::uint32_t p = 0; p < word::parts; ++p)
      for (std::uint32_t o = 0; o < cuda::lane_outputs; ++o)
        for (std::uint32_t k = 0; k < word::part_columns; ++k) {
          const std::size_t at = (lane % 4 * cuda::lane_outputs + o) * cols + column + p * word::part_columns + k;
          to[at] = w.at(p, o, k);
          atomicAdd(seen + at, 1u);
        }
  }
}

template <class Row, std::uint32_t Count>
__global__ void copy_row(const Row* x, Row* to, std::uint32_t n) {
  for (std::uint32_t i = threadIdx.x * Count; i < n; i += 32 * Count) {
    float v[Count];
    cuda::load_row(x + i, v);
    for (std::uint32_t k = 0; k < Count; ++k) to[i + k] = cuda::narrow<Row>(v[k]);
  }
}

template <class Row, std::uint32_t Count>
void check_row() {
  const auto x = random_rows<Row>(1, 96, 96, Count);
  const device_array<Row> from(x, "from");
  device_array<Row> to(96, "to");
  REQUIRE(device::launch(&copy_row<Row, Count>, {.blocks = 1, .threads = 32}, {}, from.data(), to.data(), 96u));
  finish();
  REQUIRE(std::memcmp(to.download().data(), x.data(), 96 * sizeof(Row)) == 0);
}

}  // namespace

TEST_CASE("linear cuda: a warp reads every weight of a panel once, and it is the one of linear::row") {
  if (!device_or_skip()) return;
  for (const source_type type : all_types)
    for (const std::uint32_t cols : {32u, 64u, 96u, 224u}) {
      const device_matrix w(random_tensor(type, 16, cols, cols));
      device_array<float> got(16 * cols, "weights");
      device_array<std::uint32_t> seen(std::vector<std::uint32_t>(16 * cols), "seen");
      REQUIRE(cuda::with_type(w.view.type, [&](auto constant) {
        return device::launch(&read_panel<constant()>, {.blocks = 1, .threads = 32}, {}, w.view.data, cols, got.data(), seen.data());
      }));
      finish();
      const auto values = got.download();
      REQUIRE(seen.download() == std::vector<std::uint32_t>(16 * cols, 1));
      std::vector<float> want(cols);
      for (std::uint32_t r = 0; r < 16; ++r) {
        row(w.host.view, r, want.data());
        for (std::uint32_t c = 0; c < cols; ++c) REQUIRE(values[r * cols + c] == want[c]);
      }
    }
}

TEST_CASE("linear cuda: rows are read in ones, twos and fours and narrowed back") {
  if (!device_or_skip()) return;
  check_row<float, 1>(), check_row<float, 2>(), check_row<float, 4>();
  check_row<bf16, 1>(), check_row<bf16, 2>(), check_row<bf16, 4>();
}
