// SPDX-License-Identifier: Apache-2.0
#include "common.hpp"

namespace quire_lm {

int tokenize(const tokenize_options& o) {
  const std::string text = read_text(o.file, "--file");
  const loaded_model m = load_model(o, false);
  const std::vector<token> ids = encode_text(*m.tok, text, "--file", true);
  if (o.as_json) {
    std::printf("%s\n", json{{"tokens", ids}}.dump().c_str());
  } else {
    for (const token id : ids) std::printf("%d\n", id);
  }
  return 0;
}

}  // namespace quire_lm
