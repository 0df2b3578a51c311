// SPDX-License-Identifier: Apache-2.0
// Where tests find public traces: the folder QUIRE_TRACES, or shared/data/traces beside the project.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "catch.hpp"

/// Path of a trace; empty, with a message, where there is none.
inline std::string trace_file(const std::string& name) {
  namespace fs = std::filesystem;
  const char* given = std::getenv("QUIRE_TRACES");
  const fs::path source = fs::path(__FILE__).parent_path().parent_path().parent_path();
  const fs::path folder = given != nullptr && *given != '\0' ? fs::path(given) : source / ".." / "shared" / "data" / "traces";
  if (fs::exists(folder / name)) return (folder / name).string();
  WARN("skipped: " << name << " is absent (set QUIRE_TRACES to the folder it is in)");
  return {};
}
