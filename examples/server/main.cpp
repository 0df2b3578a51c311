// SPDX-License-Identifier: Apache-2.0
// quire-server: its command line, its start and its end. Exit status 0: drained, every page of the cache came back; 1: not so, or
// the machine refused; 2: something given can't be used.
#include <CLI/CLI.hpp>

#include <malloc.h>
#include <pthread.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>

#include "../lm/commands/common.hpp"
#include "../lm/flags.hpp"
#include "api.hpp"
#include "quire/version.hpp"

namespace {

using namespace quire_server;
using quire_lm::quoted;

struct server_options : quire_lm::common_options {
  std::string host = "127.0.0.1", name, key_variable = "QUIRE_API_KEY";
  std::vector<std::string> weights;
  int port = 8080;
  std::uint32_t context = 4096;
  std::uint64_t kv_tokens = 32768, prefix_tokens = UINT64_MAX;
  std::uint32_t away = 0;
  bool whole_prompts = false;
  std::string spill;
  std::uint32_t connections = 256;
  double drain_seconds = 30, stall_seconds = 10;
  policy_names policy;
  service_options service;
  api_options api;
};

void add_flags(CLI::App& c, server_options& o) {
  using quire_lm::whole, quire_lm::real;
  constexpr std::uint64_t most = std::uint64_t{1} << 24;
  c.add_option("--model", o.model, "GGUF file of a llama-architecture model")->required()->type_name("FILE");
  c.add_option("--name", o.name, "Name clients ask for (default: the file's, without its ending)")->check(quire_lm::not_empty())->type_name("NAME");
  c.add_option("--host", o.host, "Address to listen at (default: 127.0.0.1, this machine alone)")->check(quire_lm::not_empty())->type_name("H");
  c.add_option("--port", o.port, "Port; 0: a free one (default: 8080)")->check(whole(0, 65535))->type_name("P");
  c.add_option("--api-key-from", o.key_variable, "Environment variable that holds the key clients must show (default: QUIRE_API_KEY; unset or empty: none)")->type_name("VARIABLE");
  c.add_option("--kv", o.kv, "Cache (default: bf16)")->check(quire_lm::cache())->type_name("NAME");
  c.add_option("--kv-tokens", o.kv_tokens, "Tokens the cache holds over all texts (default: 32768)")->check(whole(64, std::uint64_t{1} << 32))->type_name("N");
  c.add_flag("--whole-prompts", o.whole_prompts, "Heads that stream see all of a prompt and are cut down when it ends, as DuoAttention and RazorAttention do (default: from the start)");
  c.add_option("--prefix-cache", o.prefix_tokens, "Of these, tokens of past texts that are remembered for others to begin with; 0: none (default: as many as there is room for)")->check(whole(0, std::uint64_t{1} << 32))->type_name("N");
  c.add_option("--swap", o.away, "Texts of full length that fit this machine's memory when --preemption swaps them out of the cache (default: 0)")->check(whole(0, 65536))->type_name("N");
  c.add_option("--spill", o.spill, "Folder on a fast disk: texts are swapped out to files there instead of memory. One server a folder")->check(quire_lm::not_empty())->type_name("DIR");
  c.add_option("--context", o.context, "Tokens of one text, prompt included (default: 4096, or what the model has)")->check(whole(2, most))->type_name("N");
  c.add_option("--heads", o.heads, "Head scores of the model (default: those that came with the program, if any)")->type_name("FILE");
  c.add_option("--isa", o.isa, "Instruction set (default: the best this machine runs)")->type_name("NAME");
  c.add_option("--threads", o.threads, "Threads of the model (default: as the machine has cores)")->check(whole(1, 256))->type_name("N");
  c.add_option("--order", o.policy.order, "Who comes first: fcfs (default), priority, shortest-prefill, longest-prefix, fair (between tenants), fair-priority")->type_name("NAME");
  c.add_option("--batching", o.policy.batching, "What a step holds: chunked (default), chunked-apart, prefill-first, whole, memory-centric")->type_name("NAME");
  c.add_option("--admission", o.policy.admission, "When a text may take pages: when-it-fits (default), watermark, projected, deadline (x-deadline-ms of the request)")->type_name("NAME");
  c.add_option("--victim", o.policy.victim, "Who loses its pages to a full cache: newest (default), lowest-priority, least-lost-work")->type_name("NAME");
  c.add_option("--preemption", o.policy.preemption, "What becomes of them: recompute (default), swap, cheaper (the latter two with --swap)")->type_name("NAME");
  c.add_option("--tau", o.policy.tau, "Tokens of a step: what bounds the time between two tokens of a text (default: 256)")->check(whole(1, 4096))->type_name("N");
  c.add_option("--even-depth", o.policy.even_depth, "With --batching chunked: position at which a token's attention costs as much as all else of it, as 'quire-lm schedule stalls' shows; late chunks of a long prompt then shrink (default: none)")->check(whole(1, most))->type_name("N");
  c.add_option("--ageing", o.policy.ageing, "Seconds of waiting that a level of priority is worth (default: 10)")->check(real("0 to 1e9", 0, 1e9, false))->type_name("S");
  c.add_option("--prefill-rate", o.policy.prefill_rate, "With --admission deadline: prompt tokens a second, of one text")->check(real("above 0 to 1e9", 0, 1e9, true))->type_name("R");
  c.add_option("--decode-rate", o.policy.decode_rate, "With --admission deadline: generated tokens a second, of one text")->check(real("above 0 to 1e9", 0, 1e9, true))->type_name("R");
  c.add_option("--weight", o.weights, "With fair orders: NAME=W, a tenant whose share is W times another's; may be given several times")->allow_extra_args(false)->type_name("NAME=W");
  c.add_flag("--preempt-for-priority", o.policy.preempt_for_priority, "Running texts give way to more urgent waiting ones");
  c.add_option("--max-running", o.service.max_running, "Texts that are generated at a time (default: 32)")->check(whole(1, 1024))->type_name("N");
  c.add_option("--max-waiting", o.service.max_waiting, "Texts accepted beyond those; more are told to come again (default: 256)")->check(whole(0, 65536))->type_name("N");
  c.add_option("--max-tokens", o.api.limits.max_tokens, "Tokens a request may ask for (default: 4096)")->check(whole(1, most))->type_name("N");
  c.add_option("--max-n", o.api.limits.n, "Texts of one prompt a request may ask for (default: 8)")->check(whole(1, 128))->type_name("N");
  c.add_option("--max-body", o.api.body_bytes, "Bytes of a request's body (default: 2097152)")->check(whole(1, std::uint64_t{1} << 30))->type_name("N");
  c.add_option("--max-connections", o.connections, "Connections at a time (default: 256)")->check(whole(1, 4096))->type_name("N");
  c.add_option("--stream-buffer", o.api.stream_capacity, "Updates that may wait for a slow reader of a text (default: 1024)")->check(whole(2, 1 << 20))->type_name("N");
  c.add_option("--stall", o.stall_seconds, "Seconds in which a reader must take something (default: 10)")->check(real("above 0 to 3600", 0, 3600, true))->type_name("S");
  c.add_option("--drain", o.drain_seconds, "Seconds that requests have to end after SIGTERM or SIGINT (default: 30)")->check(real("0 to 86400", 0, 86400, false))->type_name("S");
  c.add_flag("--log", o.api.log, "Write a line on stderr for each request");
}

std::string name_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  return name;
}

quire::schedule::order::tenant_weight weight_of(const std::string& said) {
  const std::size_t sign = said.rfind('=');
  double weight = 0;
  if (sign != std::string::npos) std::from_chars(said.data() + sign + 1, said.data() + said.size(), weight);
  if (sign == 0 || !(weight > 0 && weight <= 1e6)) throw bad_input("--weight is " + quoted(said) + ", allowed NAME=W with W above 0 to 1e6");
  return {tenant_of(said.substr(0, sign)), weight};
}

/// What to say of what an earlier run left in the spill files; null: nothing.
const char* words_of(quire::tier::spill_found found) {
  using enum quire::tier::spill_found;
  switch (found) {
    case nothing: return nullptr;
    case left_over: return "a server that did not end by itself left its files";
    case damaged: return "the files are damaged";
    case other_version: return "the files are of another version";
  }
  return nullptr;
}

std::chrono::milliseconds milliseconds_of(double seconds) { return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)); }

/// Waits for one of `signals` until `deadline`; its number, or 0.
int wait_for(const sigset_t& signals, steady::time_point deadline) {
  const auto left = std::max(std::chrono::nanoseconds(0), std::chrono::nanoseconds(deadline - steady::now()));
  const timespec t{static_cast<time_t>(left.count() / 1000000000), static_cast<long>(left.count() % 1000000000)};
  const int got = ::sigtimedwait(&signals, nullptr, &t);
  return got > 0 ? got : 0;
}

/// Serves until a signal, then lets what runs finish. Returns the exit status.
int serve(const server_options& o, const serving_policy& policy, quire_lm::backend& model, const quire_lm::tokenizer& tokens, const served_model& told, const sigset_t& signals) {
  metrics counted;
  service work(model, tokens, policy, o.service, counted);
  api routes(work, counted, told, o.api);
  const connection_limits limits{.stall = milliseconds_of(o.stall_seconds), .request_bytes = o.api.body_bytes + (std::uint64_t{1} << 16)};
  http_server http(limits, o.connections, counted);
  routes.install(http);
  const int port = http.bind(o.host, o.port);
  if (port <= 0) throw bad_input("--host and --port are " + quoted(o.host) + " and " + std::to_string(o.port) + ", allowed an address of this machine that is free: " + std::strerror(errno));
  std::thread listener([&] { http.serve(); });
  std::printf("quire-server: http://%s:%d/v1 serves %s: %s cache of %llu tokens, %u texts at a time, %u threads\n", o.host.c_str(), port, told.name.c_str(), o.kv.c_str(),
              static_cast<unsigned long long>(o.kv_tokens), o.service.max_running, o.threads);
  std::fflush(stdout);

  int got = 0;
  while (got == 0) got = wait_for(signals, steady::now() + std::chrono::hours(1));
  work.drain();
  http.drain();
  std::fprintf(stderr, "quire-server: %s: finishing %llu texts, at most %g s; once more to end them\n", ::strsignal(got), static_cast<unsigned long long>(counted.live.load()), o.drain_seconds);
  const auto deadline = steady::now() + milliseconds_of(o.drain_seconds);
  const auto busy = [&] { return counted.live != 0 || counted.connections != 0; };
  while (busy() && steady::now() < deadline)
    if (wait_for(signals, std::min(deadline, steady::now() + std::chrono::milliseconds(20))) != 0) break;
  const unsigned long long cut = counted.live.load();
  work.interrupt_all(interruption::shutdown);
  for (const auto grace = steady::now() + std::chrono::seconds(2); busy() && steady::now() < grace;) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  http.finish();
  listener.join();
  const bool sound = work.check() && counted.live == 0 && counted.free_pages == counted.pages;
  std::fprintf(stderr, "quire-server: ended, %llu texts cut short, %llu of %llu pages free, store %s\n", cut, static_cast<unsigned long long>(counted.free_pages.load()),
               static_cast<unsigned long long>(counted.pages.load()), sound ? "sound" : "NOT SOUND");
  return sound ? 0 : 1;
}

int run(int argc, char** argv) {
  // Bodies go back to the system when they are done with, and threads share arenas: else memory grows by what each once held.
  ::mallopt(M_MMAP_THRESHOLD, 256 << 10);
  ::mallopt(M_ARENA_MAX, 4);
  // Before there are threads, so that all of them leave these to the main one.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  CLI::App app("quire-server: OpenAI's completions and chat over a language model on composed key-value caches", "quire-server");
  server_options o;
  o.threads = std::min(256u, std::max(1u, std::thread::hardware_concurrency()));
  add_flags(app, o);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw bad_input(e.what());
  }
  if (const char* key = std::getenv(o.key_variable.c_str())) o.api.key = key;

  for (const std::string& w : o.weights) o.policy.weights.push_back(weight_of(w));
  const serving_policy policy = make_policy(o.policy);
  const quire_lm::instruction_set isa = quire_lm::pick_instruction_set(o.isa);
  const quire_lm::loaded_model m = quire_lm::load_model(o);
  if (app.count("--context") != 0 && o.context > m.config().context)
    throw bad_input("--context is " + std::to_string(o.context) + ", allowed 2 to the model's " + std::to_string(m.config().context));
  o.context = std::min(o.context, m.config().context);
  if (!o.spill.empty() && o.away == 0) throw bad_input("--spill is " + quoted(o.spill) + ", allowed only with --swap, which says how many texts fit");
  o.service.max_sequence = o.context;
  // A few handles beyond the seats: forks of a prompt that wait for one.
  const auto model = isa.make(*m.weights, {.kv = o.kv, .threads = o.threads, .max_rows = std::max(o.policy.tau, o.service.max_running), .sequences = o.service.max_running + o.api.limits.n,
                                           .max_tokens = o.context, .total_tokens = o.kv_tokens,
                                           .remembered_tokens = std::min(o.prefix_tokens, o.kv_tokens), .away = o.away, .spill = o.spill, .whole_prompts = o.whole_prompts});
  if (const char* what = words_of(model->spill_found())) std::fprintf(stderr, "quire-server: --spill: %s; it is not used\n", what);
  struct stat file {};
  const bool dated = ::stat(o.model.c_str(), &file) == 0;
  const served_model told{.name = o.name.empty() ? name_of(o.model) : o.name,
                          .fingerprint = "quire-" + std::to_string(QUIRE_VERSION_MAJOR) + "." + std::to_string(QUIRE_VERSION_MINOR) + "-" + o.kv,
                          .created = dated ? static_cast<std::int64_t>(file.st_mtime) : 0,
                          .context = o.context,
                          .tokens = m.tok.get(),
                          .chat = m.chat,
                          .no_chat = m.no_chat};
  return serve(o, policy, *model, *m.tok, told, signals);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const bad_input& e) {
    std::fprintf(stderr, "quire-server: %s\n", e.what());
    return 2;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "quire-server: not enough memory\n");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "quire-server: %s\n", e.what());
  }
  return 1;
}
