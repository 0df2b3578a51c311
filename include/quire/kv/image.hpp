// SPDX-License-Identifier: Apache-2.0
// A sequence as one stretch of bytes: what swapping, migration and files move. Sealed tiles, overlays, tail and state block go
// as they are, so a sequence that comes back continues bit for bit, in any store of the same layout.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include "../core/checksum.hpp"
#include "store.hpp"

namespace quire::inline v0::kv {

/// A number that layouts share exactly when their bytes mean the same: codecs, extents, groups, visibility, state.
template <Layout L>
std::uint64_t layout_signature(const L& l) noexcept {
  checksum sum;
  for (const char* format : {L::raw_pair::key_codec::format(), L::raw_pair::value_codec::format(), L::sealed_pair::key_codec::format(), L::sealed_pair::value_codec::format()})
    sum.add(format, std::strlen(format) + 1);
  const extents e = l.extent();
  for (std::uint32_t n : {state_plan::version, tile_tokens, e.layers, e.kv_heads, e.head_dim, l.groups(), std::uint32_t{L::overlays}, std::uint32_t{L::compensates}}) sum.add(n);
  for (std::uint32_t layer = 0; layer < e.layers; ++layer)
    for (std::uint32_t head = 0; head < e.kv_heads; ++head) sum.add(std::uint64_t{l.slot(layer, head).group} << 32 | l.slot(layer, head).index);
  for (std::uint32_t g = 0; g < l.groups(); ++g) {
    const visibility v = l.group_sees(g);
    for (std::uint32_t n : {v.sinks, v.window, v.share, std::uint32_t{v.by_tile}, l.state().record_bytes(g)}) sum.add(n);
  }
  for (std::uint32_t tokens = 0; tokens < 1u << 24; tokens = tokens * 2 + tile_tokens) sum.add(l.overlay_tiles(tokens));
  return sum.value();
}

/// What stands before the bytes.
struct image_header {
  static constexpr std::uint64_t magic_number = 0x3145524955514b56u;
  static constexpr std::uint32_t current = 3;   ///< 2: the checksum covers the header too; 3: how far a sequence is read whole
  std::uint64_t magic = magic_number;
  std::uint32_t version = current;
  std::uint32_t reserved = 0;
  std::uint64_t signature = 0;   ///< layout_signature
  std::uint64_t bytes = 0;       ///< header included
  sequence_mark mark;
  std::uint64_t sum = 0;         ///< checksum of all bytes before it and after it
};
static_assert(std::is_trivially_copyable_v<image_header> && std::has_unique_object_representations_v<image_header>);

/// Bytes that `export_sequence` writes. 0: unknown sequence.
template <Layout L>
std::size_t image_bytes(const store<L>& from, std::uint32_t sequence) noexcept {
  if (!from.known(sequence)) return 0;
  std::size_t bytes = sizeof(image_header);
  from.for_each_page(sequence, [&](std::uint32_t p, std::uint32_t, std::uint32_t) { bytes += from.pool(p).page_bytes(); });
  return bytes;
}

/// Writes the committed tokens of a sequence, which stays as it is. fails: unknown_sequence, out_of_range (`out` too small), device
/// (a store in a device's memory; `out` is then whatever it is).
template <Layout L>
status export_sequence(const store<L>& from, std::uint32_t sequence, std::span<std::byte> out) noexcept {
  if (!from.known(sequence)) return {errc::unknown_sequence, "sequence", sequence, 0, std::int64_t{from.options().sequences} - 1};
  const std::size_t bytes = image_bytes(from, sequence);
  if (out.size() < bytes) return {errc::out_of_range, "bytes of the image", static_cast<std::int64_t>(out.size()), static_cast<std::int64_t>(bytes), static_cast<std::int64_t>(bytes)};
  image_header h{.signature = layout_signature(from.layout()), .bytes = bytes, .mark = from.mark(sequence)};
  checksum sum;
  sum.add(&h, offsetof(image_header, sum));
  std::byte* to = out.data() + sizeof h;
  status moved;
  from.for_each_page(sequence, [&](std::uint32_t p, std::uint32_t, std::uint32_t page) {
    const std::size_t n = from.pool(p).page_bytes();
    if (moved) moved = from.pool(p).read(page, {to, n});
    sum.add(to, n);
    to += n;
  });
  if (!moved) return moved;
  h.sum = sum.value();
  std::memcpy(out.data(), &h, sizeof h);
  return {};
}

/// Makes a sequence from an image; nothing changes on failure.
/// fails: corrupt (damaged or cut off), version_mismatch, unsupported_shape (another layout), out_of_range (longer than the
/// store's sequences), out_of_pages, device.
template <Layout L>
status import_sequence(store<L>& to, std::span<const std::byte> image, std::uint32_t& sequence) noexcept {
  image_header h;
  if (image.size() < sizeof h) return {errc::corrupt, "bytes of the image", static_cast<std::int64_t>(image.size()), sizeof h, sizeof h};
  std::memcpy(&h, image.data(), sizeof h);
  if (h.magic != image_header::magic_number) return {errc::corrupt, "magic number of the image", static_cast<std::int64_t>(h.magic)};
  if (h.version != image_header::current) return {errc::version_mismatch, "version of the image", h.version, image_header::current, image_header::current};
  if (h.signature != layout_signature(to.layout())) return {errc::unsupported_shape, "layout signature of the image", static_cast<std::int64_t>(h.signature)};
  if (h.bytes != image.size()) return {errc::corrupt, "bytes of the image", static_cast<std::int64_t>(image.size()), static_cast<std::int64_t>(h.bytes), static_cast<std::int64_t>(h.bytes)};
  checksum sum;
  sum.add(&h, offsetof(image_header, sum));
  sum.add(image.data() + sizeof h, image.size() - sizeof h);
  if (sum.value() != h.sum) return {errc::corrupt, "checksum of the image", static_cast<std::int64_t>(h.sum)};
  std::uint32_t s = 0;
  if (status adopted = to.adopt(h.mark, s); !adopted) return adopted;
  if (image_bytes(to, s) != image.size()) {
    to.close(s);
    return {errc::corrupt, "bytes of the image", static_cast<std::int64_t>(image.size())};
  }
  const std::byte* from = image.data() + sizeof h;
  status moved;
  to.for_each_page(s, [&](std::uint32_t p, std::uint32_t, std::uint32_t page) {
    const std::size_t n = to.pool(p).page_bytes();
    if (moved) moved = to.pool(p).write(page, {from, n});
    from += n;
  });
  if (!moved) return to.close(s), moved;
  to.catch_up(s);
  sequence = s;
  return {};
}

}  // namespace quire::inline v0::kv
