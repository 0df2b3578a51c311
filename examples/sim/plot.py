#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: plot.py DATA.json OUT.png     draws what quire-sim serve --plot wrote; exit status 77 without matplotlib"""
import json
import sys

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit(77)

data = json.load(open(sys.argv[1], encoding="utf-8"))
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
for axis, key, name in ((axes[0], "ttft", "time to first token, s"), (axes[1], "tbt", "time between tokens, s")):
    for curve in data["curves"]:
        points = [(x, 1 - q) for q, x in curve[key] if q < 1 and x > 0]
        if points:
            axis.plot([x for x, _ in points], [y for _, y in points], label=curve["policy"])
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(name)
    axis.grid(True, which="major", alpha=0.3)
axes[0].set_ylabel("share of values above")
axes[1].legend(fontsize=8)
figure.suptitle(data["title"])
figure.tight_layout()
figure.savefig(sys.argv[2], dpi=110)
