// SPDX-License-Identifier: Apache-2.0
#include "streams.hpp"

#include <utility>

namespace emulator {

struct stream_state {};
struct graph_state {
  std::vector<deed> deeds;
};

struct event_state {
  bool marked = false, passed = true;
};

namespace {

struct recording {
  stream_state* of = nullptr;   ///< null: none is under way
  bool spoilt = false;
  std::vector<deed> deeds;
};
thread_local recording own;

}  // namespace

stream_state* open_stream() { return new stream_state; }
void close_stream(stream_state* s) noexcept { delete s; }

bool spoils_recording() noexcept {
  own.spoilt = own.of != nullptr;
  return own.spoilt;
}
int ask(stream_state* on, deed what) {
  if (own.of == nullptr || (on != nullptr && on != own.of)) return what();
  if (on == nullptr) return own.spoilt = true, 4;
  own.deeds.push_back(std::move(what));
  return 0;
}

int start_recording(stream_state* on) noexcept {
  if (on == nullptr || own.of != nullptr) return 4;
  own.of = on;
  return 0;
}
int finish_recording(stream_state* on, graph_state*& made) {
  made = nullptr;
  if (on == nullptr || own.of != on) return 4;
  recording done = std::exchange(own, {});
  if (done.spoilt) return 4;
  made = new graph_state{std::move(done.deeds)};
  return 0;
}
int repeat(const graph_state* g, stream_state*) {
  if (spoils_recording() || g == nullptr) return 4;
  for (const deed& d : g->deeds)
    if (const int wrong = d(); wrong != 0) return wrong;
  return 0;
}
void drop_graph(graph_state* g) noexcept { delete g; }

event_state* open_event() { return new event_state; }
void close_event(event_state* e) noexcept { delete e; }
int mark(event_state* e, stream_state* on) noexcept {
  if (own.of != nullptr && (on == nullptr || on == own.of)) return own.spoilt = true, 4;
  e->marked = true, e->passed = false;
  return 0;
}
int follow(stream_state* on, event_state* e) noexcept {
  if (own.of != nullptr && (on == nullptr || on == own.of)) return own.spoilt = true, 4;
  return e->marked ? 0 : 5;
}
bool passed(event_state* e) noexcept { return std::exchange(e->passed, true); }
void pass(event_state* e) noexcept { e->passed = true; }

}  // namespace emulator
