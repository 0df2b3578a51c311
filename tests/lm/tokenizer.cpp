// SPDX-License-Identifier: Apache-2.0
#include "lm/tokenizer.hpp"

#include <chrono>
#include <random>

#include "catch.hpp"
#include "gguf_writer.hpp"
#include "lm/gguf.hpp"
#include "model_file.hpp"
#include "tokenizer_golden.hpp"

using namespace quire_lm;
using Catch::Contains;
using gguf_test::bytes_of;
using gguf_test::small_vocabulary;
using gguf_test::writer;

namespace {

tokenizer small(const std::string& pre = "smollm") {
  return tokenizer(gguf::parse(bytes_of(small_vocabulary().write(pre).file())));
}
tokenizer from(const small_vocabulary& v) { return tokenizer(gguf::parse(bytes_of(v.write().file()))); }

/// The tokens' texts with | between.
std::string cut(const tokenizer& t, std::string_view text, encode_options options = {}) {
  std::string out;
  for (const token id : t.encode(text, options)) out.append(out.empty() ? "" : "|").append(t.bytes(id, true));
  return out;
}
std::string words(const char* pre, std::string_view text) {
  std::string out;
  pretokenizer(rules_for(pre)).cut(text, [&](std::string_view word) {
    out.append(out.empty() ? "" : "|").append(word);
  });
  return out;
}

}  // namespace

TEST_CASE("texts in many scripts give the tokens of llama.cpp") {
  const std::string path = model_file();
  if (path.empty()) return;
  const tokenizer t(gguf::file::open(path));
  REQUIRE(t.size() == 49152);
  for (const golden_text& g : golden_texts) {
    INFO(g.text);
    std::size_t dropped = 0;
    const auto ids = t.encode(g.text, {.parse_special = g.parse_special}, &dropped);
    REQUIRE(ids == g.ids);
    if (dropped == 0) REQUIRE(t.decode(ids, true) == g.text);
  }
}

TEST_CASE("a megabyte of one character takes no quadratic time in the real vocabulary") {
  const std::string path = model_file();
  if (path.empty()) return;
  const tokenizer t(gguf::file::open(path));
  for (const char c : {'a', ' ', '<', '\n', '1'}) {
    const std::string text(1000000, c);
    const auto start = std::chrono::steady_clock::now();
    const auto ids = t.encode(text);
    REQUIRE(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
    REQUIRE(t.decode(ids) == text);
  }
}

TEST_CASE("merges apply in order of rank inside words") {
  const tokenizer t = small();
  REQUIRE(cut(t, "hello world") == "hello| world");
  REQUIRE(cut(t, "aaaaa") == "aaaa|a");
  REQUIRE(cut(t, "the they") == "t|he| |t|he|y");  // "h e" has a lower rank than "t h"
  REQUIRE(cut(t, "a12 3") == "a|1|2| |3");
  REQUIRE(cut(t, "\xc3\xa9\xc3\xa9") == "\xc3\xa9|\xc3\xa9");
  REQUIRE(cut(t, "      x") == "    | | |x");
  REQUIRE(t.encode("").empty());
}

TEST_CASE("patterns cut words as their families do") {
  REQUIRE(words("smollm", "It's 12 o'clock!!  ok\n") == "It|'s| |1|2| o|'|clock|!!| | ok|\n");
  REQUIRE(words("gpt-2", "It's 12\n\nx") == "It|'s| 12|\n|\n|x");
  REQUIRE(words("llama-bpe", "It'S 12345!\n\n x") == "It|'S| |123|45|!\n\n| x");
  REQUIRE(words("qwen2", "ab12 (x)\n") == "ab|1|2| (|x|)\n");
  REQUIRE(words("falcon", "a`b 12345") == "a|`|b| |123|45");
  REQUIRE(words("default", "a`b 12345") == "a|`|b| |123|45");
  REQUIRE(words("smollm",
                "a\xe1\xa0\x8e"
                "b") == "a|\xe1\xa0\x8e|b");  // U+180E is no space
  REQUIRE(words("smollm",
                "a\xc2\xa0\xc2\xa0"
                "b") == "a|\xc2\xa0|\xc2\xa0|b");
  REQUIRE_THROWS_WITH(rules_for("bert"),
                      Contains("tokenizer.ggml.pre is 'bert', allowed one of") && Contains("smollm"));
  REQUIRE_THROWS_AS(rules_for(""), bad_input);
  REQUIRE_THROWS_AS(rules_for("gpt-2 phi-2"), bad_input);
}

TEST_CASE("control tokens count only where they are asked for") {
  const tokenizer t = small();
  REQUIRE(cut(t, "<|im_start|>hello<|im_end|>", {.parse_special = true}) == "<|im_start|>|hello|<|im_end|>");
  REQUIRE(cut(t, "<|im_end|>") == "<|||i|m|_|e|n|d|||>");
  REQUIRE(cut(t, "a<tool>b") == "a|<tool>|b");  // user-defined tokens always count
  REQUIRE(t.encode("<|im_end|>", {.parse_special = true}) == std::vector<token>{2});
  REQUIRE(t.special("<|im_end|>") == 2);
  REQUIRE(t.special("<|im_end|>x") == std::nullopt);
  REQUIRE(t.special("") == std::nullopt);
  const std::vector<token> ids{1, 2};
  REQUIRE(t.decode(ids).empty());
  REQUIRE(t.decode(ids, true) == "<|im_start|><|im_end|>");
  REQUIRE(t.is_end(2));
  REQUIRE(t.is_end(0));  // <|endoftext|> by its name
  REQUIRE_FALSE(t.is_end(1));
  REQUIRE_FALSE(t.is_end(-1));
}

TEST_CASE("the longest special token at a place wins") {
  small_vocabulary v;
  v.token("<t", 4);
  v.token("<tool>>", 4);
  const tokenizer t = from(v);
  REQUIRE(cut(t, "<tool>><tool><t<") == "<tool>>|<tool>|<t|<");
}

TEST_CASE("text in parts merges over their borders but has no control token across them") {
  const tokenizer t = small();
  const std::vector<text_part> parts{
      {"<|im_start|>he", true}, {"llo", false}, {"<|im_end|>", false}, {"<|im", true}, {"_end|>", true}};
  const auto ids = t.encode(std::span<const text_part>(parts), false);
  REQUIRE(ids[0] == 1);
  REQUIRE(std::string(t.bytes(ids[1])) == "hello");
  REQUIRE(std::count(ids.begin(), ids.end(), 2) == 0);
  REQUIRE(t.decode(ids, true) == "<|im_start|>hello<|im_end|><|im_end|>");
}

TEST_CASE("beginning and ending tokens follow the file") {
  small_vocabulary v;
  auto w = v.write();
  w.boolean("tokenizer.ggml.add_eos_token", true);
  const tokenizer t(gguf::parse(bytes_of(w.file())));
  REQUIRE_FALSE(t.adds_bos());
  REQUIRE(t.encode("", {.add_special = true}) == std::vector<token>{2});
  REQUIRE(t.encode("").empty());
  vocabulary plain;
  plain.tokens = {"<s>", "a"};
  plain.kinds = {token_kind::control, token_kind::normal};
  plain.pre = "llama-bpe";  // adds a beginning token by itself
  plain.bos = 0;
  REQUIRE(tokenizer(plain).encode("a", {.add_special = true}) == std::vector<token>{0, 1});
  plain.add_bos = false;
  REQUIRE(tokenizer(plain).encode("a", {.add_special = true}) == std::vector<token>{1});
  plain.add_bos = true;
  plain.bos.reset();
  REQUIRE_THROWS_WITH(tokenizer(plain), Contains("bos_token_id is absent"));
}

TEST_CASE("a word that is a token needs no merges where the family says so") {
  vocabulary v;
  v.tokens = {"a", "b", "ab", "abab"};
  v.pre = "dbrx";
  REQUIRE(tokenizer(v).encode("abab") == std::vector<token>{0, 1, 0, 1});
  v.pre = "llama-bpe";
  v.add_bos = false;
  REQUIRE(tokenizer(v).encode("abab") == std::vector<token>{3});
}

TEST_CASE("bytes without a token are counted and merges through no token come apart") {
  vocabulary v;
  v.tokens = {"a", "b"};
  v.merges = {"a b"};
  v.pre = "gpt-2";
  const tokenizer t(v);
  std::size_t dropped = 0;
  REQUIRE(t.encode("abc", {}, &dropped) == std::vector<token>{0, 1});
  REQUIRE(dropped == 1);
  REQUIRE(t.encode("ab cab cab c", {}, &dropped).size() == 6);
  REQUIRE(dropped == 6);
}

TEST_CASE("text that is not UTF-8 is refused with the place") {
  const tokenizer t = small();
  REQUIRE_THROWS_WITH(t.encode("ab\xff"), Contains("text has byte 0xff at byte offset 2, allowed valid UTF-8"));
  REQUIRE_THROWS_WITH(t.encode("\xe2\x82"), Contains("byte offset 0"));
  REQUIRE_THROWS_AS(t.encode("\xed\xa0\x80"), bad_input);
}

TEST_CASE("any UTF-8 comes back from its tokens") {
  const tokenizer families[] = {small(), small("gpt-2"), small("qwen2"), small("default"), small("falcon")};
  std::mt19937_64 random(11);
  for (int i = 0; i < 400; ++i) {
    std::string text;
    for (std::uint64_t n = random() % 40; n > 0; --n) {
      const auto kind = random() % 8;
      if (kind < 2) text += "hello world <|im_end|> 12  \n"[random() % 28];
      else if (kind == 2) text += static_cast<char>(random() % 128);
      else if (kind == 3) text += small_vocabulary::utf8(static_cast<unsigned>(0x80 + random() % 0x780));
      else if (kind < 6) text += std::string("\xe4\xb8") + static_cast<char>(0x80 + random() % 64);
      else text += std::string("\xf0\x9f\x98") + static_cast<char>(0x80 + random() % 64);
    }
    for (const tokenizer& t : families) {
      for (const bool special : {false, true}) {
        std::size_t dropped = 1;
        REQUIRE(t.decode(t.encode(text, {.parse_special = special}, &dropped), true) == text);
        REQUIRE(dropped == 0);
      }
    }
  }
}

TEST_CASE("a vocabulary that contradicts itself is refused by name") {
  const auto refuse = [](const writer& w) {
    try {
      (void)tokenizer(gguf::parse(bytes_of(w.file())));
    } catch (const bad_input& e) { return std::string(e.what()); }
    return std::string("nothing was refused");
  };
  small_vocabulary v;
  writer w;
  REQUIRE_THAT(refuse(w), Contains("'tokenizer.ggml.model' is absent"));
  w.text("tokenizer.ggml.model", "llama");
  REQUIRE_THAT(refuse(w), Contains("tokenizer.ggml.model is 'llama', allowed 'gpt2'"));
  w = writer().text("tokenizer.ggml.model", "gpt2");
  REQUIRE_THAT(refuse(w), Contains("'tokenizer.ggml.tokens' is absent"));
  w.texts("tokenizer.ggml.tokens", {});
  REQUIRE_THAT(refuse(w), Contains("'tokenizer.ggml.merges' is absent"));
  w.texts("tokenizer.ggml.merges", {});
  REQUIRE_THAT(refuse(w), Contains("tokenizer.ggml.tokens has 0 elements"));
  REQUIRE_THAT(refuse(v.write("wordpiece")), Contains("tokenizer.ggml.pre is 'wordpiece'"));
  REQUIRE_THAT(refuse(v.write().u32("tokenizer.ggml.eot_token_id", 100000)),
               Contains("tokenizer.ggml.eot_token_id is 100000, allowed 0 to"));
  const auto broken = [&](auto change) {
    small_vocabulary copy = v;
    change(copy);
    return refuse(copy.write());
  };
  REQUIRE_THAT(broken([](auto& c) { c.kinds.pop_back(); }), Contains("tokenizer.ggml.token_type has"));
  REQUIRE_THAT(broken([](auto& c) { c.kinds[5] = 7; }), Contains("tokenizer.ggml.token_type[5] is 7, allowed 0 to 6"));
  REQUIRE_THAT(broken([](auto& c) { c.kinds[5] = -1; }), Contains("[5] is -1"));
  REQUIRE_THAT(broken([](auto& c) { c.tokens[4] = c.tokens[7]; }),
               Contains("tokenizer.ggml.tokens[7]") && Contains("the same as [4]"));
  REQUIRE_THAT(broken([](auto& c) { c.tokens[4] = "\xff"; }), Contains("tokenizer.ggml.tokens[4] has byte 0xff"));
  REQUIRE_THAT(broken([](auto& c) { c.token(std::string(2000, 'x'), 3); }), Contains("special token of 2000 bytes"));
  for (const char* bad : {"", "ab", " ab", "a ", " ", "  ", "a \xff"}) {
    REQUIRE_THAT(broken([&](auto& c) { c.merges[1] = bad; }), Contains("tokenizer.ggml.merges[1] is"));
  }
  REQUIRE_THROWS_WITH(small().bytes(100000), Contains("token is 100000, allowed 0 to"));
  REQUIRE_THROWS_AS(small().bytes(-1), bad_input);
}
