#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: plot.py RESULTS.json      writes RESULTS.png: decode against read bandwidth, what dealing gains, prefixes and chunks, peers."""
import json, sys

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    print("plot: skipped: no matplotlib", file=sys.stderr)
    sys.exit(0)


def name(r):
    text = f"{r['batch']} x {r['tokens'] // 1024 if r['tokens'] >= 1024 else r['tokens']}{'K' if r['tokens'] >= 1024 else ''}"
    return text + ("" if r["lengths"] == "uniform" else " " + r["lengths"]) + ("" if (r["kv_heads"], r["group"], r["head_dim"]) == (8, 4, 128) else f" h{r['kv_heads']} g{r['group']} d{r['head_dim']}")


def bars(axis, groups, title, unit):
    """groups: {label: {series: value}}"""
    series = list(dict.fromkeys(s for g in groups.values() for s in g))
    for i, s in enumerate(series):
        axis.bar([x + (i - (len(series) - 1) / 2) * 0.8 / len(series) for x in range(len(groups))], [g.get(s, 0) for g in groups.values()], 0.8 / len(series), label=s)
    axis.set_xticks(range(len(groups)), list(groups), rotation=60, ha="right", fontsize=6)
    axis.set_title(title, fontsize=9)
    axis.set_ylabel(unit, fontsize=8)
    if series:
        axis.legend(fontsize=6)


def gathered(rows, label, series, value, most=28):
    groups = {}
    for r in rows:
        if label(r) in groups or len(groups) < most:
            groups.setdefault(label(r), {})[series(r)] = value(r)
    return groups


def main():
    path = sys.argv[1]
    data = json.load(open(path, encoding="utf-8"))
    rows = [r for r in data["rows"] if "us" in r]
    ours = [r for r in rows if r.get("who") == "quire"]
    theirs = [r for r in rows if r.get("who") != "quire"]
    decode = [r for r in ours if r["part"] == "decode"]
    figure, axes = plt.subplots(3, 2, figsize=(14, 14))
    bars(axes[0][0], gathered([r for r in decode if r["plan"] == "lean"], name, lambda r: r["codec"], lambda r: r["share_of_read"]), "decode: share of measured read bandwidth", "share")
    axes[0][0].axhline(0.9, color="grey", lw=0.5)
    bars(axes[0][1], gathered([r for r in decode if r["codec"] == "bf16"], name, lambda r: r["plan"], lambda r: r["gb_per_second"]), "bf16 decode: the same inner loop, dealt three ways", "GB/s")
    bars(axes[1][0], gathered([r for r in ours if r["part"] == "small"], name, lambda r: r["codec"], lambda r: r.get("graph_us", r["us"])), "SmolLM2's shape, a launch in a graph", "µs")
    bars(axes[1][1], gathered([r for r in ours if r["part"] == "cascade"], lambda r: f"{r['batch']} x {r['prefix'] // 1024}K {r['codec']}", lambda r: r["plan"], lambda r: r["us"]),
         "a shared prefix, folded once and apart", "µs")
    bars(axes[2][0], gathered([r for r in ours if r["part"] == "chunk"], name, lambda r: r["codec"], lambda r: r["tflop_per_second"]), "chunks of 512", "TFLOP/s")
    bars(axes[2][1], gathered(theirs, lambda r: f"{r['part']} {r['codec']} {name(r)}", lambda r: r["who"], lambda r: r["quire_is_faster_by"]), "peers: their time over ours", "ratio")
    axes[2][1].axhline(1, color="grey", lw=0.5)
    figure.suptitle(f"{data['device']['name']}, {data['date']}, {data['commit']}: read {data['device']['read_gb_per_second']} GB/s", fontsize=10)
    figure.tight_layout()
    out = path.removesuffix(".json") + ".png"
    figure.savefig(out, dpi=110)
    print(f"plot: wrote {out}", file=sys.stderr)


main()
