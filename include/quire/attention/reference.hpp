// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "../kv/layout.hpp"
#include "problem.hpp"

namespace quire::inline v0::attention {

/// q ← q rotated by `angle_steps` positions under `r`, double precision angles.
QUIRE_HD inline void rotate_query(const rope& r, float* q, std::int32_t steps) noexcept {
  for (std::uint32_t i = 0; i < r.dims / 2; ++i) {
    const double step = r.frequency_scale * std::pow(r.base, -2.0 * i / r.dims), angle = steps * (r.factors ? step / r.factors[i] : step);
    const std::uint32_t a = r.style == rope_style::interleaved ? 2 * i : i;
    const std::uint32_t b = r.style == rope_style::interleaved ? 2 * i + 1 : i + r.dims / 2;
    const double x = q[a], y = q[b], c = std::cos(angle), s = std::sin(angle);
    q[a] = static_cast<float>(x * c - y * s);
    q[b] = static_cast<float>(x * s + y * c);
  }
}

/// One query row against one head in double precision, straight from the definition: decode every tile, one softmax.
/// The oracle of every back end. shape: q [dim_k], out [dim_v]; allocates; cost: a decode of every tile per row.
template <kv::Layout L>
void reference_row(const L& layout, const kv::head_view& view, const problem& p, std::uint32_t q_head, std::uint32_t query,
                   const float* q, const kv::codec_context& at, double* out) {
  const std::uint32_t dim = p.dim_k;
  std::vector<double> logits, values;
  std::vector<float> x(static_cast<std::size_t>(dim) * tile_tokens), v(x.size()), row(dim);
  const auto read_tile = [&](const auto& pair, const kv::run& r, std::uint32_t t) {
    kv::codec_context c = at;
    c.tile = r.slot + t;
    const auto restore = [&](const auto& codec, kv::side which, const std::byte* tile, std::vector<float>& to) {
      const kv::tile_shape s = kv::shape_of(which, dim);
      c.which = which;
      codec.decode(c, s, tile, to.data());
      if constexpr (kv::RotatingCodec<std::remove_cvref_t<decltype(codec)>>) {
        const std::uint32_t step = which == kv::side::key ? tile_tokens : 1, token = which == kv::side::key ? 1 : dim;  // of a channel, of a token
        for (std::uint32_t j = 0; j < tile_tokens; ++j) {
          for (std::uint32_t i = 0; i < dim; ++i) row[i] = to[i * step + j * token];
          codec.rotate(row.data(), dim);
          for (std::uint32_t i = 0; i < dim; ++i) to[i * step + j * token] = row[i];
        }
      }
    };
    restore(pair.key, kv::side::key, r.tile(t), x);
    restore(pair.value, kv::side::value, r.tile(t) + r.value_offset, v);
  };
  for (std::uint32_t i = 0; i < view.count; ++i) {
    const kv::run& r = view.runs[i];
    std::vector<float> turned(q, q + dim);
    if (r.rotation != 0) rotate_query(p.rotary, turned.data(), -r.rotation);
    for (std::uint32_t t = 0; t < r.tiles(); ++t) {
      if (r.form == 0) read_tile(layout.raw(), r, t);
      else read_tile(layout.sealed(), r, t);
      for (std::uint32_t j = 0; j < tile_tokens; ++j) {
        if ((r.live_bits(t) >> j & 1) == 0) continue;
        const std::int32_t position = r.position_of(t * tile_tokens + j);
        const std::uint32_t key = static_cast<std::uint32_t>(position);
        if ((!r.exempt && !view.sees.sees(query, key)) || !kv::visibility{0, p.window}.sees(query, key)) continue;
        double dot = 0;
        for (std::uint32_t d = 0; d < dim; ++d) dot += static_cast<double>(turned[d]) * x[d * tile_tokens + j];
        double logit = dot * p.scale_or_default();
        if (p.softcap != 0) logit = p.softcap * std::tanh(logit / p.softcap);
        if (p.alibi) logit += static_cast<double>(p.alibi[q_head]) * (static_cast<double>(key) - query);
        logits.push_back(logit + r.bias);
        for (std::uint32_t d = 0; d < dim; ++d) values.push_back(v[j * dim + d]);
      }
    }
  }
  double m = p.sink_logits ? p.sink_logits[q_head] : -std::numeric_limits<double>::infinity(), l = 0;
  for (double s : logits) m = s > m ? s : m;
  for (std::uint32_t d = 0; d < p.dim_v; ++d) out[d] = 0;
  for (std::size_t j = 0; j < logits.size(); ++j) {
    const double w = std::exp(logits[j] - m);
    l += w;
    for (std::uint32_t d = 0; d < dim; ++d) out[d] += w * values[j * dim + d];
  }
  if (p.sink_logits) l += std::exp(p.sink_logits[q_head] - m);
  for (std::uint32_t d = 0; d < p.dim_v; ++d) out[d] = l > 0 ? out[d] / l : 0;
}

}  // namespace quire::inline v0::attention
