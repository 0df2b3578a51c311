// SPDX-License-Identifier: Apache-2.0
// Any text is refused exactly when it is not UTF-8; else it comes back from its tokens, whole, streamed or in parts.
#include "lm/tokenizer.hpp"

#include <cstdlib>

#include "lm/gguf.hpp"
#include "lm/gguf_writer.hpp"

using namespace quire_lm;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

/// The small vocabulary under every family of patterns.
const std::vector<tokenizer>& families() {
  static const std::vector<tokenizer> all = [] {
    std::vector<tokenizer> out;
    const gguf_test::small_vocabulary v;
    for (const char* pre : {"smollm", "gpt-2", "llama-bpe", "dbrx", "qwen2", "falcon", "default"}) {
      out.emplace_back(gguf::parse(gguf_test::bytes_of(v.write(pre).file())));
    }
    return out;
  }();
  return all;
}

/// A merge table of its own, dense enough that random letters merge often.
const merge_table& dense_merges() {
  static const merge_table table = [] {
    merge_table t;
    std::vector<std::string> known{"a", "b", " ", "<", "1"};
    for (std::size_t i = 0; i < 200; ++i) {
      const std::string l = known[i * 7 % known.size()], r = known[i * i % known.size()];
      t.add(l, r);
      if (l.size() + r.size() < 20) known.push_back(l + r);
    }
    return t;
  }();
  return table;
}

}  // namespace

/// First byte: low bits choose the family, bit 7 whether control tokens are parsed; the rest is text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const tokenizer& t = families()[(data[0] & 15) % families().size()];
  const bool special = (data[0] & 0x80) != 0;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);

  merger merge(dense_merges());
  const auto by_scan = merge(text, SIZE_MAX);
  require(by_scan == merge(text, 0));

  const std::size_t valid = valid_utf8_prefix(text);
  std::size_t dropped = 0;
  std::vector<token> ids;
  try {
    ids = t.encode(text, {.parse_special = special}, &dropped);
    require(valid == text.size());
  } catch (const bad_input&) {
    require(valid < text.size());
    return 0;
  }
  require(dropped == 0 && t.decode(ids, true) == text);
  utf8_stream stream;
  std::string shown;
  for (const token id : ids) shown += stream.push(t.bytes(id, true));
  require(shown + stream.finish() == text);

  // Without control tokens, a border between parts changes nothing; user-defined ones may be cut by it.
  std::size_t border = text.size() / 2;
  while (border < text.size() && (text[border] & 0xc0) == 0x80) ++border;
  const text_part parts[] = {{std::string_view(text).substr(0, border), special},
                             {std::string_view(text).substr(border), special}};
  const auto joined = t.encode(std::span<const text_part>(parts), false);
  require(t.decode(joined, true) == text);
  if (text.find('<') == std::string::npos) require(joined == ids);
  return 0;
}
