// SPDX-License-Identifier: Apache-2.0
// What the program's own file says about it: which thread-local variables are a kernel's shared memory, and where code stands.
#include <cxxabi.h>
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "state.hpp"

namespace emulator {
namespace {

struct program {
  std::uintptr_t base = 0;
  std::vector<segment> segments;
  std::vector<symbol> shared, functions;
};

std::string demangled(const char* name) {
  int failed = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &failed);
  std::string r = failed == 0 ? text : name;
  std::free(text);
  return r;
}

program read_program() {
  program p;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        auto& to = *static_cast<program*>(out);
        to.base = info->dlpi_addr;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& h = info->dlpi_phdr[i];
          const std::uintptr_t begin = info->dlpi_addr + h.p_vaddr;
          if (h.p_type == PT_LOAD) to.segments.push_back({begin, begin + h.p_memsz, (h.p_flags & PF_W) != 0});
          if (h.p_type == PT_GNU_RELRO) to.segments.insert(to.segments.begin(), {begin, begin + h.p_memsz, false});
        }
        return 1;  // the first object is the program
      },
      &p);
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  if (bytes.size() < sizeof(Elf64_Ehdr)) return p;
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(bytes.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(bytes.data() + header.e_shoff);
  for (unsigned s = 0; s < header.e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(bytes.data() + sections[s].sh_offset);
    const char* names = bytes.data() + sections[sections[s].sh_link].sh_offset;
    for (std::size_t i = 0; i < sections[s].sh_size / sizeof(Elf64_Sym); ++i) {
      const auto& y = symbols[i];
      const char* name = names + y.st_name;
      // A variable of a function: _ZZ<function>E<variable>, or its guard _ZGVZ.
      if (ELF64_ST_TYPE(y.st_info) == STT_TLS && std::strncmp(name, "_ZZ", 3) == 0) p.shared.push_back({demangled(name), y.st_value, y.st_size});
      if (ELF64_ST_TYPE(y.st_info) == STT_FUNC) p.functions.push_back({name, y.st_value, y.st_size});
    }
  }
  std::sort(p.functions.begin(), p.functions.end(), [](const symbol& a, const symbol& b) { return a.value < b.value; });
  std::sort(p.shared.begin(), p.shared.end(), [](const symbol& a, const symbol& b) { return a.value < b.value; });
  return p;
}

const program& the_program() {
  static const program p = read_program();
  return p;
}

}  // namespace

const std::vector<symbol>& shared_variables() { return the_program().shared; }
const std::vector<segment>& program_segments() { return the_program().segments; }

std::byte* local_segment(std::size_t& bytes) {
  struct found {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
  } f;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        auto& to = *static_cast<found*>(out);
        for (int i = 0; i < info->dlpi_phnum; ++i)
          if (info->dlpi_phdr[i].p_type == PT_TLS) to = {static_cast<std::byte*>(info->dlpi_tls_data), info->dlpi_phdr[i].p_memsz};
        return 1;
      },
      &f);
  bytes = f.bytes;
  return f.data;
}

std::string function_name(const void* pc) {
  const std::uintptr_t v = reinterpret_cast<std::uintptr_t>(pc) - the_program().base;
  const auto& all = the_program().functions;
  auto i = std::upper_bound(all.begin(), all.end(), v, [](std::uintptr_t x, const symbol& s) { return x < s.value; });
  if (i == all.begin()) return "?";
  --i;
  return v < i->value + std::max<std::uint64_t>(i->bytes, 1) ? demangled(i->name.c_str()) : "?";
}

/// `file:line` of each place (counted from the program's base): the innermost frame that is not the emulator's own.
std::vector<std::string> lines_of(const std::vector<std::uintptr_t>& places) {
  std::vector<std::string> r(places.size());
  if (places.empty()) return r;
  char self[4096] = {};
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return r;
  std::string command = "addr2line -a -i -e '" + std::string(self) + "'";
  char text[4096];
  for (const std::uintptr_t p : places) {  // a return address: the call ends before it
    std::snprintf(text, sizeof text, " %zx", static_cast<std::size_t>(p - 1));
    command += text;
  }
  std::FILE* lines = popen((command + " 2>/dev/null").c_str(), "r");
  if (!lines) return r;
  std::size_t at = 0;
  bool first = true, settled = false;
  while (std::fgets(text, sizeof text, lines)) {
    std::string line(text, std::strcspn(text, "\n"));
    if (line.rfind("0x", 0) == 0) {
      if (!first) ++at;
      first = settled = false;
      continue;
    }
    if (first || at >= r.size() || settled) continue;
    line.resize(std::min(line.size(), line.find(" (discriminator")));
    if (line.rfind("??", 0) == 0) continue;
    const bool own = line.find("/emulator/") != std::string::npos;
    for (const char* root : {"/include/quire/", "/tests/"})
      if (const auto i = line.rfind(root); i != std::string::npos) line.erase(0, i + 1);
    r[at] = line;
    settled = !own;
  }
  pclose(lines);
  return r;
}

}  // namespace emulator
