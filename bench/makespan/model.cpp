// SPDX-License-Identifier: Apache-2.0
// Occupancy of each way of dealing decode attention, by the makespan model: uniform and ragged batches, 1 to 300 units, lengths to
// 512 k. No timing: the numbers are the same on every machine. plot.py draws the JSON.
// usage: bench_makespan [--start TILES] [--merge TILES] [--step UNITS] [--json FILE]    costs in hundredths of a tile
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "peers.hpp"

using namespace quire;
using namespace quire_bench;

namespace {

struct shape {
  std::string name;
  std::vector<std::uint32_t> lengths;
  std::uint32_t heads = 8, tile = 128;
  bool ragged = false;
  std::vector<item_load> items() const {
    std::vector<item_load> out;
    for (const std::uint32_t n : lengths) out.insert(out.end(), heads, item_load{ceil_div(n, tile), 1});
    return out;
  }
};

std::vector<std::uint32_t> uniform(std::uint32_t batch, std::uint32_t tokens) { return std::vector<std::uint32_t>(batch, tokens); }

std::vector<shape> shapes() {
  std::vector<shape> out = {{"B=1, 32 K", uniform(1, 32768)},   {"B=4, 64 K", uniform(4, 65536)},   {"B=14, 16 K", uniform(14, 16384)},
                            {"B=17, 16 K", uniform(17, 16384)}, {"B=1, 512 K", uniform(1, 524288)}, {"B=64, 8 K", uniform(64, 8192)}};
  auto lengths = uniform(8, 2048);
  lengths[0] = 65536;
  out.push_back({"one 64 K + seven 2 K", lengths, 8, 128, true});
  lengths[0] = 524288;
  out.push_back({"one 512 K + seven 2 K", lengths, 8, 128, true});
  lengths.clear();
  for (int i = 1; i <= 32; ++i) lengths.push_back(static_cast<std::uint32_t>(std::lround(65536.0 / i)));
  out.push_back({"32, Zipf from 64 K", lengths, 8, 128, true});
  out.push_back({"SmolLM2, B=8, 8 K", uniform(8, 8192), 3, 256});
  return out;
}

struct settings {
  std::uint32_t start = 0, merge = 0;  ///< hundredths of a tile
  block_costs costs() const { return {.tile = 1, .start = start * 0.01, .merge = merge * 0.01}; }
};

using attention::fold_costs;
constexpr const char* names[] = {"no split", "fixed split", "dynamic splits", "least loaded", "payload", "lean"};
constexpr std::size_t policies = std::size(names);

makespan run(std::size_t policy, std::span<const item_load> items, std::uint32_t units, const settings& s) {
  const block_costs c = s.costs();
  switch (policy) {
    case 0: return attention::model_step(items, attention::no_split{}, units, c);
    case 1: return attention::model_step(items, attention::heuristic_split{}, units, c);
    case 2: return dynamic_splits(items, units, c);
    case 3: return least_loaded(items, units, c, 2);
    case 4: return payload_parts(items, units, c, ceil_div(s.start + s.merge, 100));
    default:
      return attention::model_step(items, attention::lean_split{{.costs = {.start = s.start, .start_row = 0, .piece = 100, .piece_row = 0}}, 2}, units, c);
  }
}

void print_shapes(const std::vector<shape>& all, const settings& s) {
  std::printf("%-22s %5s", "occupancy", "units");
  for (const char* n : names) std::printf(" %14s", n);
  std::printf(" %10s\n", "lean/fixed");
  for (const shape& x : all)
    for (const std::uint32_t units : {108u, 132u}) {
      const auto items = x.items();
      std::printf("%-22s %5u", x.name.c_str(), units);
      double fixed = 0, lean = 0;
      for (std::size_t p = 0; p < policies; ++p) {
        const double o = run(p, items, units, s).occupancy();
        (p == 1 ? fixed : lean) = o;
        std::printf(" %14.2f", o);
      }
      std::printf(" %10.2f\n", lean / fixed);
    }
}

void print_sweep(const std::vector<shape>& all, const settings& s) {
  std::printf("\nover 1 to 300 units, least / mean\n%-28s", "");
  for (const char* n : names) std::printf(" %14s", n);
  for (const shape& x : all) {
    const auto items = x.items();
    std::printf("\n%-28s", x.name.c_str());
    for (std::size_t p = 0; p < policies; ++p) {
      double least = 1, sum = 0;
      for (std::uint32_t units = 1; units <= 300; ++units) {
        const double o = run(p, items, units, s).occupancy();
        least = std::min(least, o), sum += o / 300;
      }
      std::printf("    %5.2f /%5.2f", least, sum);
    }
  }
  std::printf("\n");
}

bool write_json(const char* path, const std::vector<shape>& all, const settings& s, std::uint32_t step) {
  std::FILE* f = std::fopen(path, "w");
  if (f == nullptr) return false;
  std::fprintf(f, "{\"suite\": \"makespan\", \"start_tiles\": %.2f, \"merge_tiles\": %.2f, \"policies\": [", s.start * 0.01, s.merge * 0.01);
  for (std::size_t p = 0; p < policies; ++p) std::fprintf(f, "%s\"%s\"", p ? ", " : "", names[p]);
  std::fprintf(f, "], \"shapes\": [");
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto items = all[i].items();
    std::fprintf(f, "%s\n {\"shape\": \"%s\", \"kv_heads\": %u, \"tile\": %u, \"ragged\": %s,", i ? "," : "", all[i].name.c_str(), all[i].heads, all[i].tile, all[i].ragged ? "true" : "false");
    for (const std::uint32_t units : {108u, 132u}) {
      std::fprintf(f, "\n  \"%u\": {", units);
      for (std::size_t p = 0; p < policies; ++p) {
        const makespan m = run(p, items, units, s);
        std::fprintf(f, "%s\"%s\": {\"occupancy\": %.4f, \"partials\": %u}", p ? ", " : "", names[p], m.occupancy(), m.partials);
      }
      std::fprintf(f, "},");
    }
    std::fprintf(f, "\n  \"first_units\": 1, \"units_step\": %u, \"by_units\": {", step);
    for (std::size_t p = 0; p < policies; ++p) {
      std::fprintf(f, "%s\n   \"%s\": [", p ? "," : "", names[p]);
      for (std::uint32_t units = 1; units <= 300; units += step) std::fprintf(f, "%s%.3g", units > 1 ? ", " : "", run(p, items, units, s).occupancy());
      std::fprintf(f, "]");
    }
    std::fprintf(f, "}}");
  }
  std::fprintf(f, "\n], \"by_length\": {\"units\": 132, \"kv_heads\": 8, \"tile\": 128, \"batches\": [");
  const std::uint32_t batches[] = {1, 4, 16};
  for (std::size_t b = 0; b < std::size(batches); ++b) {
    std::fprintf(f, "%s\n {\"batch\": %u, \"lengths\": [", b ? "," : "", batches[b]);
    std::vector<std::uint32_t> lengths;
    for (double n = 1024; n <= 524288 * 1.001; n *= std::sqrt(std::sqrt(2.0))) lengths.push_back(static_cast<std::uint32_t>(std::lround(n)));
    for (std::size_t i = 0; i < lengths.size(); ++i) std::fprintf(f, "%s%u", i ? ", " : "", lengths[i]);
    std::fprintf(f, "]");
    for (std::size_t p = 0; p < policies; ++p) {
      std::fprintf(f, ",\n  \"%s\": [", names[p]);
      for (std::size_t i = 0; i < lengths.size(); ++i) std::fprintf(f, "%s%.3g", i ? ", " : "", run(p, shape{"", uniform(batches[b], lengths[i])}.items(), 132, s).occupancy());
      std::fprintf(f, "]");
    }
    std::fprintf(f, "}");
  }
  std::fprintf(f, "\n]}}\n");
  return std::fclose(f) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  settings s;
  std::uint32_t step = 1;
  const char* json = nullptr;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    char* end = nullptr;
    const long n = std::strtol(value, &end, 10);
    const bool number = *value != 0 && *end == 0 && n >= 0 && n <= 10000;
    if (flag == "--json" && *value) json = value;
    else if (flag == "--start" && number) s.start = static_cast<std::uint32_t>(n);
    else if (flag == "--merge" && number) s.merge = static_cast<std::uint32_t>(n);
    else if (flag == "--step" && number && n > 0) step = static_cast<std::uint32_t>(n);
    else return std::fprintf(stderr, "%s %s: flags are --start, --merge (hundredths of a tile, 0 to 10000), --step (1 to 10000), --json FILE\n", flag.c_str(), value), 2;
  }
  const auto all = shapes();
  print_shapes(all, s);
  print_sweep(all, s);
  if (json != nullptr && !write_json(json, all, s, step)) return std::fprintf(stderr, "--json %s: cannot be written\n", json), 2;
  return 0;
}
