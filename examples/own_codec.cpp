// SPDX-License-Identifier: Apache-2.0
// A user's own codec, outside the library: six bits an element as sign and five bits of magnitude against the tile's
// largest value. One struct, and the model runs on it. usage: own_codec MODEL.gguf [PROMPT]
#include <cmath>
#include <cstdio>

#include "lm/model.hpp"
#include "lm/tokenizer.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/serve/engine.hpp"
using namespace quire;

struct six_bits {
  static constexpr const char* format() noexcept { return "six-bits.1"; }
  std::size_t tile_bytes(kv::tile_shape s) const noexcept { return s.elements() / 4 * 3 + 4; }
  void encode(const kv::codec_context&, kv::tile_shape s, const float* x, std::byte* out) const noexcept {
    float most = 0;
    for (std::uint32_t i = 0; i < s.elements(); ++i) most = std::fmax(most, std::fabs(x[i]));
    std::memcpy(out, &most, 4);
    for (std::uint32_t i = 0; i < s.elements(); i += 4) {
      std::uint32_t word = 0;  // four elements in three bytes
      for (std::uint32_t k = 0; k < 4; ++k) {
        const auto magnitude = static_cast<std::uint32_t>(most > 0 ? std::lround(31 * std::sqrt(std::fabs(x[i + k]) / most)) : 0);
        word |= (magnitude | (x[i + k] < 0 ? 32u : 0u)) << 6 * k;
      }
      std::memcpy(out + 4 + i / 4 * 3, &word, 3);
    }
  }
  void decode(const kv::codec_context&, kv::tile_shape s, const std::byte* tile, float* x) const noexcept {
    float most;
    std::memcpy(&most, tile, 4);
    for (std::uint32_t i = 0, word = 0; i < s.elements(); ++i) {
      std::memcpy(&word, tile + 4 + i / 4 * 3, 3);
      const std::uint32_t code = word >> i % 4 * 6, magnitude = code & 31;
      x[i] = (code & 32 ? -most : most) * static_cast<float>(magnitude * magnitude) / 961;
    }
  }
};
static_assert(kv::Codec<six_bits>);

int main(int argc, char** argv) try {
  if (argc < 2) throw quire_lm::bad_input("usage: own_codec MODEL.gguf [PROMPT]");
  const auto file = quire_lm::gguf::file::open(argv[1]);
  const quire_lm::tokenizer words(file);
  const quire_lm::model_weights weights(file);
  const kv::paged<kv::codec_pair<six_bits>> layout(weights.config.cache_extents());
  kv::store cache(layout, kv::pages_for(layout, 1, 512));
  thread_executor threads(2);
  quire_lm::llama model(weights, layout, threads, /*max_rows=*/128, /*sequences=*/1, /*max_tokens=*/512);
  serve::engine engine(model, cache, schedule::policy<>{.batching = {.tau = 128}}, {.max_running = 1});
  serve::request_id id = 0;
  const auto print = [&](auto, std::int32_t token) { std::fputs(words.decode({&token, 1}).c_str(), stdout); };
  const std::string prompt = argc > 2 ? argv[2] : "Once upon a time there was a lighthouse. Every evening, when the lamp was lit,";
  if (status s = engine.submit({.prompt = words.encode(prompt), .max_new_tokens = 100, .on_token = print}, id); !s) throw quire_lm::bad_input(describe(s));
  engine.run();
  std::printf("\n%.0f bytes a token in %s tiles\n", kv::bytes_per_token(layout), six_bits::format());
} catch (const quire_lm::bad_input& e) {
  return std::fprintf(stderr, "own_codec: %s\n", e.what()), 2;
}
