// SPDX-License-Identifier: Apache-2.0
// Chat prompts for the two layouts most models use. A file's template is recognised, not executed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.hpp"
#include "tokenizer.hpp"

namespace quire_lm {

enum class chat_layout : std::uint8_t {
  chatml,  ///< <|im_start|>role\ncontent<|im_end|>\n
  llama3   ///< <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>, after the beginning token
};
struct message {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// What matters of a file's tokenizer.chat_template.
struct chat_template {
  chat_layout layout{};
  bool has_default_system = false;  ///< a conversation that starts otherwise gets `default_system` first
  std::string default_system;
  bool trims = false;  ///< white space around a content is dropped
};

namespace detail {

/// A Jinja string literal's escapes, as far as prompts use them.
inline std::string unescaped(std::string_view literal) {
  std::string out;
  for (std::size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] == '\\' && i + 1 < literal.size()) {
      const char c = literal[++i];
      out += c == 'n' ? '\n' : c == 't' ? '\t' : c;
    } else {
      out += literal[i];
    }
  }
  return out;
}
inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(space);
  return begin == std::string_view::npos ? std::string_view()
                                         : text.substr(begin, text.find_last_not_of(space) - begin + 1);
}
inline bool applies_trim(std::string_view jinja) {
  for (const std::string_view form :
       {"['content'] | trim", "['content']|trim", "[\"content\"] | trim", "[\"content\"]|trim", ".content | trim",
        ".content|trim", "['content'].strip()", ".content.strip()"}) {
    if (jinja.find(form) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace detail

/// Recognises a template by the markers it writes. fails: bad_input for any other.
[[nodiscard]] inline chat_template read_chat_template(std::string_view jinja) {
  const auto has = [&](std::string_view part) { return jinja.find(part) != std::string_view::npos; };
  chat_template t;
  t.trims = detail::applies_trim(jinja);
  // Dates and tools in the system turn can only be written by running the template (Llama 3.1, SmolLM3).
  if (has("strftime_now") || has("Cutting Knowledge Date")) {
    throw bad_input("tokenizer.chat_template writes dates into the system turn, allowed plain ChatML or Llama 3");
  }
  if (has("<|im_start|>") && has("<|im_end|>")) {
    t.layout = chat_layout::chatml;
    // The default system message is the one literal that runs from the role to the end marker without leaving its
    // quotes.
    constexpr std::string_view open = "<|im_start|>system", close = "<|im_end|>";
    for (std::size_t at = jinja.find(open); at != std::string_view::npos; at = jinja.find(open, at + 1)) {
      std::string_view rest = jinja.substr(at + open.size());
      const std::size_t line = rest.starts_with("\n") ? 1 : rest.starts_with("\\n") ? 2 : 0;
      const std::size_t end = rest.find(close);
      if (line == 0 || end == std::string_view::npos) continue;
      const char quote = at > 0 ? jinja[at - 1] : '\'';
      rest = rest.substr(line, end - line);
      if (rest.find('{') != std::string_view::npos || rest.find('}') != std::string_view::npos) continue;
      bool leaves = false;
      for (std::size_t i = 0; i < rest.size(); ++i) leaves |= rest[i] == quote && (i == 0 || rest[i - 1] != '\\');
      if (leaves) continue;
      t.has_default_system = true;
      t.default_system = detail::unescaped(rest);
      break;
    }
    return t;
  }
  if (has("<|start_header_id|>") && has("<|end_header_id|>") && has("<|eot_id|>")) {
    t.layout = chat_layout::llama3;
    return t;
  }
  throw bad_input(
      "tokenizer.chat_template is of an unknown layout, allowed ChatML (<|im_start|>) or Llama 3 "
      "(<|start_header_id|>)");
}
/// The template of a file. fails: bad_input when it has none or an unknown one.
[[nodiscard]] inline chat_template read_chat_template(const gguf::header& file) {
  return read_chat_template(file.get<std::string>("tokenizer.chat_template"));
}

/// What the template writes after an answer: the end marker and, in ChatML, a new line.
[[nodiscard]] inline std::string turn_end(const chat_template& t) {
  return t.layout == chat_layout::chatml ? "<|im_end|>\n" : "<|eot_id|>";
}

/// A prompt in pieces: markers, in which control tokens count, and contents, in which they are plain text, so that
/// nobody can close a turn by writing its end marker.
struct chat_piece {
  std::string text;
  bool marker;
};

/// The conversation as the model was taught it; `answer` opens the assistant's turn. fails: bad_input for an unknown
/// role. `first` false: `messages` continue a conversation that is already written, so neither beginning nor default
/// come first.
[[nodiscard]] inline std::vector<chat_piece> format_chat(const chat_template& t, std::span<const message> messages,
                                                         bool answer = true, bool first = true) {
  std::vector<chat_piece> out;
  const bool chatml = t.layout == chat_layout::chatml;
  const bool trim = t.trims || !chatml;
  const auto open = [&](std::string_view role) {
    out.push_back({chatml ? "<|im_start|>" + std::string(role) + "\n"
                          : "<|start_header_id|>" + std::string(role) + "<|end_header_id|>\n\n",
                   true});
  };
  const auto close = [&] { out.push_back({turn_end(t), true}); };
  if (!chatml && first) out.push_back({"<|begin_of_text|>", true});
  if (first && !messages.empty() && messages[0].role != "system" && t.has_default_system) {
    open("system");
    out.push_back({t.default_system, false});
    close();
  }
  for (const message& m : messages) {
    if (m.role != "system" && m.role != "user" && m.role != "assistant") {
      throw bad_input("role is " + quoted(m.role) + ", allowed system, user or assistant");
    }
    open(m.role);
    out.push_back({std::string(trim ? detail::trimmed(m.content) : std::string_view(m.content)), false});
    close();
  }
  if (answer) open("assistant");
  return out;
}
/// The pieces joined, for people and for tests.
[[nodiscard]] inline std::string chat_text(std::span<const chat_piece> pieces) {
  std::string out;
  for (const chat_piece& p : pieces) out += p.text;
  return out;
}
/// Tokens of a formatted chat. fails: bad_input for content that is not UTF-8.
[[nodiscard]] inline std::vector<token> encode_chat(const tokenizer& tok, std::span<const chat_piece> pieces) {
  std::vector<text_part> parts;
  for (const chat_piece& p : pieces) parts.push_back({p.text, p.marker});
  return tok.encode(std::span<const text_part>(parts), false);
}

}  // namespace quire_lm
