// SPDX-License-Identifier: Apache-2.0
// Writes the fuzzers' first corpus: seeds <gguf|tokenizer> <directory>.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "lm/gguf_writer.hpp"

using gguf_test::blob;
using gguf_test::small_vocabulary;
using gguf_test::writer;

namespace {

std::vector<std::string> gguf_seeds() {
  writer scalars;
  scalars.number<std::uint8_t>("a", 0, 1)
      .number<std::int16_t>("b", 3, -1)
      .u32("general.alignment", 32)
      .f32("d", 1)
      .boolean("e", true);
  scalars.text("f", "text")
      .number<std::uint64_t>("g", 10, 5)
      .number<double>("h", 12, 2)
      .texts("i", {"x", ""})
      .i32s("j", {1, 2});
  writer tensors;
  tensors.tensors = {{"w", {32, 2}, 8, 0}, {"n", {5}, 0, 96}, {"k", {256}, 14, 128}};
  tensors.data.resize(338);
  small_vocabulary tiny;
  tiny.tokens = {"<s>", "a", "b", "ab", "\xc4\xa0"};
  tiny.kinds = {3, 1, 1, 1, 1};
  tiny.merges = {"a b"};
  auto chat = tiny.write("llama-bpe");
  chat.text("tokenizer.chat_template", "{{'<|im_start|>system\nX<|im_end|>\n'}}");
  return {scalars.file(), tensors.file(), tiny.write().file(), chat.file(), writer().file()};
}

/// One byte of choices, then text; see tokenizer.cpp.
std::vector<std::string> tokenizer_seeds() {
  std::vector<std::string> out;
  const std::string texts[] = {"hello world the aaaa",
                               "It's 12 o'clock!!\r\n\n  x",
                               "<|im_start|>user\nHi<|im_end|><tool>",
                               "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \xe4\xb8\xad",
                               "        \t\t\n \n",
                               "\xff\xc3",
                               std::string(60, 'a') + std::string(60, ' ')};
  for (std::size_t i = 0; i < std::size(texts); ++i) {
    out.push_back(static_cast<char>(i) + texts[i]);
    out.push_back(static_cast<char>(i + 0x88) + texts[i]);
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc == 3 ? argv[1] : "";
  if (what != "gguf" && what != "tokenizer")
    return std::fputs("usage: seeds <gguf|tokenizer> <directory>\n", stderr), 2;
  const std::filesystem::path at = argv[2];
  std::filesystem::create_directories(at);
  int n = 0;
  for (const std::string& seed : what == "gguf" ? gguf_seeds() : tokenizer_seeds()) {
    std::ofstream out(at / ("seed" + std::to_string(n++)), std::ios::binary);
    if (!(out << seed).flush()) return std::perror("seeds"), 1;
  }
}
