// SPDX-License-Identifier: Apache-2.0
// Where tests find the real model: QUIRE_MODEL, or build/models/ of a directory above.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "catch.hpp"

/// Path of the model; empty, with a message, where there is none.
inline std::string model_file() {
  namespace fs = std::filesystem;
  constexpr const char* name = "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (const char* given = std::getenv("QUIRE_MODEL"); given != nullptr && *given != '\0') return given;
  for (fs::path at = fs::current_path(); at != at.root_path(); at = at.parent_path()) {
    if (fs::exists(at / "build" / "models" / name)) return (at / "build" / "models" / name).string();
  }
  WARN("skipped: " << name << " is absent (set QUIRE_MODEL or put it under build/models)");
  return {};
}
