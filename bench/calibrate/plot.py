#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what bench/calibrate/run.py measured: refined profiles, rank by budget, gate training. Needs matplotlib.

usage: plot.py RESULTS.json OUT.png
"""
import collections, json, sys

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image
except ImportError:
    sys.exit("skipped: plot.py needs matplotlib (pip install matplotlib)")
from run import rank


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    results = json.load(open(sys.argv[1]))
    figure, (a, b, c) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for r in results["refined_profiles"]:
        if r["label_noise"] > 0 and r["schedule"] == "refined":
            dashed = r["optimizer"] == "sgd"
            a.plot([i / 64 for i in range(65)], r["profile"], "--" if dashed else "-", lw=1.2, label=f"{r['set']}, {r['optimizer'].split()[0]}")
    a.plot([0, 1], [1, 0], "k:", lw=1, label="linear")
    a.set(title="refined from recorded norms, 20 % label noise", xlabel="progress", ylabel="share of the peak rate")
    a.legend(fontsize=6)
    ranks = collections.defaultdict(lambda: collections.defaultdict(list))
    for cell in results["budgets"]:
        for s, r in rank({s: v[0] for s, v in cell["schedules"].items()}).items():
            ranks[s][cell["percent"]].append(r)
    for s, of in ranks.items():
        b.plot(list(of), [sum(x) / len(x) for x in of.values()], "o-", ms=3, lw=1.2, label=s)
    b.set(title="mean rank by budget (1 is best)", xlabel="budget, % of 100 epochs", xscale="log")
    b.invert_yaxis()
    b.legend(fontsize=6)
    source = results["gates"][-1]["source"]
    gaps = collections.defaultdict(dict)
    for cell in results["gates"]:
        if cell["source"] == source and cell["lambda"] == 0.05:
            for s, v in cell["schedules"].items():
                gaps[s][cell["steps"]] = max(v[0], 1e-6)
    for s, of in gaps.items():
        c.plot(list(of), list(of.values()), "o-", ms=3, lw=1.2, label=s)
    c.set(title=f"gate training ({source}): share of the way left", xlabel="steps of the budget", xscale="log", yscale="log")
    c.legend(fontsize=6)
    figure.savefig(sys.argv[2], dpi=80)
    with Image.open(sys.argv[2]) as image:  # a palette: a third of the bytes
        small = image.convert("RGB").quantize(255)
    small.save(sys.argv[2], optimize=True)


main()
