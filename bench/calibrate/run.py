#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs bench_calibrate on the four sets and on gates, prints tables, and keeps the rows.

usage: run.py --program build/release/bench/bench_calibrate [--data build/bench-data] [--gates FILE] [--only refine,budgets,gates]
              [--output bench/results/DATE-cpu-schedules.json]
--gates: D matrices recorded from a model (include/quire/calibrate/gate_samples.hpp); synthetic ones are run as well.
About eight minutes of one core. Parts whose input is missing are skipped by name. Parts that are not run keep what --output holds.
"""
import argparse, collections, json, math, os, platform, resource, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))


def rows_of(command):
    print("run:", " ".join(command), file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(f"skipped: {' '.join(command)} ended with {done.returncode}", file=sys.stderr)
        return []
    return [json.loads(line) for line in done.stdout.splitlines()]


def cells_of(rows, keys, values):
    """One entry for each combination of `keys`, with {schedule: [values]}: a third of the bytes of plain rows."""
    cells = {}
    for r in rows:
        cell = cells.setdefault(tuple(r[k] for k in keys), {k: r[k] for k in keys} | {"columns": values, "schedules": {}})
        cell["schedules"][r["schedule"]] = [r[v] for v in values]
    return list(cells.values())


def rank(losses):
    """{schedule: rank}, 1 is best, equal losses share the mean of their ranks."""
    order = sorted(losses, key=losses.get)
    out = {}
    for s in order:
        same = [i + 1 for i, o in enumerate(order) if losses[o] == losses[s]]
        out[s] = sum(same) / len(same)
    return out


def print_ranks(cells, title):
    ranks, best, top, near = (collections.defaultdict(list) for _ in range(4))
    for c in cells:
        losses = {s: v[0] for s, v in c["schedules"].items()}
        r = rank(losses)
        first = min(losses, key=losses.get)
        for s, v in c["schedules"].items():
            ranks[s].append(r[s])
            best[s].append(r[s] == 1)
            top[s].append(r[s] <= 3)
            near[s].append(v[0] - losses[first] <= 2 * math.hypot(v[1], c["schedules"][first][1]))
    share = lambda x: f"{100 * sum(x) / len(x):4.0f} %"
    print(f"\n{title} ({len(cells)} cells)\n  {'schedule':16} mean rank   first   top 3   within 2 standard errors of the first")
    for s in sorted(ranks, key=lambda s: sum(ranks[s])):
        print(f"  {s:16} {sum(ranks[s]) / len(ranks[s]):9.2f}  {share(best[s])}  {share(top[s])}  {share(near[s])}")


def steps_to(gaps, goal):
    """Steps at which the gap reaches `goal`: log-log interpolation between budgets, each a run of its own."""
    before = None
    for steps, gap in sorted(gaps.items()):
        if gap <= goal:
            if before is None:
                return steps
            (s0, g0), (s1, g1) = before, (steps, max(gap, 1e-12))
            return math.exp(math.log(s0) + (math.log(s1) - math.log(s0)) * (math.log(g0) - math.log(goal)) / (math.log(g0) - math.log(g1)))
        before = (steps, gap)
    return math.inf


def print_gates(rows):
    for source in sorted({r["source"] for r in rows}):
        for lambda_ in sorted({r["lambda"] for r in rows}):
            print(f"\nGates ({source}, lambda {lambda_}): steps to 1 % and 0.1 % of the way left; gap after 50 and 200 steps")
            gaps = collections.defaultdict(dict)
            for r in rows:
                if r["what"] == "gates" and r["source"] == source and r["lambda"] == lambda_:
                    gaps[r["schedule"]][r["steps"]] = r["gap"]
            for s in sorted(gaps, key=lambda s: steps_to(gaps[s], 1e-3)):
                print(f"  {s:24} {steps_to(gaps[s], 1e-2):7.0f} {steps_to(gaps[s], 1e-3):7.0f}    {gaps[s][50]:.5f}  {gaps[s][200]:.5f}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--program", required=True)
    p.add_argument("--data", default="build/bench-data")
    p.add_argument("--gates")
    p.add_argument("--only", default="refine,budgets,gates")
    p.add_argument("--output")
    a = p.parse_args()
    parts = a.only.split(",")
    if "refine" in parts or "budgets" in parts:
        subprocess.run([sys.executable, os.path.join(HERE, "data.py"), a.data], check=False)  # it says what is missing
    out = {}
    if "refine" in parts:
        rows = rows_of([a.program, "refine", a.data])
        out["refine"] = cells_of(rows, ["optimizer", "label_noise", "set", "steps", "seeds"], ["loss", "standard_error", "rate", "rate_at_edge", "bound_per_distance"])
        out["refined_profiles"] = [{k: r[k] for k in ("optimizer", "label_noise", "set", "schedule", "outcome", "spread", "peak_at", "profile")} for r in rows if "profile" in r]
        for c in out["refine"]:
            print(f"\n{c['set']}, {c['optimizer']}, {c['label_noise']:.0%} label noise: full-data training loss of the last iterate, {c['seeds']} seeds")
            for s, (loss, error, rate, edge, _) in c["schedules"].items():
                print(f"  {s:18} {loss:.6f} ± {error:.6f}   best rate {rate:g}{' (edge of the grid)' if edge else ''}")
        for noise in (0.2, 0):
            print_ranks([{**c, "schedules": {s: v for s, v in c["schedules"].items() if s != "refined, no guard"}} for c in out["refine"] if c["label_noise"] == noise],
                        f"20 epochs, {noise:.0%} label noise")
    if "budgets" in parts:
        out["budgets"] = cells_of(rows_of([a.program, "budgets", a.data]), ["optimizer", "label_noise", "set", "percent", "steps", "seeds"],
                                  ["loss", "standard_error", "rate", "rate_at_edge"])
        low, high = ([c for c in out["budgets"] if (c["percent"] < 25) == side] for side in (True, False))
        print_ranks(out["budgets"], "All budgets")
        print_ranks(low, "Budgets of 1, 5 and 10 %")
        print_ranks(high, "Budgets of 25, 50 and 100 %")
        for m in sorted({c["optimizer"] for c in out["budgets"]}):
            print_ranks([c for c in out["budgets"] if c["optimizer"] == m], m)
        noisy = [c for c in out["budgets"] if c["label_noise"] > 0]
        print_ranks(noisy, "With label noise")
    if "gates" in parts:
        rows = rows_of([a.program, "gates"]) + (rows_of([a.program, "gates", a.gates]) if a.gates else [])
        out["gate_objectives"] = [r for r in rows if r["what"] == "gate objective"]
        out["gates"] = cells_of([r for r in rows if r["what"] == "gates"], ["source", "lambda", "steps"], ["gap", "standard_error", "rate", "rate_at_edge"])
        print_gates(rows)
    if a.output:
        cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        kept = json.load(open(a.output)) if os.path.exists(a.output) else {"runs": []}
        run = {"parts": parts, "cpu": cpu, "cores": os.cpu_count(), "threads": 1, "commit": commit, "command": "bench/calibrate/run.py " + " ".join(sys.argv[1:]),
               "cpu_seconds": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime)}
        out = kept | out | {"runs": kept["runs"] + [run]}
        with open(a.output, "w") as f:
            f.write("{\n" + ",\n".join(f" {json.dumps(key)}: [\n  " + ",\n  ".join(json.dumps(v) for v in values) + "\n ]" for key, values in out.items()) + "\n}\n")


if __name__ == "__main__":
    main()
