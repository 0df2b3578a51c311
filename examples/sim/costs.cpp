// SPDX-License-Identifier: Apache-2.0
#include "costs.hpp"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "error.hpp"
#include "quire/serve/simulate/profiles.hpp"

namespace quire_sim {
namespace {

namespace sim = quire::serve::simulate;

std::ifstream open(const std::string& path, const std::string& flag) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw bad_input(flag + ": " + legible(path) + " can't be opened: " + std::strerror(errno));
  return in;
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> out;
  std::istringstream in(line);
  for (std::string cell; std::getline(in, cell, ',');) out.push_back(cell);
  return out;
}

/// Vidur's profile of one layer: medians of every operation but the embedding, in milliseconds; several rows may have
/// the same number of tokens, then the last one counts. One worker only.
cost_model from_vidur(const std::string& path, const cost_options& o, const std::string& flag) {
  std::ifstream in = open(path, flag);
  std::string line;
  std::getline(in, line);
  if (!line.empty() && line.back() == '\r') line.pop_back();
  const std::vector<std::string> names = split(line);
  std::map<std::string, std::size_t> at;
  std::vector<std::size_t> medians;
  for (std::size_t i = 0; i < names.size(); ++i) {
    at[names[i]] = i;
    if (names[i].starts_with("time_stats.") && names[i].ends_with(".median") && !names[i].starts_with("time_stats.emb.")) medians.push_back(i);
  }
  for (const char* needed : {"num_tokens", "num_tensor_parallel_workers", "n_head", "n_kv_head", "n_embd"})
    if (!at.contains(needed)) throw bad_input(flag + ": " + legible(path) + " has no column " + needed + ", allowed a profile with time_stats.*.median, n_head, n_kv_head, n_embd, num_tokens and num_tensor_parallel_workers");
  if (medians.empty()) throw bad_input(flag + ": " + legible(path) + " has no column time_stats.*.median");
  std::map<std::uint32_t, double> times;
  double heads = 0, kv_heads = 0, width = 0;
  for (std::size_t number = 2; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const std::vector<std::string> row = split(line);
    const auto value = [&](std::size_t i) {
      double x = NAN;
      const std::string& text = i < row.size() ? row[i] : std::string();
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
      if (error != std::errc() || end != text.data() + text.size() || !(x >= 0) || x > 1e9)
        throw bad_input(flag + ": " + path + ", line " + std::to_string(number) + ": " + names[i] + " is " + legible(text) + ", allowed a number from 0 to 1e9");
      return x;
    };
    if (value(at["num_tensor_parallel_workers"]) != 1) continue;
    const double tokens = value(at["num_tokens"]);
    if (tokens < 1 || tokens > 1 << 24) throw bad_input(flag + ": " + path + ", line " + std::to_string(number) + ": num_tokens is " + std::to_string(tokens) + ", allowed 1 to 16777216");
    double layer = 0;
    for (const std::size_t i : medians) layer += value(i);
    times[static_cast<std::uint32_t>(tokens)] = layer * o.layers * 1e-3;
    heads = value(at["n_head"]), kv_heads = value(at["n_kv_head"]), width = value(at["n_embd"]);
  }
  if (times.empty() || heads < 1) throw bad_input(flag + ": " + legible(path) + " has no row with num_tensor_parallel_workers 1");
  std::vector<sim::knot> table;
  for (const auto& [tokens, seconds] : times) table.push_back({tokens, seconds});
  const double row_bytes = 2 * 2 * kv_heads * (width / heads) * o.layers;
  cost_model m({.linear = {}, .round_to = 8, .per_step = 1e-3, .per_row = row_bytes / o.bytes_per_second, .per_pair = 4 * width * o.layers / o.flops}, std::move(table));
  m.row_bytes = static_cast<std::uint64_t>(row_bytes);
  m.source = "profile " + path.substr(path.find_last_of('/') + 1);
  return m;
}

/// Least squares of y = sum of x_k c_k for three unknowns, by the normal equations; false when they don't determine c.
bool solve(const std::vector<std::array<double, 3>>& x, const std::vector<double>& y, std::array<double, 3>& c) {
  double a[3][4]{};
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double weight = 1 / (y[i] * y[i]);  // equal relative errors
    for (int r = 0; r < 3; ++r) {
      for (int k = 0; k < 3; ++k) a[r][k] += weight * x[i][static_cast<std::size_t>(r)] * x[i][static_cast<std::size_t>(k)];
      a[r][3] += weight * x[i][static_cast<std::size_t>(r)] * y[i];
    }
  }
  double scale[3];
  for (int r = 0; r < 3; ++r) scale[r] = std::sqrt(a[r][r]);
  for (int r = 0; r < 3; ++r)
    for (int k = 0; k < 4; ++k) a[r][k] /= scale[r] * (k < 3 ? scale[k] : 1);
  for (int p = 0; p < 3; ++p) {
    int best = p;
    for (int r = p + 1; r < 3; ++r)
      if (std::fabs(a[r][p]) > std::fabs(a[best][p])) best = r;
    if (!(std::fabs(a[best][p]) > 1e-9)) return false;
    std::swap(a[p], a[best]);
    for (int r = 0; r < 3; ++r) {
      if (r == p) continue;
      const double f = a[r][p] / a[p][p];
      for (int k = p; k < 4; ++k) a[r][k] -= f * a[p][k];
    }
  }
  for (int r = 0; r < 3; ++r) c[static_cast<std::size_t>(r)] = a[r][3] / a[r][r] / scale[r];
  return true;
}

/// What quire-lm bench measured: decode steps give the time of a step, of a sequence in it and of a row read; prompts
/// give the time of a token, and of a pair of query and key.
cost_model from_bench(const std::string& path, const std::string& flag) {
  std::ifstream in = open(path, flag);
  const auto file = nlohmann::json::parse(in, nullptr, false);
  const auto refuse = [&](const std::string& what) -> void { throw bad_input(flag + ": " + legible(path) + " " + what + ", allowed the JSON of quire-lm bench --json"); };
  if (!file.is_object()) refuse("is no JSON object");
  const auto number = [&](const nlohmann::json& o, const char* field) {
    const auto f = o.find(field);
    if (f == o.end() || !f->is_number() || !(f->get<double>() >= 0)) refuse(std::string("has a missing or wrong ") + field);
    return f->get<double>();
  };
  const double prompt = number(file, "prompt"), tokens = number(file, "tokens");
  const auto rows = file.find("rows");
  if (rows == file.end() || !rows->is_array() || rows->empty()) refuse("has no rows");
  std::vector<std::array<double, 3>> steps, chunks;
  std::vector<double> step_seconds, chunk_seconds;
  std::set<double> depths, batches;
  std::string kv;
  for (const auto& r : *rows) {
    if (!r.is_object()) refuse("has a row that is no object");
    const std::string name = r.value("kv", "");
    if (kv.empty()) kv = name;
    if (name != kv) continue;  // the first cache of the file
    const double depth = number(r, "depth"), batch = number(r, "batch"), decode = number(r, "decode_tokens_per_second"), prefill = number(r, "prefill_tokens_per_second");
    if (batch < 1 || !(decode > 0) || !(prefill > 0) || prompt < 1) refuse("has a row with a rate of 0");
    depths.insert(depth), batches.insert(batch);
    steps.push_back({1, batch, batch * (depth + tokens / 2)});
    step_seconds.push_back(batch / decode);
    chunks.push_back({1, prompt * (depth + prompt / 2) / prompt, 0});
    chunk_seconds.push_back(1 / prefill);
  }
  if (depths.size() < 2 || batches.size() < 2)
    throw bad_input(flag + ": " + legible(path) + " has " + std::to_string(depths.size()) + " depths and " + std::to_string(batches.size()) + " batches, allowed 2 and more of each (quire-lm bench --depth 0,1024 --batch 1,4)");
  std::array<double, 3> c{};
  if (!solve(steps, step_seconds, c)) refuse("has rows that do not determine a step's time");
  for (double& v : c) v = std::max(v, 0.0);
  // prefill: seconds per token = token + pair * (mean rows behind it), a straight line through the rows
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (std::size_t i = 0; i < chunks.size(); ++i) n += 1, sx += chunks[i][1], sy += chunk_seconds[i], sxx += chunks[i][1] * chunks[i][1], sxy += chunks[i][1] * chunk_seconds[i];
  const double slope = (n * sxy - sx * sy) / (n * sxx - sx * sx), per_pair = std::max(0.0, slope), per_token = std::max(1e-12, (sy - per_pair * sx) / n);
  // tokens cost per_token each whatever they are; a decode's own cost is corrected by per_sequence
  std::vector<sim::knot> table{{1, per_token}, {1025, 1025 * per_token}};
  cost_model m({.linear = {}, .round_to = 1, .per_step = c[0], .per_sequence = c[1] - per_token, .per_row = c[2], .per_pair = per_pair}, std::move(table));
  m.row_bytes = 23040;
  m.cache_rows = 65536;
  m.source = "measured, " + path.substr(path.find_last_of('/') + 1) + ", cache " + kv;
  return m;
}

}  // namespace

std::string known_costs() {
  std::string all;
  for (const sim::machine& m : sim::machines) all += std::string(m.name) + ", ";
  return all + "niyama";
}

cost_model make_cost(const std::string& name, const cost_options& o, const std::string& flag) {
  if (name.starts_with("vidur:")) return from_vidur(name.substr(6), o, flag);
  if (name.starts_with("bench:")) return from_bench(name.substr(6), flag);
  if (name == "niyama") {
    cost_model m(sim::niyama_fit);
    m.source = "Niyama branch of the Sarathi-Serve repository";
    return m;
  }
  const sim::machine* found = sim::find_machine(name);
  if (found == nullptr) throw bad_input(flag + " is " + legible(name) + ", allowed " + known_costs() + ", vidur:FILE, bench:FILE");
  cost_model m(found->cost, {found->cost.linear.begin(), found->cost.linear.end()});
  m.row_bytes = found->row_bytes, m.cache_rows = found->cache_rows;
  m.source = found->source;
  return m;
}

}  // namespace quire_sim
