#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a block of every kernel takes, and how many of them a processor holds: from ptxas and the program, no GPU needed.

usage: resources.py BUILD ARCHITECTURE      BUILD: what bench/device/run --architecture made
In flight: KiB of sealed tiles that are on their way while one is folded, of all blocks on a processor. The last columns say what
other rings would give: `tiles: blocks, KiB in flight`.
"""
import glob, os, re, subprocess, sys

SHARED = {"80": 164, "86": 100, "87": 164, "89": 100, "90": 228, "100": 228, "103": 228, "120": 100}  # KiB of a processor


def main():
    build, architecture = sys.argv[1], sys.argv[2]
    shared = SHARED.get(architecture.rstrip("af"), 100) * 1024
    facts = {}
    for line in subprocess.run([os.path.join(build, "device_bench"), "kernels"], capture_output=True, text=True, check=True).stdout.splitlines():
        part, codec, dim, *numbers = line.split()
        facts[part, codec, dim] = [int(n) for n in numbers]
    total, slowest = 0, (0, "")
    print(f"sm_{architecture}, {shared // 1024} KiB of shared memory and 65536 registers a processor, blocks of 128 threads")
    print(f"{'kernel':26} {'registers':>9} {'spilled':>8} {'shared':>7} {'place':>6} {'tile':>6} {'tiles':>6} {'blocks':>6} {'in flight':>9}   other rings: blocks, KiB in flight")
    for log in sorted(glob.glob(os.path.join(build, "*.log"))):
        text = open(log, encoding="utf-8").read()
        part, _, rest = os.path.basename(log)[:-4].partition("-")
        codec, _, dim = rest.rpartition("-")
        seconds = int(re.search(r"seconds: (\d+)", text).group(1))
        total, slowest = total + seconds, max(slowest, (seconds, os.path.basename(log)[:-4]))
        for name, body in re.findall(r"Compiling entry function '(\S+)'(.*?)(?=Compiling entry|\Z)", text, re.S):
            if "fold_kernel" not in name and "append_kernel" not in name:
                continue
            registers = int(re.search(r"Used (\d+) registers", body).group(1))
            spilled = int(re.search(r"(\d+) bytes spill stores", body).group(1))
            rows = re.findall(r"j(\d+)Ej(\d+)Ej(\d+)E", name.replace("L", ""))  # dim, rows, tiles of its blocks
            prefix = part == "decode" and len(rows) > 1 and len({r[1] for r in rows}) > 1
            label = f"{'prefix' if prefix else part} {codec} {dim}"
            by_registers = 65536 // (-(-registers * 32 // 256) * 256 * 4)
            bytes_, place, tiles, least, tile = facts[part, codec, dim]
            if prefix:  # its shared memory is the wide block's, which the program does not list
                print(f"{label:26} {registers:9} {spilled:8} {'':7} {'':6} {'':6} {'':6} {by_registers:6} {'':9}   by registers alone")
                continue
            holds = lambda b: min(by_registers, shared // (b + 1024), 16)
            line = f"{label:26} {registers:9} {spilled:8} {bytes_:7} {place:6} {tile:6} {tiles:6} {holds(bytes_):6}"
            if tiles:
                blocks = lambda n: holds(bytes_ + (n - tiles) * (place + 24))  # and its description
                flight = lambda n: blocks(n) * (n - 1) * tile // 1024
                line += f" {flight(tiles):9}   " + "  ".join(f"{n}: {blocks(n)}, {flight(n)}" for n in range(least, 24) if blocks(n) and (n == least or blocks(n + 1) != blocks(n)))
            print(line)
    print(f"{total} s of compiling in all, slowest {slowest[1]} {slowest[0]} s")


main()
