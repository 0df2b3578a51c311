// SPDX-License-Identifier: Apache-2.0
// The engine on a thread of its own: requests and cancellations come in between steps, updates go out to streams.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../lm/backend.hpp"
#include "../lm/tokenizer.hpp"
#include "metrics.hpp"
#include "policy.hpp"
#include "quire/serve/engine.hpp"
#include "request.hpp"
#include "stream.hpp"

namespace quire_server {

struct service_options {
  std::uint32_t max_running = 32;
  std::uint32_t max_waiting = 256;      ///< texts accepted beyond those that can run
  std::uint32_t max_sequence = 4096;    ///< tokens of one text, prompt included
};

/// A request in tokens, on its way to the engine. Immutable once submitted.
struct job {
  generation_request ask;                   ///< `prompts` and `messages` are not looked at
  std::vector<std::vector<token>> prompts;  ///< at least one, each with at least one token
  std::uint32_t max_tokens = 1;
  std::uint64_t seed = 0;
  std::int32_t priority = 0;
  std::uint32_t tenant = 0;
  std::chrono::steady_clock::time_point arrived{}, deadline = std::chrono::steady_clock::time_point::max();  ///< max: none
  std::shared_ptr<update_stream> out;

  std::uint32_t texts() const noexcept { return static_cast<std::uint32_t>(prompts.size()) * ask.n; }
};

/// Why a request ends before its texts do.
enum class interruption : std::uint8_t { disconnect, slow_reader, shutdown, failed };

/// Any thread may call the members; the backend belongs to the service while it lives. No lock is held during a step.
class service {
 public:
  service(quire_lm::backend& model, const quire_lm::tokenizer& tokens, const serving_policy& p, const service_options& o, metrics& counted)
      : model_(model),
        tokens_(tokens),
        options_(o),
        counted_(counted),
        engine_(model, model, p,
                {.max_running = o.max_running, .max_requests = o.max_running + o.max_waiting, .max_sequence = o.max_sequence,
                 .reserve_prompt = model.keeps_all()}) {
    for (token t = 0; static_cast<std::size_t>(t) < tokens.size(); ++t)
      if (tokens.is_end(t)) ends_.push_back(t);
    set(counted.pages, model.pages());
    publish();
    thread_ = std::thread([this] { serve(); });
  }
  ~service() {
    tell([this] { over_ = true; });
    thread_.join();
  }

  /// fails: api_error 429 when the queue is full, 503 when draining. What goes wrong later is told through the stream.
  void submit(const std::shared_ptr<const job>& j) {
    const std::lock_guard lock(mutex_);
    if (draining_) throw api_error(503, "the server is shutting down", "", "shutting_down");
    const std::uint64_t live = counted_.live.load(std::memory_order_relaxed), most = std::uint64_t{options_.max_running} + options_.max_waiting;
    if (live + j->texts() > most)
      throw api_error(429, "the queue is full: " + std::to_string(live) + " texts are running or waiting, allowed " + std::to_string(most), "", "queue_full");
    add(counted_.live, j->texts());
    inbox_.push_back([this, j] { start(j); });
    changed_.notify_one();
  }
  /// Ends a request wherever it stands, its pages go back before the next step. Too late is no error.
  void cancel(const std::shared_ptr<const job>& j, interruption why) {
    tell([this, j, why] {
      if (const auto at = active_.find(j.get()); at != active_.end()) interrupt(*at->second, why);
    });
  }
  /// New requests are refused from here on.
  void drain() {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    set(counted_.draining, 1);
  }
  /// Ends all requests there are, with an error for their clients.
  void interrupt_all(interruption why) {
    tell([this, why] {
      for (auto& [j, a] : active_) interrupt(*a, why);
    });
  }
  /// Whether the store's invariants hold, looked at between two steps.
  bool check() {
    std::promise<bool> answer;
    tell([this, &answer] { answer.set_value(model_.check()); });
    return answer.get_future().get();
  }

 private:
  using engine = quire::serve::engine<quire_lm::backend, quire_lm::backend, serving_policy>;
  using clock = std::chrono::steady_clock;

  struct text {
    explicit text(const std::vector<std::string>& stop) : shown(stop) {}
    text_assembler shown;
    std::unique_ptr<chooser> choose{};
    token_logprobs said{};  ///< of the token just chosen
    quire::serve::request_id id = 0;
    std::uint32_t generated = 0;
    clock::time_point last{};
    bool over = false;  ///< its last update is out
  };
  /// A request the engine works on.
  struct active {
    std::shared_ptr<const job> asked;
    std::vector<text> texts;
    std::size_t left;  ///< texts that have not ended
    token_usage usage{};
    std::optional<api_error> error{};
    bool interrupted = false;
  };

  void tell(std::function<void()> command) {
    {
      const std::lock_guard lock(mutex_);
      inbox_.push_back(std::move(command));
    }
    changed_.notify_one();
  }

  // On the engine's thread.

  void serve() {
    std::vector<std::function<void()>> commands;
    while (!over_) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return !inbox_.empty() || engine_.live() != 0; });
        commands.swap(inbox_);
      }
      for (const auto& command : commands) command();
      commands.clear();
      try {
        switch (engine_.run_step(seconds(clock::now() - born_))) {
          case quire::serve::progress::blocked: turn_away(); break;
          case quire::serve::progress::waiting: model_.wait(); break;  // for rows on their way
          default: break;
        }
      } catch (const std::exception& e) {  // the model threw: nothing says which request it was
        for (auto& [j, a] : active_) fail(*a, api_error(500, std::string("the model failed: ") + e.what()));
      }
      std::erase_if(active_, [](const auto& entry) { return entry.second->left == 0; });
      publish();
    }
    for (auto& [j, a] : active_) interrupt(*a, interruption::shutdown);
  }

  void start(const std::shared_ptr<const job>& j) {
    auto made = std::make_unique<active>(active{j, {}, j->texts()});
    active& a = *active_.emplace(j.get(), std::move(made)).first->second;
    for (std::uint32_t i = 0; i < j->texts(); ++i) a.texts.emplace_back(j->ask.stop);
    for (std::uint32_t i = 0; i < j->texts() && !a.error; ++i) {
      const std::vector<token>& prompt = j->prompts[i / j->ask.n];
      quire::serve::generation g;
      if (i % j->ask.n == 0) {
        g.prompt = prompt;
        a.usage.prompt += prompt.size();
      } else {
        g.beside = a.texts[i - i % j->ask.n].id;
      }
      g.max_new_tokens = j->max_tokens;
      if (!j->ask.ignore_eos) g.stop = ends_;
      g.sampler = [this, &a, i, &prompt](std::span<const float> logits, std::span<const std::int32_t>) { return choose(a, i, prompt, logits); };
      g.on_token = [this, &a, i](quire::serve::request_id, std::int32_t t) { generated(a, i, t); };
      g.on_done = [this, &a, i](quire::serve::request_id, const quire::serve::result& r) { ended(a, i, r); };
      g.arrival = seconds(j->arrived - born_);
      if (j->deadline != clock::time_point::max()) g.deadline = seconds(j->deadline - born_);
      g.priority = j->priority;
      g.tenant = j->tenant;
      const quire::status queued = engine_.submit(std::move(g), a.texts[i].id);
      if (queued) continue;
      a.left -= j->texts() - i;
      counted_.live.fetch_sub(j->texts() - i, std::memory_order_relaxed);
      fail(a, api_error(400, "the request can't be held: " + quire::describe(queued)));
      if (a.left == 0) j->out->close(a.usage, a.error);
    }
    add(counted_.prompt_tokens, a.usage.prompt);
  }

  token choose(active& a, std::uint32_t i, const std::vector<token>& prompt, std::span<const float> logits) {
    text& t = a.texts[i];
    const job& j = *a.asked;
    try {
      if (!t.choose) {
        const auto most = static_cast<std::uint32_t>(prompt.size()) + j.max_tokens;
        t.choose = std::make_unique<chooser>(j.ask.how, j.seed + i, prompt, most, model_.vocabulary());
      }
      if (const auto* r = t.generated == 0 ? engine_.scheduling().find(t.id) : nullptr) {  // a fork is not the scheduler's yet
        a.usage.cached += r->so_far.resident;
        add(counted_.cached_tokens, r->so_far.resident);
      }
      const token chosen = (*t.choose)(logits);
      if (j.ask.logprobs) t.said = measure(logits, chosen, *j.ask.logprobs);
      return chosen;
    } catch (const std::exception& e) {
      a.error = api_error(500, std::string("no token could be chosen: ") + e.what());
      return -1;  // which the engine refuses
    }
  }

  void generated(active& a, std::uint32_t i, token id) {
    text& t = a.texts[i];
    const auto now = clock::now();
    if (t.generated++ == 0) counted_.first_token.observe(seconds(now - a.asked->arrived));
    else counted_.token_gap.observe(seconds(now - t.last));
    t.last = now;
    ++a.usage.generated;
    add(counted_.generated_tokens);
    update u{i, t.shown.push(tokens_.bytes(id), a.asked->ask.logprobs ? &t.said : nullptr)};
    if (t.shown.stopped()) u.finish = finish_reason::stop;
    if (u.finish == finish_reason::none && u.shown.text.empty() && u.shown.tokens.empty()) return;
    t.over = u.finish != finish_reason::none;
    if (!a.asked->out->push(std::move(u))) return interrupt(a, interruption::slow_reader);
    if (t.over) static_cast<void>(engine_.cancel(t.id));
  }

  void ended(active& a, std::uint32_t i, const quire::serve::result& r) {
    text& t = a.texts[i];
    t.choose.reset();
    if (!a.interrupted && r.ending == quire::serve::ending::failed) {
      add(counted_.ended_failed);
      fail(a, a.error ? *a.error : failure(a, r));
    }
    if (!a.interrupted) {
      bool stopped = r.ending != quire::serve::ending::length;
      if (!t.over) {
        update u{i, t.shown.finish()};
        stopped |= t.shown.stopped();
        u.finish = stopped ? finish_reason::stop : finish_reason::length;
        t.over = true;
        if (!a.asked->out->push(std::move(u))) interrupt(a, interruption::slow_reader);
      }
      add(stopped ? counted_.ended_stop : counted_.ended_length);
    }
    counted_.live.fetch_sub(1, std::memory_order_relaxed);
    if (--a.left != 0) return;
    counted_.duration.observe(seconds(clock::now() - a.asked->arrived));
    a.asked->out->close(a.usage, a.error);
  }

  static api_error failure(const active& a, const quire::serve::result& r) {
    if (a.asked->deadline != clock::time_point::max() && r.why.code == quire::errc::out_of_range)  // the admission rule's verdict
      return {429, "the deadline can't be met: " + quire::describe(r.why), "x-deadline-ms", "deadline"};
    return {500, quire::describe(r.why)};
  }

  void interrupt(active& a, interruption why) {
    switch (why) {
      case interruption::disconnect: return end_all(a, counted_.ended_disconnect, api_error(499, "the client has gone"));
      case interruption::slow_reader: return end_all(a, counted_.ended_slow_reader, api_error(408, "the client reads too slowly", "", "slow_reader"));
      case interruption::shutdown: return end_all(a, counted_.ended_shutdown, api_error(503, "the server is shutting down", "", "shutting_down"));
      case interruption::failed: return end_all(a, counted_.ended_failed, api_error(500, "the request failed"));
    }
  }
  void fail(active& a, const api_error& why) { end_all(a, counted_.ended_failed, why); }
  void end_all(active& a, counter& counted, const api_error& why) {
    if (a.interrupted) return;
    a.interrupted = true;
    a.error = why;
    for (text& t : a.texts)
      if (t.id != 0 && engine_.cancel(t.id)) add(counted);
  }

  /// The store has no room for this text, and nothing else runs that could give some back.
  void turn_away() {
    const quire::schedule::refusal r = engine_.scheduling().refused();
    for (auto& [j, a] : active_)
      for (const text& t : a->texts)
        if (t.id == r.id) return fail(*a, api_error(503, "the cache has no room: " + quire::describe(r.why), "", "out_of_pages"));
  }

  void publish() {
    const auto& s = engine_.scheduling();
    const auto& c = s.counters();
    set(counted_.steps, c.steps), set(counted_.computed_tokens, c.computed), set(counted_.recomputed_tokens, c.recomputed);
    set(counted_.preempted, c.preempted), set(counted_.yielded, c.yielded);
    set(counted_.running, s.running()), set(counted_.waiting, s.waiting());
    set(counted_.free_pages, model_.free_pages());
    const quire::kv::swap_counts moved = model_.swap_counts();
    set(counted_.swapped_out, moved.swaps_out), set(counted_.swapped_in, moved.swaps_in);
    set(counted_.copies_lost, moved.lost_parts);
  }
  static double seconds(clock::duration d) { return std::chrono::duration<double>(d).count(); }

  quire_lm::backend& model_;
  const quire_lm::tokenizer& tokens_;
  const service_options options_;
  metrics& counted_;
  const clock::time_point born_ = clock::now();  ///< the scheduler's zero
  std::vector<token> ends_;
  engine engine_;
  std::unordered_map<const job*, std::unique_ptr<active>> active_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::function<void()>> inbox_;
  bool draining_ = false;
  bool over_ = false;  ///< the engine's thread alone looks at it
  std::thread thread_;
};

}  // namespace quire_server
