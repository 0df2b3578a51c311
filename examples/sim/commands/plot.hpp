// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "../simulation.hpp"

namespace quire_sim {

/// Distributions of TTFT and TBT of all policies as a PNG, drawn by plot.py beside the sources with Python and matplotlib.
/// Where one of them is missing a line on stderr says so and nothing is drawn. fails: bad_input, std::runtime_error.
void plot(std::vector<outcome>& all, const std::string& title, const std::string& path);

}  // namespace quire_sim
