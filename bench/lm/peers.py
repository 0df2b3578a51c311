#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quire-lm against llama.cpp in one run, A B A B: medians, ratios, and the read bandwidth beside them.

usage: peers.py --quire build/release/examples/quire-lm --llama-bench PATH --model FILE [--threads N] [--rounds N] [--output FILE]
A peer that is not given is skipped by name.
"""
import argparse, json, os, platform, statistics, subprocess, sys


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"peers: {' '.join(command)} ended with {done.returncode}: {done.stderr[-400:]}")
    return json.loads(done.stdout)


def quire(a, kv, depth):
    row = run([a.quire, "bench", "--model", a.model, "--threads", str(a.threads), "--prompt", "512", "--tokens", "64",
               "--depth", str(depth), "--kv", kv, "--json"])["rows"][0]
    return row["prefill_tokens_per_second"], row["decode_tokens_per_second"], row["read_bandwidth_bytes_per_second"] / 1e9


def llama(a, depth):
    rows = run([a.llama_bench, "-m", a.model, "-t", str(a.threads), "-p", "512", "-n", "64", "-d", str(depth), "-r", "1", "-o", "json"])
    return (next(r["avg_ts"] for r in rows if r["n_prompt"] == 512), next(r["avg_ts"] for r in rows if r["n_gen"] == 64))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--quire", required=True)
    p.add_argument("--llama-bench")
    p.add_argument("--model", required=True)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--output")
    a = p.parse_args()
    if not a.llama_bench:
        print("peers: llama.cpp skipped: --llama-bench is not given", file=sys.stderr)
    samples = {}
    keep = lambda key, value: samples.setdefault(key, []).append(value)
    for round_ in range(a.rounds):
        for depth in (0, 4096):
            for kv in ("bf16", "int4", "int4-hadamard"):
                print(f"peers: round {round_ + 1} of {a.rounds}, depth {depth}, {kv}", file=sys.stderr)
                prefill, decode, bandwidth = quire(a, kv, depth)
                keep(("quire " + kv, depth, "prefill"), prefill)
                keep(("quire " + kv, depth, "decode"), decode)
                keep(("quire " + kv, depth, "read GB/s"), bandwidth)
                if a.llama_bench and kv == "bf16":
                    prefill, decode = llama(a, depth)
                    keep(("llama.cpp f16", depth, "prefill"), prefill)
                    keep(("llama.cpp f16", depth, "decode"), decode)
    rows = [{"who": w, "depth": d, "what": k, "median": statistics.median(v), "samples": v} for (w, d, k), v in samples.items()]
    for r in rows:
        peer = samples.get(("llama.cpp f16", r["depth"], r["what"]))
        own = samples[(r["who"], r["depth"], r["what"])]
        if peer and r["who"].startswith("quire"):
            r["ratio_to_llama.cpp"] = statistics.median(x / y for x, y in zip(own, peer))
        print(f"{r['who']:22} depth {r['depth']:5} {r['what']:10} {r['median']:9.1f}" +
              (f"   x {r['ratio_to_llama.cpp']:.2f} of llama.cpp" if "ratio_to_llama.cpp" in r else ""))
    if a.output:
        cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        with open(a.output, "w") as f:
            json.dump({"cpu": cpu, "cores": os.cpu_count(), "threads": a.threads, "commit": commit, "rounds": a.rounds,
                       "model": os.path.basename(a.model), "rows": rows}, f, indent=1)


main()
