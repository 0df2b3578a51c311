// SPDX-License-Identifier: Apache-2.0
// Fills a store by hand, through the view alone, and remembers what every token must hold.
#pragma once

#include <cstring>
#include <vector>

#include "catch.hpp"
#include "quire/kv/store.hpp"

namespace kv_test {

using namespace quire;

template <kv::Layout L>
class scribe {
 public:
  scribe(const L& layout, std::uint32_t sequences, std::uint32_t tokens) : store(layout, kv::pages_for(layout, sequences, tokens, 256)), written(sequences) {}

  kv::store<L> store;

  bool open() {
    std::uint32_t s = 0;
    if (!store.open(s)) return false;
    written[s].clear();
    return true;
  }
  void close(std::uint32_t s) {
    store.close(s);
    forget(s);
  }
  void forget(std::uint32_t s) { written[s].clear(); }
  bool fork(std::uint32_t from) {
    std::uint32_t to = 0;
    if (!store.fork(from, to)) return false;
    written[to] = written[from];
    return true;
  }
  bool truncate(std::uint32_t s, std::uint32_t length) {
    if (!store.truncate(s, length)) return false;
    written[s].resize(length);
    return true;
  }
  /// Appends as the kernels do: exact rows into the tail, a tile that fills is sealed. Every token gets a stamp of its own.
  bool append(std::uint32_t s, std::uint32_t n) {
    if (!store.reserve(s, n)) return false;
    const auto view = store.view();
    const L& layout = store.layout();
    const extents e = layout.extent();
    const std::uint32_t first = store.length(s);
    for (std::uint32_t i = 0; i < n; ++i) {
      const std::uint32_t token = first + i, stamp = ++stamps_;
      written[s].push_back(stamp);
      for (std::uint32_t layer = 0; layer < e.layers; ++layer)
        for (std::uint32_t head = 0; head < e.kv_heads; ++head) {
          std::byte* tail = view.tail(s, layer, head);
          put(tail, token % 64, stamp, layer, head);
          if (token % 64 == 63) seal(tail, layer, head, token / 64, view.sealed(s, layer, head, token / 64));
        }
    }
    const status done = store.commit(s, n);
    REQUIRE(done);
    return true;
  }
  /// Checks every byte that a query at the end may read; returns how many sealed pieces were compared.
  std::uint32_t verify(std::uint32_t s) {
    if (!store.known(s)) return 0;
    REQUIRE(store.length(s) == written[s].size());
    const auto view = store.view();
    const L& layout = store.layout();
    const extents e = layout.extent();
    const std::uint32_t length = store.length(s), full = length / 64;
    std::vector<std::byte> raw(layout.raw().piece_bytes(e.head_dim)), sealed(layout.sealed().piece_bytes(e.head_dim));
    std::uint32_t compared = 0;
    bool same = true;
    for (std::uint32_t layer = 0; layer < e.layers; ++layer)
      for (std::uint32_t head = 0; head < e.kv_heads; ++head) {
        const kv::visibility sees = layout.group_sees(layout.slot(layer, head).group);
        std::vector<bool> reachable(full, false);
        const kv::head_view runs = view.head(s, layer, head, full, view.tail(s, layer, head), length % 64);
        for (std::uint32_t i = 0; i < runs.count; ++i)
          for (std::uint32_t t = 0; runs.runs[i].form == 1 && t < runs.runs[i].tiles(); ++t) {
            const std::uint32_t tile = runs.runs[i].slot + t;
            reachable[tile] = true;
            for (std::uint32_t j = 0; j < 64; ++j) put(raw.data(), j, written[s][tile * 64 + j], layer, head);
            std::fill(sealed.begin(), sealed.end(), std::byte{0});
            seal(raw.data(), layer, head, tile, sealed.data());
            const std::byte* found = runs.runs[i].tile(t);
            same = same && found == view.sealed(s, layer, head, tile);
            const auto pair = layout.sealed();
            same = same && std::memcmp(found, sealed.data(), pair.key_bytes(e.head_dim)) == 0;
            same = same && std::memcmp(found + runs.runs[i].value_offset, sealed.data() + pair.value_offset(e.head_dim), pair.value_bytes(e.head_dim)) == 0;
            ++compared;
          }
        for (std::uint32_t t = 0; t < full; ++t) same = same && (reachable[t] || sees.drops(length, t));
        if (length % 64 != 0) {
          std::memcpy(raw.data(), view.tail(s, layer, head), raw.size());  // tokens past the end keep their bytes
          for (std::uint32_t j = 0; j < length % 64; ++j) put(raw.data(), j, written[s][full * 64 + j], layer, head);
          same = same && std::memcmp(raw.data(), view.tail(s, layer, head), raw.size()) == 0;
        }
      }
    INFO("sequence " << s << " of length " << length);
    REQUIRE(same);
    return compared;
  }

  std::vector<std::vector<std::uint32_t>> written;  ///< [sequence][token] stamp

 private:
  void put(std::byte* piece, std::uint32_t at, std::uint32_t stamp, std::uint32_t layer, std::uint32_t head) const {
    const auto raw = store.layout().raw();
    const std::uint32_t dim = store.layout().extent().head_dim;
    float row[max_head_dim];
    const auto fill = [&](std::uint32_t salt) {
      for (std::uint32_t i = 0; i < dim; ++i) row[i] = static_cast<float>((stamp * 2654435761u + (layer * 7 + head * 3 + salt + i) * 40503u) >> 20 & 0xff) - 100;
    };
    fill(0);
    raw.key.put(kv::side::key, dim, at, row, piece);
    fill(50);
    raw.value.put(kv::side::value, dim, at, row, piece + raw.value_offset(dim));
  }
  void seal(const std::byte* exact, std::uint32_t layer, std::uint32_t head, std::uint32_t tile, std::byte* to) const {
    const L& layout = store.layout();
    const std::uint32_t dim = layout.extent().head_dim;
    const auto raw = layout.raw();
    const auto sealed = layout.sealed();
    float x[max_head_dim * tile_tokens] = {};
    const auto view = store.view();
    const kv::tile_shape k = kv::shape_of(kv::side::key, dim), v = kv::shape_of(kv::side::value, dim);
    const auto at_key = view.context(0, layer, head, tile, kv::side::key), at_value = view.context(0, layer, head, tile, kv::side::value);
    raw.key.decode(at_key, k, exact, x);
    sealed.key.encode(at_key, k, x, to);
    raw.value.decode(at_value, v, exact + raw.value_offset(dim), x);
    sealed.value.encode(at_value, v, x, to + sealed.value_offset(dim));
  }

  std::uint32_t stamps_ = 0;
};

}  // namespace kv_test
