#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what bench_makespan wrote: occupancy by units for some shapes, and by length for uniform batches. Needs matplotlib.

usage: plot.py RESULTS.json OUT.png
"""
import json, sys

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image
except ImportError:
    sys.exit("skipped: plot.py needs matplotlib (pip install matplotlib)")

SHOWN = ["B=1, 32 K", "B=14, 16 K", "one 64 K + seven 2 K", "32, Zipf from 64 K"]
COLOURS = {"no split": "0.7", "fixed split": "tab:orange", "dynamic splits": "tab:green", "least loaded": "tab:purple", "lean": "tab:blue"}  # payload lies under lean


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as f:
        results = json.load(f)
    if results.get("suite") != "makespan":
        sys.exit(f"plot: {sys.argv[1]}: it is no report of bench_makespan")
    figure, axes = plt.subplots(2, 3, figsize=(13, 6.4), layout="constrained", sharey=True)
    panels = list(axes.flat)
    for panel, name in zip(panels, SHOWN):
        shape = next(s for s in results["shapes"] if s["shape"] == name)
        for policy, colour in COLOURS.items():
            values = shape["by_units"][policy]
            units = [shape["first_units"] + i * shape["units_step"] for i in range(len(values))]
            panel.plot(units, values, color=colour, lw=1.0, label=policy)
        panel.set(title=f"{name}, {shape['kv_heads']} kv heads", xlabel="units (blocks that run at a time)")
    lengths = results["by_length"]
    for panel, batch in zip(panels[4:], [b for b in lengths["batches"] if b["batch"] in (1, 16)]):
        for policy, colour in COLOURS.items():
            panel.plot(batch["lengths"], batch[policy], color=colour, lw=1.0)
        panel.set(title=f"{batch['batch']} of one length, {lengths['units']} units", xlabel="tokens", xscale="log")
    for panel in panels:
        panel.set_ylim(0, 1.02)
        panel.grid(True, lw=0.3)
    for row in axes:
        row[0].set_ylabel("occupancy")
    panels[0].legend(fontsize=7)
    figure.savefig(sys.argv[2], dpi=80)
    with Image.open(sys.argv[2]) as image:  # a palette: a third of the bytes
        small = image.convert("RGB").quantize(255)
    small.save(sys.argv[2], optimize=True)


main()
