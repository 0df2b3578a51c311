// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

/// A file of its own for a test, removed with it.
class written_file {
 public:
  explicit written_file(const std::string& text) {
    static int count = 0;
    path_ = (std::filesystem::temp_directory_path() / ("quire_sim_" + std::to_string(::getpid()) + "_" + std::to_string(++count))).string();
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~written_file() { static_cast<void>(std::remove(path_.c_str())); }
  written_file(const written_file&) = delete;
  written_file& operator=(const written_file&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};
