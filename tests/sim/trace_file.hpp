// SPDX-License-Identifier: Apache-2.0
// Where tests find public traces: the folder QUIRE_TRACES, or shared/data/traces of a directory above.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "catch.hpp"

/// Path of a trace; empty, with a message, where there is none.
inline std::string trace_file(const std::string& name) {
  namespace fs = std::filesystem;
  if (const char* given = std::getenv("QUIRE_TRACES"); given != nullptr && *given != '\0') {
    if (fs::exists(fs::path(given) / name)) return (fs::path(given) / name).string();
  } else {
    for (fs::path at = fs::current_path(); at != at.root_path(); at = at.parent_path())
      if (const fs::path here = at / "shared" / "data" / "traces" / name; fs::exists(here)) return here.string();
  }
  WARN("skipped: " << name << " is absent (set QUIRE_TRACES to the folder it is in)");
  return {};
}
