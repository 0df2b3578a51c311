// SPDX-License-Identifier: Apache-2.0
#include <quire/quire.hpp>

#include <vector>

#include "shared.hpp"

float fold_in_second_unit(std::uint32_t workers) {
  quire::thread_executor pool(workers);
  std::vector<quire::softmax_state> part(workers);
  pool.run([&](const quire::team& t) {
    const quire::range mine = t.share(64);
    for (std::uint64_t i = mine.begin; i < mine.end; ++i)
      part[t.worker] = quire::merge(part[t.worker], {static_cast<float>(i % 7), 1.0f}).state;
  });
  quire::softmax_state whole;
  for (const quire::softmax_state& p : part) whole = quire::merge(whole, p).state;
  return whole.l;
}
