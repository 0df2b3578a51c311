// SPDX-License-Identifier: Apache-2.0
// Flags of a benchmark: `--name value` pairs.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <utility>

namespace quire_bench {

/// Takes whole numbers of at least 1 and texts where they are named. Returns 0, or 2 when it has said what is wrong on stderr.
inline int read_flags(int argc, char** argv, std::initializer_list<std::pair<const char*, unsigned*>> numbers,
                      std::initializer_list<std::pair<const char*, const char**>> texts) {
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    char* end = nullptr;
    const long n = std::strtol(value, &end, 10);
    bool taken = false;
    for (const auto& [name, to] : numbers)
      if (flag == name && *value != 0 && *end == 0 && n >= 1 && n <= 1'000'000) *to = static_cast<unsigned>(n), taken = true;
    for (const auto& [name, to] : texts)
      if (flag == name && *value != 0) *to = value, taken = true;
    if (taken) continue;
    std::string known;
    for (const auto& [name, to] : numbers) known += std::string(known.empty() ? "" : ", ") + name + " N";
    for (const auto& [name, to] : texts) known += std::string(known.empty() ? "" : ", ") + name + " TEXT";
    std::fprintf(stderr, "%s %s: flags are %s (N from 1 to 1000000)\n", flag.c_str(), value, known.c_str());
    return 2;
  }
  return 0;
}

}  // namespace quire_bench
