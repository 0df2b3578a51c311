// SPDX-License-Identifier: Apache-2.0
// quire-sim: its command line. Exit status 0: done; 2: something given can't be used; 1: the machine refused.
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "commands/prefixes.hpp"
#include "error.hpp"

namespace {

using namespace quire_sim;

void add_prefixes(CLI::App& app, prefixes_options& o) {
  CLI::App& c = *app.add_subcommand("prefixes", "What the prompts of a trace share: planned ahead, and found by an LRU cache");
  c.add_option("--trace", o.trace, "Mooncake trace (JSON lines with hash_ids)")->required()->type_name("FILE");
  c.add_option("--capacity", o.capacities, "Blocks of the LRU cache, several with spaces or commas (default: 500 2000 8000 32000)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 30))
      ->type_name("N");
  c.add_option("--json", o.output, "Write the result to this file as well")->type_name("FILE");
}

int run(int argc, char** argv) {
  CLI::App app("quire-sim: schedulers and prefix plans on request traces", "quire-sim");
  app.require_subcommand(1);
  prefixes_options prefixes_o;
  add_prefixes(app, prefixes_o);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw bad_input(e.what());
  }
  return prefixes(prefixes_o);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int code = run(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw std::runtime_error("stdout can't be written: " + std::string(std::strerror(errno)));
    return code;
  } catch (const bad_input& e) {
    std::cerr << "quire-sim: " << e.what() << "\n";
    return 2;
  } catch (const std::bad_alloc&) {
    std::cerr << "quire-sim: not enough memory\n";
    return 1;
  } catch (const std::exception& e) {
    std::cerr << "quire-sim: " << e.what() << "\n";
    return 1;
  }
}
