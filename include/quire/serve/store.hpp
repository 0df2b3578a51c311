// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>

#include "../core/status.hpp"

namespace quire::inline v0::serve {

/// What an engine asks of a store. Handles are the store's; lengths are rows.
template <class S>
concept SequenceStore = requires(S s, const S cs, std::uint32_t sequence, std::uint32_t& handle, std::uint32_t tokens) {
  { s.open(handle) } -> std::same_as<status>;  // an empty sequence
  {
    s.reserve(sequence, tokens)
    } -> std::same_as<status>;  // room for `tokens` rows past its length; all or nothing; out_of_pages
  { s.commit(sequence, tokens) } -> std::same_as<status>;  // the model has written `tokens` rows: the length grows
  { s.close(sequence) } -> std::same_as<void>;             // its pages go back
  { cs.length(sequence) } -> std::same_as<std::uint32_t>;
};

// What a store may offer besides.

/// `fork`: a copy of a sequence that shares what will not change. fails: out_of_pages
template <class S>
concept ForkingStore = SequenceStore<S> && requires(S s, std::uint32_t from, std::uint32_t& to) {
  { s.fork(from, to) } -> std::same_as<status>;
};

/// `fits`: whether a sequence of so many rows could be held by an otherwise empty store.
template <class S>
concept BoundedStore = SequenceStore<S> && requires(const S cs, std::uint32_t tokens) {
  { cs.fits(tokens) } -> std::same_as<status>;
};

/// Rows in all, and rows that are unreserved or could be freed at once.
template <class S>
concept CountedStore = SequenceStore<S> && requires(const S cs) {
  { cs.capacity_tokens() } -> std::same_as<std::uint64_t>;
  { cs.free_tokens() } -> std::same_as<std::uint64_t>;
};

/// A store that remembers rows by their tokens, and gives back the same bits that computing them would.
template <class S>
concept PrefixStore = SequenceStore<S> &&
    requires(S s, const S cs, std::uint32_t sequence, std::uint32_t& handle, std::span<const std::int32_t> tokens,
             std::uint64_t ticket) {
  {
    s.open(tokens, handle)
    } -> std::same_as<status>;  // begins with what is remembered of these known tokens; never holds the last of them
  { s.remember(sequence, tokens) } -> std::same_as<status>;  // what it holds of its known tokens, after a commit
  { cs.hit(tokens) } -> std::same_as<std::uint32_t>;         // rows that `open` would find
  { cs.coming(tokens) } -> std::same_as<bool>;               // an open sequence is computing what follows them
  { s.pin(tokens) } -> std::same_as<std::uint64_t>;          // keeps what is remembered of them until `unpin`
  { s.unpin(ticket) } -> std::same_as<void>;
};

/// A store whose sequences can go to another tier and come back with the same bits, beside the steps of others. One that is
/// still arriving may be sent away again.
template <class S>
concept SwappingStore = SequenceStore<S> && requires(S s, const S cs, std::uint32_t sequence) {
  { s.swap_out(sequence) } -> std::same_as<status>;  // its pages come free when they are copied; fails: it stays
  {
    s.swap_in(sequence)
    } -> std::same_as<status>;  // out_of_pages, not_ready: not now; any other code: its rows are lost, close it
  { cs.present(sequence) } -> std::same_as<bool>;  // all rows can be read; its length may be less than at swap_in
  { cs.leaving_tokens() } -> std::same_as<std::uint64_t>;  // rows in pages that come free when they are copied
  { s.poll() } -> std::same_as<void>;              // notices what has arrived; never blocks
  { s.wait() } -> std::same_as<void>;              // blocks until something has, if anything is under way
};

/// `relieve`: nothing can run, so what is only kept for later gives way; false: there is nothing of it.
template <class S>
concept RelievingStore = SequenceStore<S> && requires(S s) {
  { s.relieve() } -> std::same_as<bool>;
};

/// `announce`: a sequence that was just opened begins with a prompt of so many rows, which a store may keep otherwise than what is generated.
template <class S>
concept PromptedStore = SequenceStore<S> && requires(S s, std::uint32_t sequence, std::uint32_t prompt) {
  { s.announce(sequence, prompt) } -> std::same_as<status>;
};

namespace detail {
/// A hook that is there by name but not by signature would be passed over in silence; this refuses it.
template <class S>
consteval bool store_hooks_well_formed() {
  return (ForkingStore<S> || !requires(S s, std::uint32_t h) { s.fork(h, h); }) &&
         (BoundedStore<S> || !requires(S s) { s.fits(1u); }) && (CountedStore<S> || !requires(S s) { s.free_tokens(); }) &&
         (PrefixStore<S> || !requires(S s, std::span<const std::int32_t> t) { s.remember(1u, t); }) &&
         (SwappingStore<S> || !requires(S s) { s.swap_out(1u); }) && (RelievingStore<S> || !requires(S s) { s.relieve(); }) &&
         (PromptedStore<S> || !requires(S s) { s.announce(1u, 1u); });
}
}  // namespace detail

}  // namespace quire::inline v0::serve
