// SPDX-License-Identifier: Apache-2.0
// Any bytes are a header whose tensors lie inside the file, or bad_input; then any header is a tokenizer and a chat
// template, or bad_input.
#include "lm/gguf.hpp"

#include <cstdlib>

#include "lm/chat.hpp"
#include "lm/tokenizer.hpp"

using namespace quire_lm;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

template <class F>
void tolerate(F&& f) {
  try {
    f();
  } catch (const bad_input& e) { require(*e.what() != '\0'); }
}

void use(const gguf::header& h) {
  for (std::size_t i = 0; i < h.tensors.size(); ++i) {
    const auto& t = h.tensors[i];
    require(t.offset >= h.data_offset && t.bytes > 0 && t.offset + t.bytes <= h.file_size && t.elements() > 0);
    require(&h.need(t.name) == &t);
  }
  for (const auto& entry : h.metadata) {
    const std::string& key = entry.first;
    const gguf::value& v = entry.second;
    tolerate([&] { (void)h.get<std::int32_t>(key); });
    tolerate([&] { (void)h.get<double>(key); });
    tolerate([&] { (void)h.get<bool>(key); });
    tolerate([&] { (void)h.get<std::string>(key); });
    tolerate([&] { require(h.numbers<std::int64_t>(key).size() == v.count); });
    tolerate([&] {
      const auto& list = h.strings(key);
      std::size_t total = 0;
      for (std::size_t i = 0; i < list.count; ++i) total += list.text(i).size();
      require(total == list.bytes.size());
    });
  }
  tolerate([&] { (void)format_chat(read_chat_template(h), std::vector<message>{{"user", "x"}}); });
  tolerate([&] {
    const tokenizer t(h);
    std::size_t dropped = 0;
    const auto ids = t.encode("ab a<s>", {.add_special = true, .parse_special = true}, &dropped);
    for (const token id : ids) require(id >= 0 && static_cast<std::size_t>(id) < t.size());
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  tolerate([&] { use(gguf::parse(bytes)); });
  tolerate([&] { use(gguf::parse(bytes, std::uint64_t{1} << 62)); });  // the header of a huge file
  return 0;
}
