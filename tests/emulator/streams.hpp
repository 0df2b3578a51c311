// SPDX-License-Identifier: Apache-2.0
// Streams: what is asked of one happens at once, unless the calling thread records it; then it is kept, in order, for replays.
#pragma once

#include <functional>
#include <vector>

namespace emulator {

/// Something asked of a stream; returns 0, or `native` of what went wrong.
using deed = std::function<int()>;
struct stream_state;
struct graph_state;

struct event_state;

stream_state* open_stream();
void close_stream(stream_state* s) noexcept;

/// Does it, or keeps it where the calling thread records `on`. 4: the thread records a stream and this is the default one (null), which would be in order with it.
int ask(stream_state* on, deed what);
/// For what may not happen while the calling thread records a stream: true, and the recording is spoilt, if it does.
bool spoils_recording() noexcept;

/// One recording a thread. 4: one is under way, or `on` is the default stream.
int start_recording(stream_state* on) noexcept;
/// 4: this thread does not record `on`, or something spoilt it.
int finish_recording(stream_state* on, graph_state*& made);
/// Does what was kept, up to what goes wrong. 4: while this thread records, or null.
int repeat(const graph_state* g, stream_state* on);
void drop_graph(graph_state* g) noexcept;

/// Events know whether they were marked: `follow` of one that was not orders nothing, and is said (5). They are not recorded (4).
event_state* open_event();
void close_event(event_state* e) noexcept;
int mark(event_state* e, stream_state* on) noexcept;
int follow(stream_state* on, event_state* e) noexcept;
bool passed(event_state* e) noexcept;   ///< false once after it was marked
void pass(event_state* e) noexcept;

}  // namespace emulator
