// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.hpp"

#include <sstream>

#include "catch.hpp"

using namespace quire_server;

TEST_CASE("a histogram is cumulative and adds up") {
  histogram<2> h({0.1, 1});
  for (const double x : {0.05, 0.1, 0.5, 7.0}) h.observe(x);
  std::string out;
  h.write(out, "x");
  REQUIRE(out == "x_bucket{le=\"0.1\"} 2\nx_bucket{le=\"1\"} 3\nx_bucket{le=\"+Inf\"} 4\nx_sum 7.650000\nx_count 4\n");
}

TEST_CASE("the page is Prometheus' text format") {
  metrics m;
  m.answered("/v1/models", 200);
  m.answered("/v1/models", 200);
  m.answered("/v1/completions", 429);
  add(m.generated_tokens, 5);
  set(m.free_pages, 7);
  const std::string page = m.text();
  REQUIRE(page.find("quire_requests_total{route=\"/v1/models\",status=\"200\"} 2\n") != std::string::npos);
  REQUIRE(page.find("quire_requests_total{route=\"/v1/completions\",status=\"429\"} 1\n") != std::string::npos);
  REQUIRE(page.find("quire_tokens_total{kind=\"generated\"} 5\n") != std::string::npos);
  REQUIRE(page.find("\nquire_free_pages 7\n") != std::string::npos);
  // Every line is a comment or `name{labels} value`, and every name was announced with its type.
  std::istringstream lines(page);
  std::string line, typed;
  int samples = 0;
  while (std::getline(lines, line)) {
    if (line.starts_with("# HELP ")) continue;
    if (line.starts_with("# TYPE ")) {
      typed = line.substr(7, line.find(' ', 7) - 7);
      continue;
    }
    ++samples;
    REQUIRE(line.starts_with(typed));
    const std::size_t space = line.rfind(' ');
    REQUIRE(line.find(' ') == space);
    REQUIRE(line.find_first_not_of("0123456789.", space + 1) == std::string::npos);
  }
  REQUIRE(samples > 60);
}
