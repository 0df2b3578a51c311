// SPDX-License-Identifier: Apache-2.0
#include "bench.hpp"

#include <algorithm>

namespace quire_lm {
namespace {

token some_token(const backend& b, std::uint32_t position, std::uint32_t salt) {
  std::uint64_t x = (std::uint64_t{position} << 20 | salt) * 0x9e3779b97f4a7c15u;
  x ^= x >> 29;
  return static_cast<token>(x * 0xbf58476d1ce4e5b9u % b.vocabulary());
}

}  // namespace

void fill(backend& b, std::uint32_t sequence, std::uint32_t tokens, std::uint32_t salt) {
  std::vector<token> part;
  std::vector<float> logits(b.vocabulary());
  for (std::uint32_t done = 0; done < tokens;) {
    const std::uint32_t n = std::min(b.max_rows(), tokens - done), at = b.length(sequence);
    part.resize(n);
    for (std::uint32_t i = 0; i < n; ++i) part[i] = some_token(b, at + i, salt);
    require(b.reserve(sequence, n));
    const quire::serve::model_input in{sequence, at, part, done + n == tokens};  // a prompt's last row is what it is read for
    require(b.step(b, {&in, 1}, logits.data()));
    require(b.commit(sequence, n));
    done += n;
  }
}

double decode(backend& b, std::span<const std::uint32_t> sequences, std::uint32_t steps) {
  std::vector<float> logits(sequences.size() * b.vocabulary());
  std::vector<token> tokens(sequences.size());
  std::vector<quire::serve::model_input> inputs(sequences.size());
  const double start = now();
  for (std::uint32_t step = 0; step < steps; ++step) {
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const std::uint32_t at = b.length(sequences[i]);
      tokens[i] = some_token(b, at, static_cast<std::uint32_t>(i));
      inputs[i] = {sequences[i], at, {&tokens[i], 1}, true};
      require(b.reserve(sequences[i], 1));
    }
    require(b.step(b, inputs, logits.data()));
    for (const std::uint32_t s : sequences) require(b.commit(s, 1));
  }
  return now() - start;
}

int bench(const bench_options& o) {
  const instruction_set isa = pick_device(o);
  const loaded_model m = load_model(o);
  for (const std::uint32_t depth : o.depths)
    if (std::uint64_t{depth} + std::max(o.prompt, o.tokens) > m.config().context)
      throw bad_input("--depth is " + std::to_string(depth) + " with --prompt " + std::to_string(o.prompt) + " and --tokens " + std::to_string(o.tokens) +
                      ", allowed together at most the model's " + std::to_string(m.config().context));
  for (const std::uint32_t batch : o.batches)
    if (batch > o.chunk) throw bad_input("--batch is " + std::to_string(batch) + ", allowed at most --chunk " + std::to_string(o.chunk));

  json rows = json::array();
  table shown({"kv", "depth", "batch", "prefill tok/s", "decode tok/s", "read GB/s"});
  progress_line line("bench");
  for (const std::string& kv : o.kvs)
    for (const std::uint32_t depth : o.depths)
      for (const std::uint32_t batch : o.batches) {
        line.rename("bench " + kv + " depth " + std::to_string(depth) + " batch " + std::to_string(batch));
        line.at(static_cast<double>(rows.size()), static_cast<double>(o.kvs.size() * o.depths.size() * o.batches.size()));
        const auto model = isa.make(*m.weights, {.kv = kv, .threads = o.threads, .max_rows = o.chunk, .sequences = batch + 1,
                                                 .max_tokens = depth + std::max(o.prompt, o.tokens), .wide_rows = o.wide_rows});
        std::vector<std::uint32_t> sequences(batch);
        for (std::uint32_t i = 0; i < batch; ++i) {
          require(model->open(sequences[i]));
          fill(*model, sequences[i], depth, i);
        }
        std::uint32_t probe = 0;  // the prompt goes to a copy, so that decoding starts at the depth as well
        require(model->fork(sequences[0], probe));
        if (depth == 0) {  // nothing has warmed the weights up yet
          fill(*model, probe, std::min(o.prompt, o.chunk), batch);
          model->close(probe);
          require(model->fork(sequences[0], probe));
        }
        const double start = now();
        fill(*model, probe, o.prompt, batch);
        const double prefill = rate(o.prompt, now() - start);
        model->close(probe);
        const double decoded = rate(static_cast<double>(o.tokens) * batch, decode(*model, sequences, o.tokens));
        const double bandwidth = model->read_bandwidth();
        rows.push_back({{"depth", depth}, {"batch", batch}, {"kv", kv}, {"prefill_tokens_per_second", prefill}, {"decode_tokens_per_second", decoded},
                        {"read_bandwidth_bytes_per_second", bandwidth}, {"isa", isa.name}, {"threads", o.threads}});
        shown.row({kv, std::to_string(depth), std::to_string(batch), fixed(prefill, 1), fixed(decoded, 1), fixed(bandwidth / 1e9, 1)});
      }
  line.clear();
  if (o.as_json) {
    std::printf("%s\n", json{{"prompt", o.prompt}, {"tokens", o.tokens}, {"rows", rows}}.dump(2).c_str());
  } else {
    shown.print(stdout);
  }
  return 0;
}

}  // namespace quire_lm
