#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads reports of `quire-lm compare --suite kv`: quality against measured bytes as a plot, drift as a plot, tables for pages.

usage: pareto.py REPORT.json... [--plot FILE.png] [--drift FILE.png] [--table] [--x bits_per_element|cache_bytes|bytes_per_token]
--table prints Markdown and needs the standard library alone; the plots need matplotlib. A cache is on the front when no other
has both fewer bytes and a better measure. Reports of the same text, context, seed and trials are read as one; of a cache in several the last one's row counts.
"""
import argparse, json, math, sys


def dig(row, path):
    for key in path.split("."):
        row = row.get(key) if isinstance(row, dict) else None
    return row if isinstance(row, (int, float)) and math.isfinite(row) else None


PANELS = [  # title, measure, its interval, what the f32 cache itself scores there, logarithmic
    ("mean KL to f32, nats", "kl_mean", "kl_mean_interval", None, True),
    ("99 % KL to f32, nats", "kl_p99", None, None, True),
    ("needle: answer NLL above f32, nats", "needle.answer_nll_less_f32", "needle.answer_nll_less_f32_interval", 0, False),
    ("lines: answer NLL above f32, nats", "line_retrieval.answer_nll_less_f32", "line_retrieval.answer_nll_less_f32_interval", 0, False),
]
X_NAMES = {"bits_per_element": "bits per element, measured", "cache_bytes": "bytes of the cache, measured", "bytes_per_token": "bytes a token in the long run"}


def front(points):
    """Names of points (x, y, name) that no other beats: smaller is better on both axes."""
    kept, best = set(), math.inf
    for x, y, name in sorted(points):
        if y < best:
            kept.add(name)
            best = y
    return kept


def interval(row, path):
    if path is None:
        return None
    *keys, last = path.split(".")
    for key in keys:
        row = row[key]
    pair = row.get(last)
    return pair if pair and all(isinstance(v, (int, float)) for v in pair) else None


def plot(report, path, x_key):
    from matplotlib.figure import Figure
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    rows = [r for r in report["rows"] if r["kv"] != "f32"]
    for axes, (title, measure, within, baseline, logarithmic) in zip(figure.subplots(2, 2).flat, PANELS):
        points = [(dig(r, x_key), dig(r, measure), r["kv"]) for r in rows]
        points = [p for p in points if p[0] and p[1] is not None and (p[1] > 0 or not logarithmic)]
        if not points:
            axes.set_title(title + " (no rows)")
            continue
        best = front(points)
        for x, y, name in points:
            colour = "tab:blue" if name in best else "0.55"
            pair = interval(next(r for r in rows if r["kv"] == name), within)
            if pair and not (logarithmic and pair[0] <= 0):
                axes.plot([x, x], pair, color=colour, linewidth=1, alpha=0.6)
            axes.plot([x], [y], "o", color=colour, markersize=5)
            axes.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7, color=colour)
        line = sorted(p for p in points if p[2] in best)
        axes.step([p[0] for p in line], [p[1] for p in line], where="post", color="tab:blue", linewidth=1)
        if baseline is not None:
            axes.axhline(baseline, color="0.7", linewidth=0.8)
        axes.set_xscale("log")
        if logarithmic:
            axes.set_yscale("log")
        elif max(p[1] for p in points) > 0.5:  # a cache that forgets stands far above those that round
            axes.set_yscale("symlog", linthresh=0.05)
        ticks = [t for t in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)] if x_key == "bits_per_element" else None
        if ticks:
            low, high = axes.get_xlim()
            axes.set_xticks([t for t in ticks if low <= t <= high], [str(t) for t in ticks if low <= t <= high])
            axes.minorticks_off()
        axes.set_xlabel(X_NAMES[x_key])
        axes.set_title(title, fontsize=10)
        axes.grid(True, linewidth=0.3)
    figure.suptitle(f"{report['model']}, {report['context']} tokens: blue is the front, bars are 95 % intervals", fontsize=10)
    figure.savefig(path, dpi=90)


def plot_drift(report, path):
    from matplotlib.figure import Figure
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    steps = report["drift"]["steps"]
    ends = []
    for row in report["rows"]:
        kl = row["drift"]["kl"]
        if row["kv"] == "f32" or not all(isinstance(v, (int, float)) and v > 0 for v in kl):
            continue
        at = [(i + 0.5) * steps / len(kl) for i in range(len(kl))]
        (line,) = axes.plot(at, kl, linewidth=1.2)
        ends.append((kl[-1], at[-1], row["kv"], line.get_color()))
    for y, x, name, colour in ends:
        axes.annotate(name, (x, y), xytext=(4, 0), textcoords="offset points", fontsize=7, color=colour, va="center")
    axes.set_yscale("log")
    axes.set_xlim(0, steps * 1.15)
    axes.set_xlabel(f"tokens after a prompt of {report['drift']['prompt_tokens']}")
    axes.set_ylabel("mean KL to f32, nats")
    axes.set_title(f"{report['model']}: drift over {report['drift']['prompts']} continuations", fontsize=10)
    axes.grid(True, linewidth=0.3)
    figure.savefig(path, dpi=90)


def cell(value, form):
    return "-" if value is None else format(value, form)


def table(report):
    columns = [("bytes/token", "bytes_per_token", ".0f"), ("bits/element", "bits_per_element", ".2f"), ("MB", "cache_bytes", ".2f"), ("perplexity", "perplexity", ".3f"),
               ("mean KL", "kl_mean", ".4f"), ("99 % KL", "kl_p99", ".3f"), ("top-1", "top1", ".3f"), ("drift KL", "drift.kl_mean", ".4f"),
               ("needle hit", "needle.hit_rate", ".2f"), ("needle NLL", "needle.answer_nll", ".3f"), ("line hit", "line_retrieval.hit_rate", ".2f"),
               ("line NLL", "line_retrieval.answer_nll", ".3f"), ("decode tok/s", "decode_tokens_per_second", ".0f")]
    print("| cache | " + " | ".join(c[0] for c in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in sorted(report["rows"], key=lambda r: -r["cache_bytes"]):
        cells = []
        for _, path, form in columns:
            value = dig(row, path)
            cells.append(cell(value / 1e6 if path == "cache_bytes" and value is not None else value, form))
        print(f"| {row['kv']} | " + " | ".join(cells) + " |")


def read(paths):
    """One report of all of them. throws: ValueError naming the file"""
    whole = None
    for path in paths:
        try:
            with open(path, encoding="utf-8") as f:
                report = json.load(f)
        except (OSError, ValueError) as e:
            raise ValueError(f"{path}: {e}") from e
        if not isinstance(report, dict) or report.get("suite") != "kv":
            raise ValueError(f"{path}: it is no report of compare --suite kv")
        if whole is None:
            whole = report
            continue
        for key in ("model", "text_hash", "context", "seed", "trials", "depth"):
            if report.get(key) != whole.get(key):
                raise ValueError(f"{path}: {key} is {report.get(key)!r}, allowed {whole.get(key)!r} as in {paths[0]}")
        fresh = {r["kv"] for r in report["rows"]}
        whole["rows"] = [r for r in whole["rows"] if r["kv"] not in fresh] + report["rows"]
    return whole


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("report", nargs="+")
    p.add_argument("--plot")
    p.add_argument("--drift")
    p.add_argument("--table", action="store_true")
    p.add_argument("--x", choices=sorted(X_NAMES), default="bits_per_element")
    a = p.parse_args()
    if not (a.plot or a.drift or a.table):
        p.error("nothing to do: give --plot, --drift or --table")
    try:
        report = read(a.report)
    except ValueError as e:
        sys.exit(f"pareto: {e}")
    if a.table:
        table(report)
    if a.plot:
        plot(report, a.plot, a.x)
    if a.drift:
        plot_drift(report, a.drift)


main()
