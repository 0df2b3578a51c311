// SPDX-License-Identifier: Apache-2.0
// What people see: a progress line where there is a terminal, tables, numbers in readable units.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

namespace quire_lm {

/// A line on stderr that rewrites itself, at most ten times a second; silent where stderr is no terminal.
class progress_line {
 public:
  explicit progress_line(std::string what) : what_(std::move(what)), shown_(::isatty(STDERR_FILENO) == 1) {}
  ~progress_line() { clear(); }
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  void at(double done, double total) {
    const double percent = total > 0 ? 100 * done / total : 100.0;
    if (!shown_) {  // into a file: a line now and then, so that whoever waits sees it move
      const auto t = std::chrono::steady_clock::now();
      if (t - last_ < std::chrono::seconds(30)) return;
      last_ = t;
      std::fprintf(stderr, "%s %.0f %%\n", what_.c_str(), percent);
      return;
    }
    if (!due()) return;
    std::fprintf(stderr, "\r\033[K%s %.0f %%", what_.c_str(), percent);
    std::fflush(stderr);
    dirty_ = true;
  }
  void rename(std::string what) { what_ = std::move(what); }
  void clear() {
    if (dirty_) std::fputs("\r\033[K", stderr), std::fflush(stderr);
    dirty_ = false;
  }

 private:
  bool due() {
    const auto t = std::chrono::steady_clock::now();
    if (dirty_ && t - last_ < std::chrono::milliseconds(100)) return false;
    last_ = t;
    return true;
  }
  std::string what_;
  bool shown_, dirty_ = false;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

inline std::string fixed(double x, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}

/// Columns as wide as their widest cell; the first is left-aligned, the others right-aligned.
class table {
 public:
  explicit table(std::vector<std::string> head) : rows_{std::move(head)} {}
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void print(std::FILE* to) const {
    std::vector<std::size_t> width(rows_[0].size(), 0);
    for (const auto& r : rows_)
      for (std::size_t c = 0; c < r.size(); ++c) width[c] = r[c].size() > width[c] ? r[c].size() : width[c];
    for (const auto& r : rows_) {
      std::string line;
      for (std::size_t c = 0; c < r.size(); ++c) {
        const std::string pad(width[c] - r[c].size(), ' ');
        line += (c == 0 ? "" : "  ") + (c == 0 ? r[c] + pad : pad + r[c]);
      }
      std::fprintf(to, "%s\n", line.c_str());
    }
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace quire_lm
