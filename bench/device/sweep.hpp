// SPDX-License-Identifier: Apache-2.0
// Which steps are timed, the most telling first, so that a run which ends early has them.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "workload.hpp"

namespace device_bench {

inline const std::vector<std::string> codec_names{"bf16", "fp8", "int8", "int4", "int4-hadamard", "kivi-2", "kivi-3", "gear-2"};

struct sweep_options {
  bool full = false;
  std::set<std::string> only;   ///< decode, small, chunk, cascade, append; empty: all
};

namespace detail {

struct shape_list {
  std::vector<workload> all;
  std::set<std::string> seen;
  void add(const workload& w) {
    if (seen.insert(w.words()).second) all.push_back(w);
  }
};

/// Large batches of long sequences, one long sequence, ragged batches: what the targets are about. All codecs.
inline void decode_targets(shape_list& to) {
  for (const std::string& codec : codec_names) {
    to.add({.codec = codec, .batch = 32, .tokens = 8192});
    to.add({.codec = codec, .batch = 1, .tokens = 65536});
  }
  for (const std::string codec : {"bf16", "int4-hadamard"}) {
    to.add({.codec = codec, .batch = 64, .tokens = 8192});
    to.add({.codec = codec, .lengths = "zipf", .batch = 32, .tokens = 65536});
    to.add({.codec = codec, .lengths = "one-long", .batch = 32, .tokens = 65536});
    to.add({.codec = codec, .batch = 1, .tokens = 524288});
  }
}
/// One axis at a time around those.
inline void decode_axes(shape_list& to) {
  for (const std::string codec : {"bf16", "int4-hadamard"}) {
    for (const std::uint32_t batch : {1u, 4u, 16u, 64u}) to.add({.codec = codec, .batch = batch, .tokens = 4096});
    for (const std::uint32_t tokens : {1024u, 16384u}) to.add({.codec = codec, .batch = 16, .tokens = tokens});
    for (const std::uint32_t tokens : {4096u, 16384u}) to.add({.codec = codec, .batch = 1, .tokens = tokens});
    for (const std::uint32_t group : {1u, 8u}) to.add({.codec = codec, .group = group, .batch = 16, .tokens = 8192});
    to.add({.codec = codec, .kv_heads = 1, .group = 8, .batch = 16, .tokens = 16384});
    to.add({.codec = codec, .head_dim = 64, .batch = 32, .tokens = 8192});
    to.add({.codec = codec, .head_dim = 64, .kv_heads = 3, .group = 3, .batch = 16, .tokens = 8192});
    to.add({.codec = codec, .lengths = "zipf", .head_dim = 64, .kv_heads = 3, .group = 3, .batch = 16, .tokens = 16384});
    to.add({.codec = codec, .lengths = "zipf", .kv_heads = 1, .group = 8, .batch = 64, .tokens = 32768});
    to.add({.codec = codec, .lengths = "one-long", .kv_heads = 3, .group = 4, .batch = 16, .tokens = 131072});
  }
}
/// Everything by everything.
inline void decode_grid(shape_list& to) {
  for (const std::uint32_t head_dim : {128u, 64u})
    for (const std::uint32_t kv_heads : {8u, 3u, 1u})
      for (const std::uint32_t group : {4u, 8u, 3u, 1u})
        for (const std::uint32_t batch : {1u, 4u, 16u, 32u, 64u})
          for (const std::uint32_t tokens : {1024u, 4096u, 16384u, 65536u, 524288u})
            for (const std::string& codec : codec_names) {
              if (tokens > 65536 && batch > 1) continue;
              to.add({.codec = codec, .head_dim = head_dim, .kv_heads = kv_heads, .group = group, .batch = batch, .tokens = tokens});
              if (batch == 1 || tokens > 65536 || group % 4 != 0) continue;
              for (const std::string lengths : {"zipf", "one-long"})
                to.add({.codec = codec, .lengths = lengths, .head_dim = head_dim, .kv_heads = kv_heads, .group = group, .batch = batch, .tokens = tokens});
            }
}

}  // namespace detail

/// SmolLM2-135M: 3 kv heads of 64, 9 query heads, 30 layers, whose caches stay in the L2 as they would in a model.
inline std::vector<workload> small_shapes(bool full) {
  detail::shape_list to;
  for (const std::string codec : {"bf16", "int4-hadamard"})
    for (const std::uint32_t batch : {1u, 4u, 16u})
      for (const std::uint32_t tokens : {128u, 512u, 2048u, 8192u})
        if (full || batch == 1 || tokens == 2048) to.add({.part = "small", .codec = codec, .head_dim = 64, .kv_heads = 3, .group = 3, .batch = batch, .tokens = tokens, .layers = 30});
  return to.all;
}

inline std::vector<workload> sweep(const sweep_options& o) {
  const auto wanted = [&](const char* part) { return o.only.empty() || o.only.count(part) != 0; };
  detail::shape_list to;
  if (wanted("decode")) detail::decode_targets(to);
  if (wanted("small"))
    for (const workload& w : small_shapes(o.full)) to.add(w);
  if (wanted("chunk"))
    for (const std::string& codec : codec_names)
      for (const std::uint32_t depth : {0u, 4096u, 32768u}) {
        if (!o.full && codec != "bf16" && codec != "int4-hadamard" && depth != 4096) continue;
        to.add({.part = "chunk", .codec = codec, .batch = 1, .tokens = depth + 512, .rows = 512});
        if (o.full || depth == 4096) to.add({.part = "chunk", .codec = codec, .head_dim = 64, .kv_heads = 3, .group = 3, .batch = 1, .tokens = depth + 512, .rows = 512});
        if (o.full) to.add({.part = "chunk", .codec = codec, .batch = 8, .tokens = depth + 512, .rows = 512});
      }
  if (wanted("cascade"))
    for (const std::string& codec : codec_names)
      for (const std::uint32_t prefix : {2048u, 8192u, 32768u})
        for (const std::uint32_t members : {8u, 32u, 64u}) {
          if (!o.full && ((codec != "bf16" && codec != "int4-hadamard") || (members == 32 && prefix != 8192))) continue;
          to.add({.part = "cascade", .codec = codec, .batch = members, .tokens = prefix + 256, .prefix = prefix});
        }
  if (wanted("append"))
    for (const std::string& codec : codec_names) {
      to.add({.part = "append", .codec = codec, .batch = 32, .tokens = 4100});
      to.add({.part = "append", .codec = codec, .batch = 1, .tokens = 4608, .rows = 512});
      if (o.full) to.add({.part = "append", .codec = codec, .head_dim = 64, .kv_heads = 3, .group = 3, .batch = 16, .tokens = 1030});
      if (o.full) to.add({.part = "append", .codec = codec, .head_dim = 64, .kv_heads = 3, .group = 3, .batch = 1, .tokens = 1024, .rows = 512});
    }
  if (wanted("decode")) detail::decode_axes(to);
  if (wanted("decode") && o.full) detail::decode_grid(to);
  return to.all;
}

}  // namespace device_bench
