// SPDX-License-Identifier: Apache-2.0
// The program behind bench/device/run.
//   device_bench info                        the device and its bandwidth, one JSON object
//   device_bench kernels                     shared memory of every kernel, no device needed
//   device_bench list   [--full] [--only P,…]   what a sweep times, one workload a line
//   device_bench verify [--quick]            every kernel on small steps against the double reference, nothing timed: for compute-sanitizer
//   device_bench sweep  [--full] [--only P,…] [--part I/N] [--seconds N] --rows FILE     times; one JSON object a line
//   device_bench serve                       commands on stdin, one JSON object a line in answer: `open WORDS`, `time`, `graph`, `close`
// A step is checked against the double reference, and its plans against each other bit for bit, before it is timed.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>

#include "arm.hpp"
#include "fill.cuh"
#include "sweep.hpp"
#include "timing.cuh"

using namespace device_bench;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// One JSON object on one line.
class json {
 public:
  json& text(const char* key, const std::string& value) {
    std::string quoted;
    for (const char c : value) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
    return put(key, '"' + quoted + '"');
  }
  json& number(const char* key, double value, int digits = 3) {
    char b[48];
    std::snprintf(b, sizeof b, "%.*f", digits, value);
    return put(key, b);
  }
  json& count(const char* key, std::uint64_t value) { return put(key, std::to_string(value)); }
  json& flag(const char* key, bool value) { return put(key, value ? "true" : "false"); }
  std::string line() const { return "{" + body_ + "}"; }

 private:
  json& put(const char* key, const std::string& value) {
    body_ += (body_.empty() ? "\"" : ", \"") + std::string(key) + "\": " + value;
    return *this;
  }
  std::string body_;
};

json describe_work(const workload& w) {
  json j;
  j.text("part", w.part).text("codec", w.codec).count("head_dim", w.head_dim).count("kv_heads", w.kv_heads).count("group", w.group).count("batch", w.batch);
  j.count("tokens", w.tokens).text("lengths", w.lengths).number("mean_tokens", w.mean_tokens(), 1).count("rows", w.rows).count("prefix", w.prefix);
  return j;
}

/// A workload with as many layers as hold four times the L2 together, so that a launch finds nothing of its own there.
workload with_layers(const cuda_machine& m, workload w) {
  const std::uint64_t one = std::max<std::uint64_t>(find_kernel(w).layer_bytes(w), 1), wanted = 4 * static_cast<std::uint64_t>(m.properties().l2CacheSize);
  if (w.layers == 0) w.layers = static_cast<std::uint32_t>(std::clamp<std::uint64_t>((wanted + one - 1) / one, 1, 1024));
  const std::uint64_t all = one * w.layers, free = m.free_bytes();
  if (all > free / 10 * 9) throw std::runtime_error("needs " + std::to_string(all >> 20) + " MiB of device memory, " + std::to_string(free >> 20) + " are free");
  return w;
}

struct wrong_result : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Launches under a plan and returns the relative error to the double reference, last and first layer. A plan after the first (`first`
/// holds what that gave) must give the same bits instead, which says more. throws wrong_result.
double verified(arm& a, const std::string& plan, std::vector<std::byte>& first) {
  double error = 0;
  for (const std::uint32_t layer : {a.layers - 1, 0u}) {
    if (!first.empty() && layer != 0) continue;
    a.spoil();
    require(a.launch(layer));
    if (first.empty()) error = std::max(error, a.error(layer));
  }
  if (!(error < allowed_error)) throw wrong_result("plan " + plan + " is wrong: relative error " + std::to_string(error) + ", allowed " + std::to_string(allowed_error));
  const auto result = a.result();
  if (first.empty()) first = result;
  if (result != first) throw wrong_result("plan " + plan + " gives other bits than the plan before");
  return error;
}

class program {
 public:
  int info() {
    const cudaDeviceProp& p = m_.properties();
    int driver = 0, runtime = 0, clock = 0, memory_clock = 0;
    cudaDriverGetVersion(&driver), cudaRuntimeGetVersion(&runtime);
    cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, 0), cudaDeviceGetAttribute(&memory_clock, cudaDevAttrMemoryClockRate, 0);
    measure(0.5);
    json j;
    j.text("name", p.name).text("compute_capability", std::to_string(p.major) + "." + std::to_string(p.minor)).count("processors", m_.processors());
    j.count("memory_bytes", p.totalGlobalMem).count("l2_bytes", static_cast<std::uint64_t>(p.l2CacheSize)).count("shared_bytes_per_processor", p.sharedMemPerMultiprocessor);
    j.number("clock_mhz_highest", clock / 1e3, 0).number("memory_clock_mhz_highest", memory_clock / 1e3, 0);
    j.count("cuda_driver", static_cast<std::uint64_t>(driver)).count("cuda_runtime", static_cast<std::uint64_t>(runtime));
    j.number("read_gb_per_second", bandwidth_.read, 1).number("copy_gb_per_second", bandwidth_.copy, 1);
    std::puts(j.line().c_str());
    return 0;
  }

  int verify(bool quick) {
    const auto launches_of = [](const std::string& part) -> std::vector<workload> {
      if (part == "decode")
        return {{.batch = 5, .tokens = 700, .layers = 2}, {.lengths = "zipf", .kv_heads = 3, .group = 3, .batch = 6, .tokens = 2500, .layers = 1},
                {.part = "cascade", .kv_heads = 2, .batch = 11, .tokens = 900, .prefix = 768, .layers = 1}};
      if (part == "chunk") return {{.part = "chunk", .kv_heads = 2, .group = 3, .batch = 2, .tokens = 500, .rows = 300, .layers = 1}};
      return {{.part = "append", .kv_heads = 2, .batch = 3, .tokens = 333, .rows = 200, .layers = 2}, {.part = "append", .kv_heads = 2, .batch = 3, .tokens = 100, .layers = 1}};
    };
    int wrong = 0, right = 0;
    for (const kernel_entry& e : registry()) {
      if (quick && e.codec != "bf16" && e.codec != "int4-hadamard") continue;
      for (workload w : launches_of(e.part)) try {
          w.codec = e.codec, w.head_dim = e.head_dim;
          const auto a = e.make(m_, w);
          std::vector<std::byte> first;
          for (const std::string& name : a->plans()) {
            a->plan(name);
            const double error = verified(*a, name, first);
            std::printf("%-7s %-13s %3u %-11s error %.4f\n", w.part.c_str(), w.codec.c_str(), w.head_dim, name.c_str(), error), ++right;
          }
        } catch (const std::exception& x) {
          std::printf("%s: WRONG: %s\n", w.words().c_str(), x.what()), ++wrong;
        }
    }
    std::printf("verified: %d right, %d wrong\n", right, wrong);
    return wrong == 0 && right != 0 ? 0 : 1;
  }

  int sweep_all(const sweep_options& o, std::uint32_t part, std::uint32_t parts, double seconds, std::ostream& rows) {
    std::vector<workload> all;
    for (std::uint32_t i = 0; const workload& w : sweep(o))
      if (i++ % parts == part) all.push_back(w);
    const double begin = now();
    int wrong = 0;
    std::size_t done = 0;
    for (; done < all.size() && now() - begin < seconds; ++done) {
      const workload& w = all[done];
      std::fprintf(stderr, "[%zu of %zu, %.0f s] %s\n", done + 1, all.size(), now() - begin, w.words().c_str());
      if (now() - measured_ > 20) measure(0.1);
      try {
        sweep_one(with_layers(m_, w), o.full ? 0.2 : 0.08, rows);
      } catch (const wrong_result& x) {
        rows << describe_work(w).text("failed", x.what()).line() << std::endl;
        std::fprintf(stderr, "  FAILED: %s\n", x.what()), ++wrong;
      } catch (const std::exception& x) {
        const bool lost = cudaDeviceSynchronize() != cudaSuccess;
        rows << describe_work(w).text(lost ? "failed" : "not_measured", x.what()).line() << std::endl;
        std::fprintf(stderr, "  %s: %s\n", lost ? "FAILED" : "not measured", x.what());
        if (lost) return 1;  // an error that stays: nothing runs on this device any more
      }
    }
    for (; done < all.size(); ++done) rows << describe_work(all[done]).text("not_measured", "the time ran out").line() << std::endl;
    return wrong == 0 ? 0 : 1;
  }

  int serve() {
    std::unique_ptr<arm> a;
    for (std::string line; std::getline(std::cin, line);) {
      const std::string command = line.substr(0, line.find(' '));
      json answer;
      try {
        if (command == "open") {
          a.reset();
          workload w = workload::parse(line.substr(std::min(line.size(), command.size() + 1)));
          w = with_layers(m_, w);
          a = find_kernel(w).make(m_, w);
          const std::string name = a->plans()[0];
          const plan_facts f = a->plan(name);
          std::vector<std::byte> first;
          answer.number("error", verified(*a, name, first), 5).text("plan", name).count("layers", a->layers).count("kv_bytes", a->bytes).number("products", a->products, 0);
          answer.count("workers", f.workers);
        } else if (command == "time" || command == "graph") {
          if (!a) throw std::runtime_error("nothing is open");
          answer.number("us", (command == "time" ? time_stream(*a, 0.1) : time_graph(*a, 0.1)).median, 3);
        } else if (command == "close") {
          a.reset();
          answer.flag("closed", true);
        } else {
          throw std::runtime_error("commands are open, time, graph, close");
        }
      } catch (const std::exception& x) {
        answer = json().text("wrong", x.what());
      }
      std::cout << answer.line() << std::endl;
    }
    return 0;
  }

 private:
  void measure(double seconds) { bandwidth_ = measure_bandwidth(m_, std::size_t{4} << 30, seconds), measured_ = now(); }
  timing time_stream(arm& a, double seconds) {
    return time_launches(m_, [&](std::uint32_t i) { return a.launch(i % a.layers); }, seconds);
  }
  /// Replays of a graph that holds a launch of every layer (16 at least); times are a launch's.
  timing time_graph(arm& a, double seconds) {
    const std::uint32_t count = std::max(a.layers, 16u);
    captured graph(m_, count, [&](std::uint32_t i) { return a.launch((count - 1 - i) % a.layers); });  // layer 0 last
    if (graph.nodes() != graph.count()) throw std::runtime_error("a captured launch is not one node of the graph");
    timing t = time_launches(m_, [&](std::uint32_t) { return graph.replay(); }, seconds);
    t.median /= graph.count(), t.low /= graph.count(), t.high /= graph.count(), t.launches *= graph.count();
    return t;
  }

  void sweep_one(const workload& w, double seconds, std::ostream& rows) {
    const auto a = find_kernel(w).make(m_, w);
    std::vector<std::byte> first;
    double lean = 0;
    for (const std::string& name : a->plans()) {
      const plan_facts f = a->plan(name);
      const double error = verified(*a, name, first);
      const timing t = time_stream(*a, seconds);
      if (name == "lean") lean = t.median;
      json j = describe_work(w);
      j.text("who", "quire").text("plan", name).number("us", t.median).number("us_low", t.low).number("us_high", t.high).count("launches", t.launches).count("samples", t.samples);
      const double rate = static_cast<double>(a->bytes) / t.median * 1e-3;
      j.count("kv_bytes", a->bytes).number("gb_per_second", rate, 1).number("share_of_read", rate / bandwidth_.read).number("read_gb_per_second", bandwidth_.read, 1);
      if (a->products > 0) j.number("tflop_per_second", a->products / t.median * 1e-6, 2);
      j.count("layers", a->layers).count("working_set_bytes", a->held_bytes).count("l2_bytes", static_cast<std::uint64_t>(m_.properties().l2CacheSize));
      j.flag("from_memory", a->held_bytes >= 3 * static_cast<std::uint64_t>(m_.properties().l2CacheSize));
      j.count("workers", f.workers).count("items", f.items).count("resident_blocks", a->resident_blocks).count("shared_bytes", a->shared_bytes);
      if (f.microseconds > 0) j.number("plan_us", f.microseconds, 1);
      if (f.occupancy > 0) j.number("model_occupancy", f.occupancy);
      if (lean > 0 && name != "lean") j.number("lean_is_faster_by", t.median / lean);
      if (error > 0) j.number("relative_error", error, 5);  // later plans: the same bits
      std::string graphed;
      if (w.part == "small" || (name == a->plans()[0] && w.part != "append")) {
        a->spoil();
        const timing g = time_graph(*a, seconds);
        if (const auto after = a->result(); after != first) throw wrong_result("plan " + name + " gives other bits after replays of its graph");
        j.number("graph_us", g.median).number("graph_us_low", g.low).number("graph_us_high", g.high);
        graphed = ", in a graph " + std::to_string(g.median);
      }
      rows << j.line() << std::endl;
      std::fprintf(stderr, "  %-11s %10.2f us%s  %7.1f GB/s, %.2f of reading\n", name.c_str(), t.median, graphed.c_str(), rate, rate / bandwidth_.read);
    }
  }

  cuda_machine m_;
  bandwidth bandwidth_;
  double measured_ = -1e9;
};

int usage(const std::string& wrong) {
  std::fprintf(stderr, "device_bench: %s; commands: info, kernels, list, verify [--quick], sweep [--full] [--only PART,…] [--part I/N] [--seconds N] --rows FILE, serve\n", wrong.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string command = argc > 1 ? argv[1] : "";
  sweep_options o;
  unsigned part = 1, parts = 1;
  double seconds = 1e9;
  bool quick = false;
  std::string rows;
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--full") o.full = true;
    else if (flag == "--quick") quick = true;
    else if (flag == "--rows" && !value.empty()) rows = value, ++i;
    else if (flag == "--seconds" && std::atof(value.c_str()) > 0) seconds = std::atof(value.c_str()), ++i;
    else if (flag == "--part" && std::sscanf(value.c_str(), "%u/%u", &part, &parts) == 2 && part >= 1 && part <= parts) ++i;
    else if (flag == "--only" && !value.empty()) {
      std::istringstream in(value);
      for (std::string name; std::getline(in, name, ',');) {
        if (name != "decode" && name != "small" && name != "chunk" && name != "cascade" && name != "append") return usage("--only " + name + ": parts are decode, small, chunk, cascade, append");
        o.only.insert(name);
      }
      ++i;
    } else return usage(flag + " " + value + " is not understood");
  }
  if (command == "kernels") {
    for (const kernel_entry& e : registry()) std::printf("%s %s %u %u %u %u %u %u\n", e.part.c_str(), e.codec.c_str(), e.head_dim, e.shared_bytes, e.place_bytes, e.tiles, e.least_tiles, e.tile_bytes);
    return 0;
  }
  if (command == "list") {
    for (const workload& w : sweep(o)) std::puts(w.words().c_str());
    return 0;
  }
  if (command != "info" && command != "verify" && command != "sweep" && command != "serve") return usage("'" + command + "' is no command");
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return std::puts("skipped: no CUDA device"), 77;
  program p;
  if (command == "info") return p.info();
  if (command == "verify") return p.verify(quick);
  if (command == "serve") return p.serve();
  std::ofstream file(rows);
  if (!file) return usage("--rows '" + rows + "' cannot be written");
  return p.sweep_all(o, part - 1, parts, seconds, file);
} catch (const std::exception& x) {
  std::fprintf(stderr, "device_bench: %s\n", x.what());
  return 1;
}
