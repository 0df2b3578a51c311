// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "../schedule/scheduler.hpp"
#include "model.hpp"
#include "sequences.hpp"

namespace quire::inline v0::serve {

/// What a call of `run_step` found to do.
enum class progress : std::uint8_t {
  ran,      ///< a step was computed, or outstanding callbacks were made
  idle,     ///< no requests
  blocked,  ///< the store has no room for scheduling().refused(), and nothing else can run
  waiting,  ///< rows or pages are on their way, and nothing else can run: call again when time has passed
  busy      ///< called from a callback
};

/// The step loop that joins a model, a store and a scheduler: pages are reserved, the model runs, rows are committed,
/// tokens are drawn and streamed. An error ends the request it belongs to and no other. One thread at a time; the model
/// and the store outlive the engine, which closes its sequences when destroyed (without calling on_done). What the store
/// offers beyond rows is used where the policy asks for it: see serve/store.hpp.
/// throws: as schedule::scheduler (constructor); std::bad_alloc (submit); what callbacks throw (run_step, run, cancel).
template <SequenceStore Store, Model<Store> M, schedule::Policy P = schedule::policy<>>
class engine {
 public:
  engine(M& model, Store& store, P policy = {}, schedule::scheduler_options options = {})
      : model_(&model), store_(&store), memory_(jobs_, store), scheduler_(memory_, std::move(policy), options) {
    logits_.resize(std::size_t{scheduler_.options().max_running} * model.vocabulary());
    inputs_.reserve(scheduler_.options().max_running);
    ids_.reserve(scheduler_.options().max_running);
    events_.reserve(scheduler_.options().max_running);
  }
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// Queue a text; `id` is its name from then on, never used twice.
  /// fails: out_of_range ("prompt token", and all that scheduler::submit names), unknown_sequence ("beside"); nothing is
  /// queued then.
  status submit(generation g, request_id& id) {
    if (jobs_.size() >= scheduler_.options().max_requests)  // copies are not the scheduler's yet
      return {errc::out_of_range, "live requests", static_cast<std::int64_t>(jobs_.size()) + 1, 0,
              scheduler_.options().max_requests};
    if (g.beside != 0) return submit_copy(std::move(g), id);
    const std::int64_t most = 0xffffffff, n = static_cast<std::int64_t>(g.prompt.size());
    if (n > most) return {errc::out_of_range, "prompt_tokens", n, 1, most};
    const std::int64_t vocabulary = model_->vocabulary();
    for (const std::int32_t t : g.prompt)
      if (t < 0 || t >= vocabulary) return {errc::out_of_range, "prompt token", t, 0, vocabulary - 1};
    const request_id next = last_id_ + 1;
    const auto at = jobs_.emplace(next, job{std::move(g), static_cast<std::uint32_t>(n)}).first;
    const status queued = enqueue(next, at->second);
    if (!queued) {
      jobs_.erase(at);
      return queued;
    }
    memory_.joined(at->second);
    id = last_id_ = next;
    return {};
  }

  /// End a request now; its pages go back and on_done is told. fails: unknown_sequence.
  status cancel(request_id id) {
    const scope s(*this);
    if (jobs_.count(id) == 0) return {errc::unknown_sequence, "id", static_cast<std::int64_t>(id)};
    static_cast<void>(scheduler_.cancel(id));
    end(id, ending::cancelled, {errc::cancelled, "request", static_cast<std::int64_t>(id)});
    return {};
  }

  /// One step of the model at most, and the callbacks of its tokens. `now`: on the clock of generation::arrival, for
  /// policies that look at it.
  progress run_step(double now = 0) {
    if (stepping_) return progress::busy;
    const scope s(*this, stepping_);
    if (next_event_ < events_.size()) return deliver(), progress::ran;  // a callback threw
    events_.clear();
    next_event_ = 0;
    if constexpr (SwappingStore<Store>) store_->poll();
    if (!step_) step_ = scheduler_.next(now);  // else the model threw: the same step again
    const bool ran = step_.has_value();
    if (ran) {
      compute(*step_);
      static_cast<void>(scheduler_.commit(*step_));
      step_.reset();
    }
    while (const auto f = scheduler_.take_failure()) events_.push_back({f->id, f->why});
    const bool told = !events_.empty();
    deliver();
    if (ran || told) return progress::ran;
    switch (scheduler_.last()) {
      case schedule::outcome::idle:
        return progress::idle;
      case schedule::outcome::transferring:
        return progress::waiting;
      default: break;
    }
    if constexpr (RelievingStore<Store>)
      if (scheduler_.last() == schedule::outcome::blocked && store_->relieve()) return progress::waiting;
    return progress::blocked;
  }

  /// Steps until nothing is left to do. A request for which the store has no room even alone fails with its status.
  void run() {
    for (;;) {
      const progress p = run_step();
      if (p == progress::idle || p == progress::busy) return;
      if constexpr (SwappingStore<Store>)
        if (p == progress::waiting) store_->wait();
      if (p != progress::blocked) continue;
      const scope s(*this);
      const schedule::refusal r = scheduler_.refused();
      static_cast<void>(scheduler_.cancel(r.id));
      end(r.id, ending::failed, r.why);
    }
  }

  std::size_t live() const noexcept { return jobs_.size(); }

 private:
  /// Something to tell: an error, or a row of logits to draw from.
  struct event {
    request_id id = 0;
    status why{};
    std::size_t row = 0;
    bool drawn = false;
  };

  /// Jobs that end while their callbacks may be running live until the outermost call returns.
  class scope {
   public:
    explicit scope(engine& e) : engine_(e) { ++e.depth_; }
    scope(engine& e, bool& flag) : engine_(e), flag_(&flag) { ++e.depth_, flag = true; }
    ~scope() {
      if (flag_) *flag_ = false;
      if (--engine_.depth_ == 0) engine_.ended_.clear();
    }
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;

   private:
    engine& engine_;
    bool* flag_ = nullptr;
  };

  status enqueue(request_id id, const job& j) {
    const auto known = static_cast<std::uint32_t>(j.g.prompt.size());
    return scheduler_.submit({.id = id,
                              .arrival = j.g.arrival,
                              .prompt_tokens = known,
                              .max_new_tokens = j.g.max_new_tokens - (known - j.prompt_tokens),
                              .priority = j.g.priority,
                              .tenant = j.g.tenant,
                              .deadline = j.g.deadline,
                              .group = j.g.group,
                              .rank = j.g.rank,
                              .hit_tokens = memory_.hit(j)});
  }

  /// A text that continues the prompt of another, which must not be computed yet.
  status submit_copy(generation g, request_id& id) {
    auto root = jobs_.find(g.beside);
    if (root != jobs_.end() && root->second.g.beside != 0) root = jobs_.find(root->second.g.beside);
    const schedule::request* r = root == jobs_.end() ? nullptr : scheduler_.find(root->first);
    if (r == nullptr || r->so_far.generated != 0 || r->so_far.computed == r->prompt_tokens || root->second.forked)
      return {errc::unknown_sequence, "beside (a request whose prompt is not computed yet)",
              static_cast<std::int64_t>(g.beside)};
    if (g.max_new_tokens == 0 || g.max_new_tokens > r->max_new_tokens)
      return {errc::out_of_range, "max_new_tokens", g.max_new_tokens, 1, r->max_new_tokens};
    g.beside = root->first;
    g.prompt = root->second.g.prompt;
    const request_id next = last_id_ + 1;
    root->second.copies.push_back(next);
    memory_.joined(jobs_.emplace(next, job{std::move(g), r->prompt_tokens}).first->second);
    id = last_id_ = next;
    return {};
  }
  /// The prompt of `j` is computed: its copies draw from the same logits, each with a fork of the rows if there is room.
  void fork_copies(const job& j, const std::vector<request_id>& copies, std::size_t row) {
    for (const request_id id : copies) {
      const auto at = jobs_.find(id);
      if (at == jobs_.end()) continue;
      job& c = at->second;
      c.g.beside = 0;
      c.forked = true;
      memory_.fork(j, id, c);
      events_.push_back({id, {}, row});
    }
  }
  /// The text its copies waited for has ended: the first of them that lives is computed in its place.
  void promote(std::vector<request_id> copies) {
    std::erase_if(copies, [this](request_id id) { return jobs_.count(id) == 0; });
    if (copies.empty()) return;
    const request_id id = copies.front();
    copies.erase(copies.begin());
    for (const request_id other : copies) jobs_.at(other).g.beside = id;
    job& j = jobs_.at(id);
    j.g.beside = 0;
    j.copies = std::move(copies);
    if (const status queued = enqueue(id, j); !queued) events_.push_back({id, queued});
  }
  void compute(const schedule::step& step) {
    inputs_.clear();
    ids_.clear();
    for (const schedule::entry& e : step.entries) {
      const auto at = jobs_.find(e.id);
      if (at == jobs_.end()) continue;
      const job& j = at->second;
      ids_.push_back(e.id);
      inputs_.push_back({j.sequence, e.begin, std::span(j.g.prompt).subspan(e.begin, e.count), e.wants_logits});
    }
    const std::size_t width = model_->vocabulary();
    if (inputs_.empty()) return;
    const status all = model_->step(*store_, inputs_, logits_.data());
    std::size_t row = 0;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      status s = all;
      if (!all && inputs_.size() > 1)  // find whose fault it is: each alone
        s = model_->step(*store_, std::span<const model_input>(inputs_).subspan(i, 1), logits_.data() + row * width);
      if (s) s = store_->commit(inputs_[i].sequence, static_cast<std::uint32_t>(inputs_[i].tokens.size()));
      const request_id id = ids_[i];
      if (s) memory_.committed(jobs_.at(id));
      else static_cast<void>(scheduler_.cancel(id));
      if (!s || inputs_[i].wants_logits) events_.push_back({id, s, row});
      row += inputs_[i].wants_logits;
    }
  }

  void deliver() {
    while (next_event_ < events_.size()) {
      const request_id id = events_[next_event_].id;
      const auto at = jobs_.find(id);
      if (at != jobs_.end() && events_[next_event_].why && !at->second.copies.empty())
        fork_copies(at->second, std::exchange(at->second.copies, {}), events_[next_event_].row);
      event& e = events_[next_event_];
      if (at == jobs_.end()) {  // cancelled by a callback
        ++next_event_;
      } else if (!e.why) {
        ++next_event_;
        end(id, ending::failed, e.why);
      } else if (!e.drawn) {
        draw(e, at->second);
      } else {
        ++next_event_;
        if (scheduler_.find(id) == nullptr) end(id, ending::length, {});
      }
    }
  }
  void draw(event& e, job& j) {
    const request_id id = e.id;
    const std::span<const float> logits(logits_.data() + e.row * model_->vocabulary(), model_->vocabulary());
    const std::int32_t token = j.g.sampler ? j.g.sampler(logits, j.generated()) : greedy(logits);
    if (jobs_.count(id) == 0) return;  // the sampler cancelled it
    const bool stop = std::find(j.g.stop.begin(), j.g.stop.end(), token) != j.g.stop.end();
    if (token < 0 || static_cast<std::uint32_t>(token) >= model_->vocabulary() || stop) {
      ++next_event_;
      static_cast<void>(scheduler_.finish(id));
      if (stop) return end(id, ending::stop, {});
      return end(id, ending::failed,
                 {errc::out_of_range, "sampled token", token, 0, std::int64_t{model_->vocabulary()} - 1});
    }
    j.g.prompt.push_back(token);
    if (!std::exchange(j.forked, false)) {
      static_cast<void>(scheduler_.token(id));
    } else if (j.g.max_new_tokens > 1) {
      if (const status queued = enqueue(id, j); !queued) return ++next_event_, end(id, ending::failed, queued);
    }
    e.drawn = true;
    if (j.g.on_token) j.g.on_token(id, token);
  }
  void end(request_id id, ending how, const status& why) {
    auto node = jobs_.extract(id);
    if (!node) return;
    job& j = node.mapped();
    ended_.push_back(std::move(node));
    memory_.forget(id, j);  // a fork that waited
    memory_.left(j);
    promote(std::move(j.copies));
    if (j.g.on_done) j.g.on_done(id, {how, why, j.generated()});
  }

  M* model_;
  Store* store_;
  job_map jobs_;
  sequences<Store> memory_;
  schedule::scheduler<sequences<Store>, P> scheduler_;
  std::vector<float> logits_;  ///< [seats][vocabulary]
  std::vector<model_input> inputs_;
  std::vector<request_id> ids_;  ///< whose inputs
  std::optional<schedule::step> step_;
  std::vector<event> events_;
  std::vector<typename job_map::node_type> ended_;
  std::size_t next_event_ = 0;
  request_id last_id_ = 0;
  int depth_ = 0;
  bool stepping_ = false;

 public:
  using scheduler_type = schedule::scheduler<sequences<Store>, P>;
  /// Counters, limits, policy and refusals. Not to be stepped or submitted to from outside.
  const scheduler_type& scheduling() const noexcept { return scheduler_; }
};

}  // namespace quire::inline v0::serve
