#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What three papers on scheduling claim, in virtual time: runs quire-sim, writes JSON and plots, says what holds.

usage: papers.py [--program build/release/examples/quire-sim] [--traces DIR] [--results DIR] [--docs DIR] [sarathi|batchllm|fastswitch|fair ...]
Everything is simulated, so the machine and its load do not matter to any number but the wall time. Without --traces (or
QUIRE_TRACES) lengths with the quantiles of the data sets are used, and the report says so. Which claims hold is in the report.
"""
import argparse
import datetime
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser()
parser.add_argument("--program", default=str(ROOT / "build/release/examples/quire-sim"))
parser.add_argument("--traces", default=os.environ.get("QUIRE_TRACES") or str(ROOT.parent / "shared/data/traces"))
parser.add_argument("--results", default=str(ROOT / "bench/results"))
parser.add_argument("--docs", default=str(ROOT / "docs"))
parser.add_argument("parts", nargs="*", default=[])
args = parser.parse_args()
PARTS = args.parts or ["sarathi", "batchllm", "fastswitch", "fair"]
TODAY = datetime.date.today().isoformat()
verdicts = []


def trace(name, instead=None):
    """The file, or the name of synthetic lengths; None where there is no such thing."""
    path = pathlib.Path(args.traces) / name
    return str(path) if path.is_file() else instead


SHAREGPT = trace("sharegpt_8k_filtered_stats_llama2_tokenizer.csv", "sharegpt")
ARXIV = trace("arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv", "arxiv")


def run(command, **flags):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.json")
        line = [args.program, command, "--json", out]
        for name, value in flags.items():
            flag = "--" + name.replace("_", "-")
            line += [flag] if value is True else [flag, str(value)]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        with open(out, encoding="utf-8") as file:
            return json.load(file)


def by_policy(report):
    return {p["policy"]: p for p in report["policies"]}


def say(what, holds, detail):
    verdicts.append({"claim": what, "holds": bool(holds), "measured": detail})
    print(("holds       " if holds else "FALLS SHORT ") + what + ": " + detail, flush=True)


def save(name, content):
    path = pathlib.Path(args.results) / f"{TODAY}-sim-{name}.json"
    content = {"virtual_time": True, "traces": "public" if SHAREGPT != "sharegpt" else "synthetic lengths", **content,
               "verdicts": [v for v in verdicts]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    verdicts.clear()


def figure(name, draw, columns):
    try:
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print(f"skipped: docs/{name} (matplotlib is missing)")
        return
    fig, axes = plt.subplots(1, columns, figsize=(5 * columns, 3.8))
    draw(axes)
    fig.tight_layout()
    fig.savefig(pathlib.Path(args.docs) / name, dpi=100)
    plt.close(fig)


def sarathi():
    capacities = []
    settings = [("a100-mistral-7b", 0.1, 512), ("a100-mistral-7b", 0.5, 2048), ("a100-llama2-7b", 0.1, 512), ("niyama", 0.1, 512), ("h100-llama2-7b", 0.1, 512)]
    for cost, slo, tau in settings:
        for seed in (0, 1, 2):
            r = run("capacity", trace=SHAREGPT, cost_model=cost, slo_tbt=slo, tau=tau, requests=2048, seed=seed, policy="orca,prefill-first,chunked-apart,chunked")
            capacities.append({"cost_model": cost, "slo_tbt": slo, "tau": tau, "seed": seed, **{p["policy"]: p["capacity"] for p in r["policies"]}})
    def gains(cost, slo):
        return sorted(c["chunked"] / c["prefill-first"] for c in capacities if c["cost_model"] == cost and c["slo_tbt"] == slo)
    strict = gains("a100-mistral-7b", 0.1)
    say("Sarathi: capacity over prefill-first at least 2x, Mistral-7B on A100, strict", min(strict) >= 2, " ".join(f"{g:.2f}x" for g in strict))
    for cost in ("a100-llama2-7b", "niyama", "h100-llama2-7b"):
        g = gains(cost, 0.1)
        say(f"the same with {cost}", min(g) >= 2, " ".join(f"{x:.2f}x" for x in g))

    ablation = []
    for data, name in ((SHAREGPT, "sharegpt"), (ARXIV, "arxiv")):
        for rate in (0.3, 0.5, 0.7):
            for seed in range(5):
                r = by_policy(run("serve", trace=data, rate=rate, requests=128, seed=seed, cost_model="a100x2-yi-34b", tau=1024, policy="hybrid,chunked-apart,chunked"))
                ablation.append({"data": name, "rate": rate, "seed": seed,
                                 **{p: {"p50_ttft": r[p]["ttft"]["p50"], "p99_tbt": r[p]["tbt"]["p99"]} for p in r}})
    summary = []
    for name, rate in itertools.product(("sharegpt", "arxiv"), (0.3, 0.5, 0.7)):
        rows = [a for a in ablation if a["data"] == name and a["rate"] == rate]
        m = {p: {k: statistics.median(a[p][k] for a in rows) for k in ("p50_ttft", "p99_tbt")} for p in ("hybrid", "chunked-apart", "chunked")}
        summary.append({"data": name, "rate": rate, **m})
        ttft = [m[p]["p50_ttft"] for p in ("hybrid", "chunked-apart", "chunked")]
        tbt = [m[p]["p99_tbt"] for p in ("hybrid", "chunked-apart", "chunked")]
        detail = f"P50 TTFT {ttft[0]:.2f} {ttft[1]:.2f} {ttft[2]:.2f} s, P99 TBT {tbt[0]:.2f} {tbt[1]:.2f} {tbt[2]:.2f} s (hybrid, chunks apart, both)"
        holds = tbt[0] == max(tbt) and ttft[1] == max(ttft) and ttft[2] <= 1.5 * min(ttft[:2]) and tbt[2] <= 1.5 * min(tbt[:2])
        say(f"Sarathi: order of the ablation, Yi-34B, {name}, {rate} requests/s", holds, detail)

    sweep = []
    for tau in (64, 128, 256, 384, 512, 768, 1024, 2048, 4096):
        r = by_policy(run("serve", trace=SHAREGPT, rate=2, requests=1000, tau=tau, policy="chunked"))["chunked"]
        sweep.append({"tau": tau, "p50_ttft": r["ttft"]["p50"], "p99_ttft": r["ttft"]["p99"], "p99_tbt": r["tbt"]["p99"], "most_tokens": r["tokens_per_step"]["max"]})
    say("no step holds more tokens than tau", all(s["most_tokens"] <= max(s["tau"], 128) for s in sweep), ", ".join(f"{s['tau']}: {s['most_tokens']}" for s in sweep))

    curves = {}
    for policy in ("orca", "prefill-first", "chunked-apart", "chunked"):
        curves[policy] = []
        for rate in (0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.25):
            r = by_policy(run("serve", trace=SHAREGPT, rate=rate, requests=2048, tau=512, policy=policy))[policy]
            curves[policy].append({"rate": rate, "p99_tbt": r["tbt"]["p99"], "p50_ttft": r["ttft"]["p50"], "p50_delay": r["delay"]["p50"]})

    def draw(axes):
        for p, c in curves.items():
            axes[0].plot([x["rate"] for x in c], [x["p99_tbt"] for x in c], marker=".", label=p)
            axes[1].plot([x["rate"] for x in c], [x["p50_ttft"] for x in c], marker=".", label=p)
        axes[0].axhline(0.1, color="gray", linewidth=0.8, linestyle="--")
        for a, name in zip(axes, ("P99 time between tokens, s", "P50 time to first token, s", "")):
            a.set_yscale("log"), a.set_xlabel("requests/s"), a.set_ylabel(name), a.grid(alpha=0.3)
        axes[0].legend(fontsize=8)
        axes[2].plot([s["tau"] for s in sweep], [s["p99_tbt"] for s in sweep], marker=".", label="P99 TBT")
        axes[2].plot([s["tau"] for s in sweep], [s["p50_ttft"] for s in sweep], marker=".", label="P50 TTFT")
        axes[2].set_xscale("log", base=2), axes[2].set_yscale("log"), axes[2].set_xlabel("tau, at 2 requests/s"), axes[2].set_ylabel("s"), axes[2].grid(alpha=0.3), axes[2].legend(fontsize=8)

    figure("scheduling-sarathi.png", draw, 3)
    save("sarathi", {"capacities": capacities, "ablation": summary, "ablation_runs": ablation, "tau": sweep, "curves": curves})


LADDER = ["fcfs-lru", "batchllm-groups", "batchllm-order", "batchllm"]


def pile_row(r):
    row = {}
    for p in r["policies"]:
        row[p["policy"]] = {"makespan": p["makespan"], "computed": p["computed_tokens"], "hit": p["cache"]["hit_tokens"], "recomputed": p["recomputed_tokens"],
                            "plan_saves": p["plan"]["saves_tokens"], "evicted_pins": p["cache"]["evicted_pins"], "evicted": p["cache"]["evicted_blocks"],
                            "tokens_per_step": p["tokens_per_step"]["mean"], "cv": p["tokens_per_step"]["cv"], "running": p["running"]["mean"], "preempted": p["preempted"]}
    return row


def batchllm():
    names = ",".join(LADDER[:1] + ["fcfs-lru-wait", "lpm"] + LADDER[1:])
    common = dict(policy=names, tau=2048, guard=2048, max_running=256, horizon=500)
    grid, unfolded = [], []
    for degree, prefix, output in itertools.product((2, 4, 8, 16, 64), (500, 1000, 2000), (10, 100, 500)):
        shape = f"3200,{degree},{prefix},200,{output}"
        grid.append({"degree": degree, "prefix": prefix, "output": output, **pile_row(run("serve", grid=shape, **common))})
        if prefix == 2000:
            unfolded.append({"degree": degree, "prefix": prefix, "output": output, **pile_row(run("serve", grid=shape, no_fold=True, **common))})
    def speedups(rows, policy):
        return [r["fcfs-lru"]["makespan"] / r[policy]["makespan"] for r in rows]
    s = speedups(grid, "batchllm")
    say("BatchLLM: makespan 1.1x to 2x over FCFS + LRU on the grid", min(s) >= 1.1, f"{min(s):.2f}x to {max(s):.2f}x, median {statistics.median(s):.2f}x; {sum(x >= 1.1 for x in s)} of {len(s)} shapes at 1.1x and more")
    u = speedups(unfolded, "batchllm")
    say("the same without folded attention (scheduling alone), prefix 2000", min(u) >= 1.1, f"{min(u):.2f}x to {max(u):.2f}x, median {statistics.median(u):.2f}x")
    def steps(rows, tolerance):
        worst, where = 0, ""
        for r in rows:
            for a, b in zip(LADDER, LADDER[1:]):
                loss = r[b]["makespan"] / r[a]["makespan"] - 1
                if loss > worst:
                    worst, where = loss, f"{a} -> {b} at degree {r['degree']}, prefix {r['prefix']}, output {r['output']}"
        return worst <= tolerance, f"largest step back {worst * 100:.2f} %" + (f" ({where})" if where else "")
    say("makespan monotone over the ladder, each shape", *steps(grid, 0.002))
    say("makespan monotone but for memory-centric batching", *steps([{**r, "batchllm": r["batchllm-order"]} for r in grid], 0.002))
    say("no prefix of an open group is evicted", all(r[p]["evicted_pins"] == 0 for r in grid for p in LADDER), "0 blocks in all shapes" )
    say("saved tokens are the plan's", all(r["batchllm-order"]["hit"] - r["batchllm-order"]["plan_saves"] == 0 or r["batchllm-order"]["preempted"] > 0 for r in grid),
        "equal in " + str(sum(r["batchllm-order"]["hit"] == r["batchllm-order"]["plan_saves"] for r in grid)) + f" of {len(grid)} shapes")
    mixed = ";".join(f"160,{d},{p},200,{o}" for d, p, o in itertools.product((2, 4, 8, 16), (500, 2000), (10, 100, 500)))
    piles = [{"pile": "all shapes in one pile", "degree": 0, "prefix": 0, "output": 0, **pile_row(run("serve", grid=mixed, **common))}]
    for file in ("mooncake_conversation_trace.jsonl", "mooncake_synthetic_trace.jsonl"):
        path = trace(file)
        if path is None:
            print(f"skipped: {file} is absent")
            continue
        piles.append({"pile": file, "degree": 0, "prefix": 0, "output": 0, **pile_row(run("serve", trace=path, pile=True, block=128, **common))})
    for p in piles:
        m = {k: p[k]["makespan"] for k in names.split(",")}
        ladder = [m[k] for k in LADDER]
        say(f"BatchLLM ladder on {p['pile']}", all(b <= a * 1.002 for a, b in zip(ladder, ladder[1:])) and ladder[-1] * 1.1 <= ladder[0],
            ", ".join(f"{k} {v:.0f} s" for k, v in m.items()) + f"; {ladder[0] / ladder[-1]:.2f}x")

    def draw(axes):
        for a, output in zip(axes, (10, 100, 500)):
            for prefix in (500, 1000, 2000):
                rows = [r for r in grid if r["output"] == output and r["prefix"] == prefix]
                a.plot([r["degree"] for r in rows], [r["fcfs-lru"]["makespan"] / r["batchllm"]["makespan"] for r in rows], marker="o", label=f"prefix {prefix}")
            rows = [r for r in unfolded if r["output"] == output]
            a.plot([r["degree"] for r in rows], [r["fcfs-lru"]["makespan"] / r["batchllm"]["makespan"] for r in rows], marker="x", linestyle="--", label="prefix 2000, attention not folded")
            a.set_xscale("log", base=2), a.set_xlabel("degree"), a.set_title(f"output {output}", fontsize=10), a.grid(alpha=0.3), a.axhline(1, color="gray", linewidth=0.8)
        axes[0].set_ylabel("makespan, FCFS + LRU over BatchLLM")
        axes[0].legend(fontsize=8)

    figure("scheduling-batchllm.png", draw, 3)
    save("batchllm", {"grid": grid, "without_fold": unfolded, "piles": piles})


SWAPS = ["swap-sync", "swap-groups", "swap-async", "swap-reuse"]


def fastswitch():
    runs = []
    for pattern, rate, launch in itertools.product(("independent", "markov"), (0.18, 0.35, 0.4, 0.45, 1), (2e-6, 5e-6, 1e-5)):
        names = (["recompute", "recompute-cache"] if launch == 5e-6 else []) + SWAPS
        r = run("serve", trace=SHAREGPT, turns=True, requests=1000, rate=rate, cost_model="a10-llama3-8b", policy=",".join(names), frequency=0.04, launch=launch, priorities=pattern)
        row = {"priorities": pattern, "rate": rate, "launch": launch}
        for p in r["policies"]:
            row[p["policy"]] = {"p95_ttft": p["ttft"]["p95"], "p99_ttft": p["ttft"]["p99"], "p999_ttft": p["ttft"]["p999"], "p50_ttft": p["ttft"]["p50"], "p99_tbt": p["tbt"]["p99"],
                                "p999_tbt": p["tbt"]["p999"], "output_rate": p["output_tokens_per_second"], "stalled": p["stalled"], "busy": p["busy"], "bytes": p["swap"]["bytes"], "copies": p["swap"]["copies"],
                                "blocks": p["swap"]["blocks"], "spared": p["swap"]["spared_blocks"], "yielded": p["yielded"], "recomputed": p["recomputed_tokens"], "degraded": p["swap"]["degraded"]}
        runs.append(row)
    def check(row, slack=0.03):
        sync, last = row["swap-sync"], row["swap-reuse"]
        monotone = {k: all(row[b][k] <= row[a][k] * (1 + slack) + (0.5 if k == "stalled" else 0) for a, b in zip(SWAPS, SWAPS[1:])) for k in ("p99_ttft", "p999_tbt", "stalled")}
        return sync["p99_ttft"] / last["p99_ttft"], sync["p999_tbt"] / last["p999_tbt"], monotone
    for row in runs:
        ttft, tbt, monotone = check(row)
        steps = " ".join(k for k, v in monotone.items() if not v)
        what = f"FastSwitch: {row['priorities']}, {row['rate']} conversations/s, {row['launch'] * 1e6:.0f} us a copy"
        detail = f"P99 TTFT {ttft:.2f}x, P99.9 TBT {tbt:.2f}x, throughput {row['swap-reuse']['output_rate'] / row['swap-sync']['output_rate']:.2f}x" + (f"; not monotone: {steps}" if steps else "")
        if "recompute-cache" in row:
            c, last = row["recompute-cache"], row["swap-reuse"]
            detail += f"; against recompute with cache {c['p99_ttft'] / last['p99_ttft']:.2f}x, {c['p999_tbt'] / last['p999_tbt']:.2f}x"
        say(what + ": P99 TTFT 1.4x, P99.9 TBT 3x, monotone", ttft >= 1.4 and tbt >= 3 and all(monotone.values()), detail)
    say("bytes with reuse are at most those without", all(r["swap-reuse"]["bytes"] <= r["swap-async"]["bytes"] for r in runs),
        f"{min(r['swap-reuse']['bytes'] / r['swap-async']['bytes'] for r in runs):.2f} to {max(r['swap-reuse']['bytes'] / r['swap-async']['bytes'] for r in runs):.2f} of them")

    def draw(axes):
        rows = [r for r in runs if r["priorities"] == "independent" and r["launch"] == 5e-6]
        for color, name in enumerate(["recompute-cache"] + SWAPS):
            style = dict(marker=".", color=f"C{color}", label=name)
            axes[0].plot([r["rate"] for r in rows], [r[name]["p99_ttft"] for r in rows], **style)
            axes[1].plot([r["rate"] for r in rows], [r[name]["p999_tbt"] for r in rows], **style)
            if name != "recompute-cache":
                axes[2].plot([r["rate"] for r in rows], [r[name]["stalled"] / (r[name]["stalled"] + r[name]["busy"]) for r in rows], **style)
        for a, y in zip(axes, ("P99 TTFT, s", "P99.9 TBT, s", "share of time that waits for copies")):
            a.set_yscale("log"), a.set_xlabel("conversations/s"), a.set_ylabel(y), a.grid(alpha=0.3)
        axes[0].legend(fontsize=8)

    figure("scheduling-fastswitch.png", draw, 3)
    save("fastswitch", {"runs": runs})


def fair():
    rows = []
    for rate in (2, 4):
        r = by_policy(run("serve", trace=SHAREGPT, rate=rate, requests=4000, tenants=5, until=900, policy="chunked,vtc"))
        rows.append({"rate": rate, **{p: {"jain": r[p]["jain"], "service_gap": r[p]["service_gap"], "output_rate": r[p]["output_tokens_per_second"], "p50_ttft": r[p]["ttft"]["p50"]} for p in r}})
    bound = 2 * max(8192, 2 * 438000)  # two tenants with requests waiting differ by 2 max(w_in L_max, w_out M)
    over = rows[-1]
    say("VTC: the service gap stays under its bound under overload", over["vtc"]["service_gap"] <= bound, f"{over['vtc']['service_gap']:.0f} of {bound}; first come, first served {over['chunked']['service_gap']:.0f}")
    say("VTC: a smaller gap and a higher Jain index than first come, first served", over["vtc"]["service_gap"] < over["chunked"]["service_gap"] and over["vtc"]["jain"] > over["chunked"]["jain"],
        f"Jain {over['vtc']['jain']:.3f} against {over['chunked']['jain']:.3f}")
    speeds = {}
    for name, flags in {"chunked": dict(rate=2, requests=10000, policy="chunked"), "swap-reuse": dict(turns=True, requests=2000, rate=0.45, cost_model="a10-llama3-8b", policy="swap-reuse"),
                        "lpm": dict(rate=2, requests=2000, policy="lpm")}.items():
        r = by_policy(run("serve", trace=SHAREGPT, **flags))[name]
        speeds[name] = r["steps"] / r["wall_seconds"] * 60
    say("at least a million simulated steps a minute (wall time, this machine under its load now)", min(speeds.values()) >= 1e6, ", ".join(f"{k} {v / 1e6:.1f} M" for k, v in speeds.items()))
    save("fair", {"runs": rows, "steps_per_minute": speeds})


started = time.monotonic()
for part in PARTS:
    if part not in ("sarathi", "batchllm", "fastswitch", "fair"):
        sys.exit(f"papers.py: {part!r} is no part, allowed sarathi, batchllm, fastswitch, fair")
    print(f"== {part}")
    globals()[part]()
print(f"{time.monotonic() - started:.0f} s")
