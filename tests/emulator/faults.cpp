// SPDX-License-Identifier: Apache-2.0
// Faults are remembered as they are found and put into words when somebody asks: looking up lines is slow.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "state.hpp"

namespace emulator {
namespace {

struct remembered {
  fault_kind kind;
  std::uint32_t block, thread;
  std::uint64_t pc, other;
  std::string text;
};
constexpr std::size_t at_most = 32;
std::vector<remembered> found;

constexpr char mark = '\x01';

}  // namespace

const char* name(fault_kind k) noexcept {
  constexpr const char* names[] = {"out of bounds", "misaligned", "uninitialised", "race", "race between blocks", "divergent", "divergent barrier",
                                   "unfinished copy", "abandoned copy", "unfenced copy", "bad barrier", "hang", "undefined", "trap"};
  return names[static_cast<unsigned>(k)];
}

std::string at_site(std::uint32_t site) {
  char text[32];
  std::snprintf(text, sizeof text, "%c%x%c", mark, site, mark);
  return text;
}
std::string at(const void* pc) { return at_site(static_cast<std::uint32_t>(site_of(pc))); }
std::string who(std::uint32_t thread) { return "thread " + std::to_string(thread); }

void record(fault_kind kind, const fiber& me, const void* pc, std::uint64_t other, std::string text) {
  const std::uint64_t site = site_of(pc);
  for (const remembered& r : found)
    if (r.kind == kind && r.pc == site && r.other == other) return;
  if (found.size() < at_most) found.push_back({kind, block_index(), me.thread, site, other, std::move(text)});
}
std::size_t recorded() noexcept { return found.size(); }
bool too_many() noexcept { return found.size() >= at_most; }
void clear() noexcept { found.clear(); }

std::vector<fault> faults() {
  const unseen nothing;
  std::vector<std::uintptr_t> sites;
  for (const remembered& r : found)
    for (std::size_t i = r.text.find(mark); i != std::string::npos; i = r.text.find(mark, r.text.find(mark, i + 1) + 1))
      sites.push_back(std::strtoull(r.text.c_str() + i + 1, nullptr, 16));
  const std::vector<std::string> lines = lines_of(sites);
  std::vector<fault> r;
  std::size_t next = 0;
  for (const remembered& f : found) {
    std::string text = std::string(name(f.kind)) + ": ";
    for (std::size_t i = 0; i < f.text.size(); ++i) {
      if (f.text[i] != mark) {
        text += f.text[i];
        continue;
      }
      i = f.text.find(mark, i + 1);
      const auto* pc = reinterpret_cast<const void*>(program_begin + sites[next]);
      text += (lines[next].empty() ? "an unknown line" : lines[next]) + " in " + function_name(pc);
      ++next;
    }
    r.push_back({f.kind, f.block, f.thread, std::move(text)});
  }
  return r;
}

}  // namespace emulator
