// SPDX-License-Identifier: Apache-2.0
// A cache filled by the kernels themselves, and the double-precision answer for every query row.
#pragma once

#include <vector>

#include "attention/token_rows.hpp"
#include "quire/attention/cpu/attend.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/store.hpp"

namespace fixture {

using namespace quire;
using kv::codec_pair;
using kv::group;
using kv::hadamard;
using kv::integer;
using int8_token = codec_pair<integer<8, group::column>, integer<8, group::row>>;
using int4_token = codec_pair<integer<4, group::column>, integer<4, group::row>>;
using int4_channel = codec_pair<integer<4, group::row>, integer<4, group::row>>;
using int4_hadamard = codec_pair<hadamard<integer<4, group::column>>, hadamard<integer<4, group::row>>>;

using rows = token_rows;

/// Runs layer 0 over what the sequence does not hold of `data` yet in chunks, committing each. Returns out [tokens][q_width].
template <kv::Layout L>
std::vector<float> run(kv::store<L>& store, std::uint32_t sequence, const attention::problem& p, const rows& data, std::uint32_t chunk, std::uint32_t workers) {
  const L& layout = store.layout();
  thread_executor pool(workers);
  attention::cpu::workspace<L> work(layout, p, workers, chunk, 1, data.tokens);
  std::vector<float> out(data.q.size(), -7.0f);
  for (std::uint32_t at = store.length(sequence); at < data.tokens; at += chunk) {
    const std::uint32_t n = std::min(chunk, data.tokens - at);
    if (!store.reserve(sequence, n)) throw std::runtime_error("reserve failed");
    const attention::query_span span{sequence, at, n, 0, store.whole_until(sequence)};
    for (std::uint32_t layer = 0; layer < layout.extent().layers; ++layer) {
      attention::cpu::layer_call<L> call{store.view(), p, layer, {&span, 1}};
      call.q = data.q.data() + at * data.q_width, call.k = data.k.data() + at * data.kv_width, call.v = data.v.data() + at * data.kv_width;
      call.ldq = call.ldo = data.q_width, call.ldkv = data.kv_width, call.out = out.data() + at * data.q_width;
      pool.run([&](const team& t) { attention::cpu::attend(t, call, work); });
    }
    if (!store.commit(sequence, n)) throw std::runtime_error("commit failed");
  }
  return out;
}

/// The double-precision answer for one row of a cache that holds exactly the tokens up to and including `query`.
template <kv::Layout L>
std::vector<double> expected(const kv::store<L>& store, std::uint32_t sequence, const attention::problem& p, const rows& data, std::uint32_t query,
                             std::uint32_t q_head) {
  const auto view = store.view();
  const std::uint32_t head = q_head / p.group(), tile = query / tile_tokens;
  const kv::head_view runs = view.head(sequence, 0, head, tile, view.tail(sequence, 0, head), query % tile_tokens + 1);
  std::vector<double> out(p.dim_v);
  attention::reference_row(store.layout(), runs, p, q_head, query, data.q.data() + query * data.q_width + q_head * p.dim_k,
                           view.context(sequence, 0, head, 0, kv::side::key), out.data());
  return out;
}

inline constexpr std::uint8_t half_of_heads[] = {1, 0, 1, 0, 1, 0, 1, 0};

/// f(layout, name) for the paged layout and for a head split that drops tiles.
template <class Pair, class Raw, class F>
void with_layouts(extents e, F&& f) {
  f(kv::paged<Pair, Raw>(e), "paged");
  const kv::head_classes classes(e, half_of_heads);
  f(kv::head_split<Pair, Raw>(e, classes, {.sinks = 70, .window = 130}), "head_split");
}

}  // namespace fixture
