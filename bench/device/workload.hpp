// SPDX-License-Identifier: Apache-2.0
// What is timed: a step of some sequences on one kind of cache, as words (`key=value`) that the sweep, the peers and a person can say.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "quire/attention/plan_view.hpp"
#include "quire/core/random.hpp"

namespace device_bench {

struct workload {
  std::string part = "decode";       ///< decode, small (timed in graphs too), chunk, cascade, append
  std::string codec = "bf16";
  std::string lengths = "uniform";   ///< uniform; zipf: tokens / rank; one-long: one of `tokens`, the others a 32nd of it
  std::uint32_t head_dim = 128, kv_heads = 8, group = 4;
  std::uint32_t batch = 1;
  std::uint32_t tokens = 1024;       ///< of the longest sequence, the step's own rows included
  std::uint32_t rows = 1;            ///< of each sequence in the step: 1 decodes, more is a chunk of a prompt
  std::uint32_t prefix = 0;          ///< leading tokens that all sequences share, a multiple of 256
  std::uint32_t layers = 0;          ///< 0: as many as keep the L2 from serving

  std::string words() const {
    std::ostringstream o;
    o << "part=" << part << " codec=" << codec << " head_dim=" << head_dim << " kv_heads=" << kv_heads << " group=" << group << " batch=" << batch << " tokens=" << tokens
      << " lengths=" << lengths << " rows=" << rows << " prefix=" << prefix << " layers=" << layers;
    return o.str();
  }
  /// throws std::invalid_argument: a word that is none, or a number out of range.
  static workload parse(const std::string& text) {
    workload w;
    std::istringstream in(text);
    for (std::string word; in >> word;) {
      const auto cut = word.find('=');
      const std::string key = word.substr(0, cut), value = cut == std::string::npos ? "" : word.substr(cut + 1);
      if (key == "part") w.part = value;
      else if (key == "codec") w.codec = value;
      else if (key == "lengths") w.lengths = value;
      else if (std::uint32_t* to = w.number(key)) *to = static_cast<std::uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
      else throw std::invalid_argument("'" + word + "' is no word of a workload");
    }
    if (w.lengths != "uniform" && w.lengths != "zipf" && w.lengths != "one-long") throw std::invalid_argument("lengths=" + w.lengths + ": uniform, zipf or one-long");
    if (w.kv_heads == 0 || w.group == 0 || w.batch == 0 || w.rows == 0 || w.tokens < w.rows) throw std::invalid_argument("a workload without heads, sequences or tokens");
    if (w.prefix % 256 != 0 || (w.prefix != 0 && w.prefix >= w.tokens)) throw std::invalid_argument("prefix: a multiple of 256 below tokens");
    return w;
  }

  /// Where the step's rows stand. Ragged lengths come in a shuffled order, and end inside tiles.
  std::vector<quire::attention::query_span> spans() const {
    std::vector<std::uint32_t> held(batch, tokens);
    for (std::uint32_t i = 1; i < batch && lengths != "uniform"; ++i) {
      const std::uint32_t n = lengths == "zipf" ? tokens / (i + 1) : tokens / 32;
      held[i] = std::max(n, rows + 63) + i * 37 % 64 - 32;
    }
    quire::splitmix64(7).shuffle(std::span(held));
    std::vector<quire::attention::query_span> r;
    for (std::uint32_t i = 0; i < batch; ++i) r.push_back({i, held[i] - rows, rows, i * rows});
    return r;
  }
  double mean_tokens() const {
    double sum = 0;
    for (const auto& s : spans()) sum += s.first + s.count;
    return sum / batch;
  }

 private:
  std::uint32_t* number(const std::string& key) {
    if (key == "head_dim") return &head_dim;
    if (key == "kv_heads") return &kv_heads;
    if (key == "group") return &group;
    if (key == "batch") return &batch;
    if (key == "tokens") return &tokens;
    if (key == "rows") return &rows;
    if (key == "prefix") return &prefix;
    if (key == "layers") return &layers;
    return nullptr;
  }
};

}  // namespace device_bench
