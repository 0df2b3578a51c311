// SPDX-License-Identifier: Apache-2.0
// What scheduling policies do to a real model on this machine: the stall of a long prompt, the work that shared prefixes save,
// the cost of preemption. Arms alternate; every arm's tokens must be those of the first.
#include <algorithm>
#include <map>
#include <random>

#include "common.hpp"
#include "quire/schedule/batching/memory_centric.hpp"
#include "quire/schedule/batching/prefill_first.hpp"
#include "quire/schedule/one_of.hpp"
#include "quire/schedule/order/prefix_grouped.hpp"
#include "quire/schedule/order/priority.hpp"
#include "quire/schedule/prefix/plan.hpp"
#include "quire/schedule/preemption/swap.hpp"
#include "quire/schedule/victim/lowest_priority.hpp"
#include "quire/serve/engine.hpp"

namespace quire_lm {
namespace {

namespace sc = quire::schedule;
using any_policy = sc::policy<sc::one_of<sc::order::fcfs, sc::order::prefix_grouped, sc::order::priority>,
                              sc::one_of<sc::batching::chunked, sc::batching::prefill_first, sc::batching::memory_centric>, sc::admission::when_it_fits,
                              sc::one_of<sc::victim::newest, sc::victim::lowest_priority>, sc::one_of<sc::preemption::recompute, sc::preemption::swap>>;
using engine = quire::serve::engine<backend, backend, any_policy>;
using texts = std::map<std::uint64_t, std::vector<token>>;  // by the number an experiment gave them

double median(std::vector<double> x) {
  if (x.empty()) return 0;
  std::nth_element(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2), x.end());
  return x[x.size() / 2];
}

/// Tokens like a text's: some thousand words, the frequent ones more often.
class words {
 public:
  words(const model_config& c, std::uint64_t seed) : random_(seed), vocabulary_(c.vocabulary) {}
  std::vector<token> operator()(std::uint32_t n) {
    std::vector<token> out(n);
    for (token& t : out) t = static_cast<token>(256 + random_() % 97 * (random_() % 61) % (vocabulary_ - 256));
    return out;
  }
  std::uint64_t below(std::uint64_t n) { return random_() % n; }

 private:
  std::mt19937_64 random_;
  std::uint32_t vocabulary_;
};

struct experiment {
  const schedule_options& o;
  const instruction_set isa;
  const loaded_model m;
  json rows = json::array();
  texts first;  ///< what the first arm said

  /// The texts of an arm are those of the first arm, or something is wrong with this program.
  void compare(const std::string& arm, const texts& got) {
    if (first.empty()) first = got;
    if (got != first) throw std::runtime_error("the arm '" + arm + "' generated other tokens than the first one");
  }
};

std::uint64_t submit(engine& serving, quire::serve::generation g) {
  std::uint64_t id = 0;
  require(serving.submit(std::move(g), id));
  return id;
}

void finish(engine& serving, backend& model) {
  for (;;) {
    switch (serving.run_step()) {
      case quire::serve::progress::idle: return;
      case quire::serve::progress::waiting: model.wait(); break;
      case quire::serve::progress::blocked: throw std::runtime_error("the cache has no room: " + quire::describe(serving.scheduling().refused().why));
      default: break;
    }
  }
}

/// Full steps by the position at which their chunk began.
struct step_times {
  std::vector<double> at{}, seconds{};
  /// The position at which a chunk's attention takes as long as all else in its step: where the line through the steps
  /// (Theil and Sen's, which disregards those that something held up) is twice as high as at 0; `least` at least. 0: it
  /// doesn't rise.
  std::uint32_t even_depth(std::uint32_t least) const {
    std::vector<double> slopes, starts;
    for (std::size_t i = 0; i < at.size(); ++i)
      for (std::size_t j = 0; j < i; ++j) slopes.push_back((seconds[i] - seconds[j]) / (at[i] - at[j]));
    const double slope = median(slopes);
    if (slope <= 0) return 0;
    for (std::size_t i = 0; i < at.size(); ++i) starts.push_back(seconds[i] - slope * at[i]);
    return std::max(least, static_cast<std::uint32_t>(std::clamp(median(starts) / slope, 0.0, 1e9)));
  }
};

/// Sarathi-Serve: some texts are being generated when a long prompt arrives. For each tau once as published and once
/// with rows counted by what attention costs at their depth, which the first of the two has shown.
void stalls(experiment& e, table& shown) {
  struct arm {
    std::string name;
    std::uint32_t tau;  ///< 0: the whole prompt in a step of its own
    bool by_cost = false;
    std::uint32_t even_depth = 0;
    step_times full{};  ///< of the first round
    std::vector<double> gap{}, step{}, ttft{};
  };
  std::vector<arm> arms;
  for (const std::uint32_t tau : e.o.taus) {
    arms.push_back({tau == 0 ? "prefill first" : "chunked " + std::to_string(tau), tau});
    if (tau != 0) arms.push_back({"chunked " + std::to_string(tau) + " by cost", tau, true, e.o.even_depth});
  }
  progress_line line("stalls");
  for (std::uint32_t round = 0; round < e.o.rounds; ++round)
    for (std::size_t i = 0; i < arms.size(); ++i) {
      arm& a = arms[i];
      line.at(static_cast<double>(round * arms.size() + i), static_cast<double>(e.o.rounds * arms.size()));
      const std::uint32_t budget = a.tau == 0 ? e.o.prompt : a.tau;
      const auto model = e.isa.make(*e.m.weights, {.kv = e.o.kv, .threads = e.o.threads, .max_rows = std::max(budget, e.o.running + 1), .sequences = e.o.running + 1,
                                                   .max_tokens = e.o.prompt + 64});
      any_policy policy;
      if (a.tau == 0) policy.batching = sc::batching::prefill_first{.max_batched = e.o.prompt};
      else policy.batching = sc::batching::chunked{.tau = a.tau};
      if (a.by_cost) {
        if (a.even_depth == 0) a.even_depth = arms[i - 1].full.even_depth(a.tau);
        policy.batching = sc::batching::chunked{.tau = a.tau, .even_depth = a.even_depth, .end_at = quire::tile_tokens};
      }
      engine serving(*model, *model, policy, {.max_running = e.o.running + 1});
      words w(e.m.config(), e.o.seed);
      texts got;
      std::map<std::uint64_t, double> last;
      double arrived = 0, ended = 0, widest = 0;
      const std::uint32_t length = e.o.prompt + 32;
      for (std::uint32_t n = 0; n < e.o.running; ++n)
        submit(serving, {.prompt = w(32), .max_new_tokens = length, .on_token = [&, n](auto, token t) {
                           const double at = now();
                           if (arrived != 0 && ended == 0) widest = std::max(widest, at - last[n]);
                           last[n] = at;
                           if (got[n].size() < 48) got[n].push_back(t);
                         }});
      while (got.size() < e.o.running || std::any_of(got.begin(), got.end(), [](const auto& g) { return g.second.size() < 8; })) serving.run_step();
      arrived = now();
      const std::uint64_t arriving = submit(serving, {.prompt = w(e.o.prompt), .max_new_tokens = 4, .on_token = [&](auto, token t) {
                         if (got[1000].empty()) a.ttft.push_back(now() - arrived);
                         got[1000].push_back(t);
                       }, .on_done = [&](auto, const auto&) { ended = now(); }});
      step_times full;  // those in which the prompt took all it could get
      const auto done = [&] {
        const sc::request* r = serving.scheduling().find(arriving);
        return r == nullptr ? e.o.prompt : r->so_far.computed;
      };
      while (ended == 0) {
        const std::uint32_t before = done();
        const double start = now();
        serving.run_step();
        if (before < e.o.prompt && (done() < e.o.prompt || before == 0)) full.at.push_back(before), full.seconds.push_back(now() - start);
      }
      while (std::any_of(got.begin(), got.end(), [](const auto& g) { return g.first < 1000 && g.second.size() < 48; })) serving.run_step();
      a.gap.push_back(widest), a.step.push_back(median(full.seconds));
      if (round == 0) a.full = full;
      e.compare(a.name, got);
    }
  line.clear();
  for (const arm& a : arms) {
    const double gap = median(a.gap), step = median(a.step);
    e.rows.push_back({{"arm", a.name}, {"tau", a.tau}, {"even_depth", a.even_depth}, {"largest_gap_seconds", gap}, {"median_full_step_seconds", step}, {"ratio", step > 0 ? gap / step : 0},
                      {"time_to_first_token_seconds", median(a.ttft)}, {"full_steps_begin_at", a.full.at}, {"full_steps_seconds", a.full.seconds}});
    shown.row({a.name, a.by_cost ? std::to_string(a.even_depth) : "", fixed(gap * 1e3, 1), fixed(step * 1e3, 1), fixed(step > 0 ? gap / step : 0, 2), fixed(median(a.ttft), 2)});
  }
}

/// BatchLLM: a pile of prompts over a few documents, in no order.
void groups(experiment& e, table& shown) {
  const std::uint32_t n = e.o.groups * e.o.members;
  words w(e.m.config(), e.o.seed);
  std::vector<std::vector<token>> documents, prompts;
  for (std::uint32_t g = 0; g < e.o.groups; ++g) documents.push_back(w(e.o.shared));
  for (std::uint32_t i = 0; i < n; ++i) {
    prompts.push_back(documents[i % e.o.groups]);
    const auto own = w(e.o.own + static_cast<std::uint32_t>(w.below(16)));
    prompts.back().insert(prompts.back().end(), own.begin(), own.end());
  }
  for (std::uint32_t i = n; i > 1; --i) std::swap(prompts[i - 1], prompts[w.below(i)]);
  std::vector<std::span<const token>> views(prompts.begin(), prompts.end());
  const std::vector<double> expected(n, e.o.tokens);
  const sc::prefix::plan plan = sc::prefix::make_plan(sc::prefix::pile<token>{views}, expected);
  std::uint64_t logical = 0;
  for (const auto& p : prompts) logical += p.size();
  const std::uint32_t longest = e.o.shared + e.o.own + 16 + e.o.tokens;

  struct arm {
    const char* name;
    bool remembers, planned;
    std::vector<double> seconds{};
    std::uint64_t computed = 0, hit = 0, evicted = 0;
  };
  arm arms[] = {{"FCFS, no sharing", false, false}, {"FCFS, LRU prefix cache", true, false}, {"planned groups", true, true}};
  progress_line line("groups");
  for (std::uint32_t round = 0; round < e.o.rounds; ++round)
    for (std::size_t i = 0; i < std::size(arms); ++i) {
      arm& a = arms[i];
      line.at(static_cast<double>(round * std::size(arms) + i), static_cast<double>(e.o.rounds * std::size(arms)));
      const std::uint64_t room = e.o.room != 0 ? e.o.room : std::uint64_t{e.o.running} * longest;
      const auto model = e.isa.make(*e.m.weights, {.kv = e.o.kv, .threads = e.o.threads, .max_rows = std::max(e.o.tau, e.o.running), .sequences = e.o.running, .max_tokens = longest + 64,
                                                   .total_tokens = room, .remembered_tokens = a.remembers ? std::max<std::uint64_t>(2 * room, logical) : 0});
      any_policy policy;
      policy.batching = sc::batching::chunked{.tau = e.o.tau};
      if (a.planned) policy.order = sc::order::prefix_grouped{}, policy.batching = sc::batching::memory_centric{.theta = 1.0, .steps = e.o.tokens, .guard = e.o.tau};
      texts got;
      const double start = now();
      {
        engine serving(*model, *model, policy, {.max_running = e.o.running});
        for (std::uint32_t k = 0; k < n; ++k) {
          const std::uint32_t r = a.planned ? plan.sequence[k] : k;
          const sc::prefix::placement at = plan.places[r];
          quire::serve::generation g{.prompt = prompts[r], .max_new_tokens = e.o.tokens, .on_token = [&got, r](auto, token t) { got[r].push_back(t); }};
          if (a.planned) g.group = at.group, g.rank = at.rank, g.shared_tokens = at.group != 0 ? plan.groups[at.group - 1].tokens : 0;
          submit(serving, std::move(g));
        }
        finish(serving, *model);
        a.computed = serving.scheduling().counters().computed - (std::uint64_t{n} * (e.o.tokens - 1));
      }
      a.seconds.push_back(now() - start);
      a.hit = model->prefix_counts().hit, a.evicted = model->prefix_counts().evicted;
      e.compare(a.name, got);
    }
  line.clear();
  for (const arm& a : arms) {
    const double seconds = median(a.seconds);
    e.rows.push_back({{"arm", a.name}, {"seconds", seconds}, {"prompt_tokens", logical}, {"computed_prompt_tokens", a.computed}, {"tokens_of_the_tree", logical - plan.saved()},
                      {"hit_tokens", a.hit}, {"evicted_tiles", a.evicted}, {"speed_up_over_no_sharing", median(arms[0].seconds) / seconds},
                      {"speed_up_over_lru", median(arms[1].seconds) / seconds}});
    shown.row({a.name, fixed(seconds, 2), std::to_string(a.computed), std::to_string(logical - plan.saved()), std::to_string(a.hit), fixed(median(arms[0].seconds) / seconds, 2),
               fixed(median(arms[1].seconds) / seconds, 2)});
  }
}

/// FastSwitch: urgent texts arrive while the cache is full, so that others lose their pages and come back.
void swaps(experiment& e, table& shown) {
  struct arm {
    const char* name;
    bool scarce, swaps, reuse, page_copies;
    std::uint32_t group_pages;
    std::vector<double> seconds{};
    sc::scheduler_counters counters{};
    quire::kv::swap_counts moved{};
  };
  arm arms[] = {{"ample memory", false, false, false, false, 8}, {"recompute", true, false, false, false, 8}, {"swap, page by page", true, true, false, true, 1},
                {"swap, block groups", true, true, false, false, 32}, {"swap, block groups, reuse", true, true, true, false, 32}};
  const std::uint32_t n = e.o.groups * e.o.members, longest = e.o.shared + e.o.tokens;
  const std::uint64_t room = e.o.room != 0 ? e.o.room : std::uint64_t{e.o.running} * longest / 2;
  progress_line line("swaps");
  for (std::uint32_t round = 0; round < e.o.rounds; ++round)
    for (std::size_t i = 0; i < std::size(arms); ++i) {
      arm& a = arms[i];
      line.at(static_cast<double>(round * std::size(arms) + i), static_cast<double>(e.o.rounds * std::size(arms)));
      const auto model = e.isa.make(*e.m.weights, {.kv = e.o.kv, .threads = e.o.threads, .max_rows = std::max(e.o.tau, e.o.running), .sequences = e.o.running, .max_tokens = longest + 64,
                                                   .total_tokens = a.scarce ? room : std::uint64_t{e.o.running} * (longest + 64), .away = a.swaps ? n : 0, .reuse = a.reuse,
                                                   .group_pages = a.group_pages, .page_copies = a.page_copies});
      any_policy policy;
      policy.order = sc::order::priority{.ageing_seconds = 1e9, .preempts = a.scarce};
      policy.victim = sc::victim::lowest_priority{};
      policy.batching = sc::batching::chunked{.tau = e.o.tau};
      if (a.swaps) policy.preemption = sc::preemption::swap{};
      words w(e.m.config(), e.o.seed);
      texts got;
      const double start = now();
      {
        engine serving(*model, *model, policy, {.max_running = e.o.running});
        for (std::uint32_t r = 0; r < n; ++r) {  // one more arrives every few steps, by chance more urgent than those that run
          submit(serving, {.prompt = w(e.o.shared / 2 + static_cast<std::uint32_t>(w.below(e.o.shared / 2))), .max_new_tokens = e.o.tokens,
                           .on_token = [&got, r](auto, token t) { got[r].push_back(t); }, .arrival = static_cast<double>(r), .priority = static_cast<std::int32_t>(w.below(8))});
          for (int steps = 0; steps < 6; ++steps)
            if (serving.run_step() == quire::serve::progress::waiting) model->wait();
        }
        finish(serving, *model);
        a.counters = serving.scheduling().counters();
      }
      a.seconds.push_back(now() - start);
      a.moved = model->swap_counts();
      e.compare(a.name, got);
    }
  line.clear();
  for (const arm& a : arms) {
    const double seconds = median(a.seconds);
    const auto moves = static_cast<double>(a.moved.swaps_out + a.moved.swaps_in), copies = static_cast<double>(a.moved.out.copies + a.moved.in.copies);
    const double run = a.moved.runs != 0 ? static_cast<double>(a.moved.pieces) / static_cast<double>(a.moved.runs) : 0;
    e.rows.push_back({{"arm", a.name}, {"seconds", seconds}, {"preempted", a.counters.preempted + a.counters.yielded}, {"recomputed_tokens", a.counters.recomputed}, {"swaps_out", a.moved.swaps_out},
                      {"swaps_in", a.moved.swaps_in}, {"bytes_out", a.moved.out.bytes}, {"bytes_in", a.moved.in.bytes}, {"saved_bytes", a.moved.saved_bytes}, {"copies", copies},
                      {"copies_per_swap", moves > 0 ? copies / moves : 0}, {"mean_run_pages", run}});
    shown.row({a.name, fixed(seconds, 2), std::to_string(a.counters.preempted + a.counters.yielded), std::to_string(a.counters.recomputed), std::to_string(a.moved.swaps_out),
               fixed(static_cast<double>(a.moved.out.bytes) / 1e6, 1), fixed(static_cast<double>(a.moved.in.bytes) / 1e6, 1), fixed(moves > 0 ? copies / moves : 0, 1), fixed(run, 1)});
  }
}

}  // namespace

int schedule(const schedule_options& o) {
  experiment e{.o = o, .isa = pick_instruction_set(o.isa), .m = load_model(o), .rows = json::array(), .first = {}};
  const std::uint32_t most = std::max(o.prompt + 64, o.shared + o.own + 80 + o.tokens);
  if (most > e.m.config().context)
    throw bad_input("--prompt and --shared with --own and --tokens need " + std::to_string(most) + " tokens, allowed at most the model's " + std::to_string(e.m.config().context));
  const std::uint32_t longest = o.shared + o.own + 16 + o.tokens;
  if (o.room != 0 && o.room < longest + 128) throw bad_input("--room is " + std::to_string(o.room) + ", allowed at least " + std::to_string(longest + 128) + ", one text");
  table shown(o.experiment == "stalls"   ? std::vector<std::string>{"policy", "even depth", "largest gap ms", "full step ms", "ratio", "long TTFT s"}
              : o.experiment == "groups" ? std::vector<std::string>{"policy", "seconds", "computed prompt tokens", "tree", "hit tokens", "x no sharing", "x LRU"}
                                         : std::vector<std::string>{"policy", "seconds", "preempted", "recomputed", "swaps", "MB out", "MB in", "copies/swap", "run pages"});
  (o.experiment == "stalls" ? stalls : o.experiment == "groups" ? groups : swaps)(e, shown);
  if (o.as_json) {
    std::printf("%s\n", json{{"experiment", o.experiment}, {"kv", o.kv}, {"threads", o.threads}, {"isa", e.isa.name}, {"rounds", o.rounds}, {"seed", o.seed}, {"rows", e.rows}}.dump(2).c_str());
  } else {
    shown.print(stdout);
  }
  return 0;
}

}  // namespace quire_lm
