// SPDX-License-Identifier: Apache-2.0
// What a calibration learned of a model's heads: a small JSON file that head splits are made from.
#pragma once

#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "error.hpp"
#include "quire/calibrate/head_table.hpp"
#include "weights.hpp"

#include <nlohmann/json.hpp>  // last: it brings std::quoted

namespace quire_lm {

/// A table of head scores as JSON, three at once: {"version": 1, "model", "how", "layers", "kv_heads", "gates", "induction",
/// "echo", and, if it was asked for, "budgets": [{"keep", "gates"}, ...]}. fails: bad_input naming the file and the field.
inline head_scores read_head_scores(const std::string& path, const model_config& model, const std::string& flag = "--heads") {
  const auto refuse = [&](const std::string& why) { throw bad_input(flag + " is " + quire_lm::quoted(path) + ", " + why); };
  std::ifstream in(path, std::ios::binary);
  if (!in) refuse("which can't be opened: " + std::string(std::strerror(errno)) + ", allowed a file that quire-lm calibrate wrote");
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const auto j = nlohmann::json::parse(text, nullptr, false);
  if (j.is_discarded() || !j.is_object()) refuse("which is not a JSON object, allowed a file that quire-lm calibrate wrote");
  head_scores out;
  quire::calibrate::head_table table;
  try {
    table.version = j.at("version").get<std::uint32_t>();
    table.model = j.at("model").get<std::string>();
    table.how = j.at("how").get<std::string>();
    table.layers = j.at("layers").get<std::uint32_t>();
    table.kv_heads = j.at("kv_heads").get<std::uint32_t>();
    for (const auto& [key, to] : {std::pair{"gates", &out.gates}, {"induction", &out.induction}, {"echo", &out.echo}}) {
      table.scores = j.at(key).get<std::vector<double>>();
      if (const quire::status s = quire::calibrate::fits(table, model.layers, model.kv_heads); !s) refuse("whose '" + std::string(key) + "' can't be used: " + quire::describe(s));
      *to = table.scores;
    }
    for (const auto& b : j.value("budgets", nlohmann::json::array())) {
      const double keep = b.at("keep").get<double>();
      if (!(keep > 0 && keep < 1)) refuse("with a budget whose 'keep' is " + std::to_string(keep) + ", allowed a share between 0 and 1");
      table.scores = b.at("gates").get<std::vector<double>>();
      if (const quire::status s = quire::calibrate::fits(table, model.layers, model.kv_heads); !s) refuse("whose 'gates' of a budget can't be used: " + quire::describe(s));
      out.budgets.push_back({keep, table.scores});
    }
  } catch (const nlohmann::json::exception& e) {
    refuse(std::string("in which a field is missing or of another type: ") + e.what());
  }
  out.how = table.how;
  return out;
}

/// The file of scores that came with the program for a model of that name; empty: none.
inline std::string committed_heads(const std::string& model) {
  std::string file;
  for (const char c : model) file += std::isalnum(static_cast<unsigned char>(c)) != 0 ? static_cast<char>(std::tolower(static_cast<unsigned char>(c))) : '-';
  file = QUIRE_LM_DATA "/heads/" + file + ".json";
  return std::ifstream(file).good() ? file : std::string();
}

inline void write_head_scores(std::ostream& to, const head_scores& scores, const model_config& model) {
  nlohmann::ordered_json j{{"version", quire::calibrate::head_table::current}, {"model", model.name}, {"how", scores.how}, {"layers", model.layers}, {"kv_heads", model.kv_heads}};
  const auto rounded = [](const std::vector<double>& x) {
    std::vector<double> out;
    for (const double v : x) out.push_back(std::round(v * 1e6) / 1e6);
    return out;
  };
  j["gates"] = rounded(scores.gates), j["induction"] = rounded(scores.induction), j["echo"] = rounded(scores.echo);
  for (const head_scores::budget& b : scores.budgets) j["budgets"].push_back({{"keep", b.keep}, {"gates", rounded(b.gates)}});
  to << j.dump(1) << "\n";
}

}  // namespace quire_lm
