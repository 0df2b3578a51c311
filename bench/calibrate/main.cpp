// SPDX-License-Identifier: Apache-2.0
// Learning-rate schedules side by side, one JSON object a line:
//   bench_calibrate refine DATA [seeds]    flat to refined, with and without label noise; 20 epochs
//   bench_calibrate budgets DATA [seeds]   1 to 100 % of 100 epochs, a separate run each
//   bench_calibrate gates [FILE]           gate training on recorded D matrices (calibrate/gate_samples.hpp), or synthetic ones
// DATA is the folder that bench/calibrate/data.py fills. bench/calibrate/run.py runs all of it.
#include <cstdio>
#include <cstring>

#include "gates.hpp"
#include "schedules.hpp"

int main(int count, char** words) {
  const std::string what = count > 1 ? words[1] : "";
  if ((what == "refine" || what == "budgets") && count > 2) {
    const auto seeds = static_cast<std::uint64_t>(count > 3 ? std::strtoul(words[3], nullptr, 10) : 0);
    int found = 0;
    for (const char* name : {"iris", "wine", "breast_cancer", "digits"}) {
      const auto t = bench::load(words[2], name);
      if (!t) {
        std::fprintf(stderr, "skipped: %s/%s.csv is missing (bench/calibrate/data.py fetches it)\n", words[2], name);
        continue;
      }
      ++found;
      for (const double noise : {0.2, 0.0}) {
        const auto noisy = bench::with_label_noise(*t, noise, 7);
        if (what == "refine") bench::compare_refined(noisy, noise, seeds ? seeds : 20);
        else bench::compare_budgets(noisy, noise, seeds ? seeds : 10);
      }
    }
    return found == 0;
  }
  if (what == "gates") return bench::compare_gates(count > 2 ? words[2] : nullptr);
  std::fprintf(stderr, "usage: bench_calibrate refine DATA [seeds] | budgets DATA [seeds] | gates [FILE]\n");
  return 2;
}
