// SPDX-License-Identifier: Apache-2.0
// Published step times of models on machines, as tables of a few lines. Values of linear operations are the sum of the
// nine operations of a layer (medians), times the layers, tensor parallelism 1, without the embedding.
#pragma once

#include <array>
#include <string_view>

#include "cost.hpp"

namespace quire::inline v0::serve::simulate {

/// A machine with a model on it, by name.
struct machine {
  std::string_view name;
  std::string_view source;
  profiled_cost cost;
  std::uint64_t row_bytes = 0;   ///< keys and values of one token
  std::uint64_t cache_rows = 0;  ///< rows that fit beside the weights
};

namespace detail {
// Vidur's profile of Llama-2-7B on an A100; knots eight tokens apart are the edges of the matrix product's tile.
inline constexpr std::array a100_llama2_7b{
    knot{1, 9.3e-3},    knot{64, 9.7e-3},   knot{72, 11.4e-3},   knot{128, 12.2e-3},   knot{136, 17.6e-3},
    knot{256, 17.8e-3}, knot{264, 22.4e-3}, knot{384, 23.6e-3},  knot{392, 30.0e-3},   knot{512, 33.4e-3},
    knot{520, 36.9e-3}, knot{640, 41.3e-3}, knot{648, 44.6e-3},  knot{768, 46.0e-3},   knot{776, 54.9e-3},
    knot{896, 59.6e-3}, knot{904, 60.3e-3}, knot{1024, 67.9e-3}, knot{2048, 133.4e-3}, knot{4096, 258.4e-3}};
// Vidur's profiles at powers of two. Llama-3-8B has the layers of Mistral-7B; its published step is 256 -> 264, +36 %.
inline constexpr std::array a100_llama3_8b{knot{1, 9.7e-3},     knot{64, 11.2e-3},  knot{128, 13.2e-3},
                                           knot{256, 19.5e-3},  knot{264, 26.5e-3}, knot{512, 34.6e-3},
                                           knot{1024, 75.1e-3}, knot{2048, 146e-3}, knot{4096, 274e-3}};
inline constexpr std::array h100_llama2_7b{knot{1, 5.6e-3},     knot{64, 5.9e-3},   knot{128, 6.4e-3},
                                           knot{256, 9.2e-3},   knot{512, 12.0e-3}, knot{1024, 21e-3},
                                           knot{2048, 40.3e-3}, knot{4096, 83.5e-3}};
// Ours: Vidur's Llama-2-7B on an A40, small steps scaled by weights (6.98/6.48) and bandwidth (696/600), large ones by
// weights and arithmetic (150/125). An estimate of Llama-3-8B on an A10, not a measurement.
inline constexpr std::array a10_llama3_8b{knot{1, 29.9e-3},   knot{64, 37.6e-3},  knot{128, 38.0e-3},
                                          knot{256, 57.6e-3}, knot{512, 91.8e-3}, knot{1024, 177e-3},
                                          knot{2048, 334e-3}, knot{4096, 675e-3}};
// Yi-34B on two A100, whole iterations of Sarathi-Serve's artefact (figure 2) less the attention below; the 256-token
// row of that file, its first batch, is left out.
inline constexpr std::array a100x2_yi_34b{knot{1, 48.0e-3},     knot{128, 48.0e-3},   knot{512, 104.7e-3},
                                          knot{1024, 210.6e-3}, knot{2048, 351.3e-3}, knot{4096, 698.9e-3},
                                          knot{8192, 1628e-3},  knot{16384, 3468e-3}};
}  // namespace detail

/// Per row: bytes of keys and values over 1.2 TB/s on an A100 (Niyama's fit), scaled by nominal bandwidth elsewhere.
/// Per pair: 4·4096·32 flop at half the peak. Cache rows: 90 % of memory less the weights.
inline constexpr std::array machines{
    machine{
        "a100-llama2-7b", "Vidur mlp.csv, TP1", {detail::a100_llama2_7b, 8, 1e-3, 0, 4.37e-7, 3.4e-9}, 524288, 112000},
    machine{"a100-mistral-7b",
            "Vidur, Llama-3-8B's layers",
            {detail::a100_llama3_8b, 8, 1e-3, 0, 1.09e-7, 3.4e-9},
            131072,
            438000},
    machine{"h100-llama2-7b", "Vidur, TP1", {detail::h100_llama2_7b, 8, 1e-3, 0, 2.66e-7, 1.05e-9}, 524288, 112000},
    machine{
        "a10-llama3-8b", "scaled from Vidur's A40", {detail::a10_llama3_8b, 8, 1e-3, 0, 3.7e-7, 8.4e-9}, 131072, 42000},
    machine{"a100x2-yi-34b",
            "Sarathi-Serve, figure 2",
            {detail::a100x2_yi_34b, 1, 0, 1.05e-3, 1.02e-7, 7e-9},
            245760,
            300000}};

/// Llama-3-8B on an A100, as fitted in the Niyama branch of the Sarathi-Serve repository.
inline constexpr fitted_cost niyama_fit{
    {0.01494, 8.130e-5, 9.517e-5, 1.111e-7, 7.555e-7}, {0.00500, 9.582e-5, -1.425e-5, 1.663e-7, 2.727e-6}, 512};

/// Null when no machine has that name.
constexpr const machine* find_machine(std::string_view name) noexcept {
  for (const machine& m : machines)
    if (m.name == name) return &m;
  return nullptr;
}

}  // namespace quire::inline v0::serve::simulate
