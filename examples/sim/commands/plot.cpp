// SPDX-License-Identifier: Apache-2.0
#include "plot.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "../error.hpp"
#include "../report.hpp"

namespace quire_sim {
namespace {

namespace sim = quire::serve::simulate;

/// 200 quantiles, denser towards 1: what a curve on a scale of nines needs.
nlohmann::ordered_json curve(sim::samples& s) {
  auto points = nlohmann::ordered_json::array();
  for (int i = 0; i <= 200 && s.size() > 0; ++i) {
    const double q = i <= 100 ? i / 100.0 * 0.9 : 1 - 0.1 * std::pow(10.0, -(i - 100) / 33.3);
    points.push_back({q, s.quantile(q)});
  }
  return points;
}

}  // namespace

void plot(std::vector<outcome>& all, const std::string& title, const std::string& path) {
  nlohmann::ordered_json data{{"title", title}, {"curves", nlohmann::ordered_json::array()}};
  for (outcome& o : all) data["curves"].push_back({{"policy", o.policy.name}, {"ttft", curve(o.report.first_token)}, {"tbt", curve(o.report.gap)}});
  const std::string file = path + ".json";
  write_json(data, file, "--plot");
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error(std::string("--plot: no process: ") + std::strerror(errno));
  if (child == 0) {
    ::execlp("python3", "python3", QUIRE_SIM_SOURCE "/plot.py", file.c_str(), path.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  int state = 0;
  while (::waitpid(child, &state, 0) < 0 && errno == EINTR) {
  }
  static_cast<void>(std::remove(file.c_str()));
  const int code = WIFEXITED(state) ? WEXITSTATUS(state) : -1;
  if (code == 127) std::fprintf(stderr, "quire-sim: --plot skipped: python3 is missing\n");
  else if (code == 77) std::fprintf(stderr, "quire-sim: --plot skipped: matplotlib is missing\n");
  else if (code != 0) throw std::runtime_error("--plot " + legible(path) + " can't be drawn");
}

}  // namespace quire_sim
