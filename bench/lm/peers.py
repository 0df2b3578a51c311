#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quire-lm against llama.cpp and OpenVINO GenAI in one run, A B A B: medians, ratios, and the read bandwidth beside them.

usage: peers.py --quire build/release/examples/quire-lm --llama-bench PATH --openvino PYTHON --model FILE [--threads N] [--rounds N] [--output FILE]
PYTHON is an interpreter that can import openvino_genai. A peer that is not given is skipped by name.
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


# Run by the interpreter that has OpenVINO: a warm-up, then what was asked, at the precisions it chooses by itself (8-bit cache).
OPENVINO = """
import json, sys, numpy, openvino, openvino_genai as genai
model, threads, depth = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pipe = genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
options = genai.GenerationConfig()
options.max_new_tokens, options.ignore_eos, options.do_sample = 64, True, False
def run(tokens):
    ids = numpy.arange(1000, 1000 + tokens, dtype=numpy.int64)[None]
    inputs = genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
    return pipe.generate(inputs, options).perf_metrics
run(64)
row = {"decode": 1000 / run(max(depth, 1)).get_tpot().mean}
if depth == 0:
    row["prefill"] = 512e3 / run(512).get_ttft().mean
print(json.dumps(row))
"""


def openvino(a, depth):
    return run([a.openvino, "-c", OPENVINO, a.model, str(a.threads), str(depth)])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--quire", required=True)
    p.add_argument("--llama-bench")
    p.add_argument("--openvino")
    p.add_argument("--model", required=True)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--output")
    a = p.parse_args()
    for peer, flag, given in (("llama.cpp", "--llama-bench", a.llama_bench), ("OpenVINO", "--openvino", a.openvino)):
        if not given:
            print(f"peers: {peer} skipped: {flag} is not given", file=sys.stderr)
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
                if a.openvino and kv == "bf16":
                    for what, value in openvino(a, depth).items():
                        keep(("OpenVINO u8", depth, what), value)
    rows = [{"who": w, "depth": d, "what": k, "median": statistics.median(v), "samples": v} for (w, d, k), v in samples.items()]
    for r in rows:
        line = f"{r['who']:22} depth {r['depth']:5} {r['what']:10} {r['median']:9.1f}"
        for who, name in (("llama.cpp f16", "llama.cpp"), ("OpenVINO u8", "OpenVINO")):
            peer = samples.get((who, r["depth"], r["what"]))
            if peer and r["who"].startswith("quire"):
                r["ratio_to_" + name] = statistics.median(x / y for x, y in zip(samples[(r["who"], r["depth"], r["what"])], peer))
                line += f"   x {r['ratio_to_' + name]:.2f} of {name}"
        print(line)
    if a.output:
        cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        with open(a.output, "w") as f:
            json.dump({"cpu": cpu, "cores": os.cpu_count(), "threads": a.threads, "commit": commit, "rounds": a.rounds,
                       "model": os.path.basename(a.model), "rows": rows}, f, indent=1)


main()
