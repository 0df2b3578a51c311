#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a kernel costs whoever compiles it: processor seconds of nvcc for a unit with one decode kernel, over a unit with nothing in it.

usage: compile.py [--repeats N] [--nvcc PATH] [--cxx PATH] [--check]
Units are compiled in turns, and every number is a median of differences within one turn, so that a machine others use too tells the
same. `--check`: exit status 1 where a kernel costs more than 5 s, or a further architecture more than 2.5 s.
"""
import argparse, os, pathlib, shutil, statistics, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNEL = """#include "quire/attention/cuda/attend.cuh"
{includes}#include "quire/kv/layout/paged.hpp"
using kernel = quire::attention::cuda::attend<quire::kv::paged<{pair}>, {dim}, 8>;
quire::status go(const kernel::call& c, quire::device::stream on) {{ return kernel::launch(c, on); }}
"""
INTEGER = '#include "quire/attention/cuda/operand_integer.cuh"\n'
INT4 = "quire::kv::codec_pair<quire::kv::hadamard<quire::kv::integer<4, quire::kv::group::column>>, quire::kv::hadamard<quire::kv::integer<4, quire::kv::group::row>>>"
UNITS = {
    "nothing": "",
    "headers alone": '#include "quire/attention/cuda/attend.cuh"\n#include "quire/kv/layout/paged.hpp"\n',
    "bf16, 128": KERNEL.format(includes="", pair="quire::kv::raw_bf16", dim=128),
    "int4 rotated, 128": KERNEL.format(includes=INTEGER, pair=INT4, dim=128),
}
ARCHITECTURES = ["80", "90a"]
KERNEL_SECONDS, ARCHITECTURE_SECONDS = 5.0, 2.5


def processor_seconds(command):
    """User and system time of a command and all it starts."""
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, used = os.wait4(child, 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return used.ru_utime + used.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--nvcc", default=shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc")
    parser.add_argument("--cxx", default=shutil.which("g++"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not os.access(options.nvcc, os.X_OK):
        print("skipped: no nvcc")
        return 0
    began = time.monotonic()
    seconds = {}
    with tempfile.TemporaryDirectory() as work:
        file = {name: f"{work}/unit{i}.cu" for i, name in enumerate(UNITS)}
        for name, text in UNITS.items():
            pathlib.Path(file[name]).write_text(text, encoding="utf-8")
        for turn in range(options.repeats + 1):  # the first one warms the file cache
            for name in UNITS:
                for count in range(1, len(ARCHITECTURES) + 1):
                    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES[:count]]
                    used = processor_seconds([options.nvcc, "-std=c++20", "--expt-relaxed-constexpr", "-O3", "-ccbin", options.cxx, *codes, f"-I{ROOT}/include", "-c",
                                              file[name], "-o", f"{work}/unit.o"])
                    if turn != 0:
                        seconds.setdefault((name, count), []).append(used)
    median = lambda a, b: statistics.median(x - y for x, y in zip(seconds[a], seconds[b]))
    print(f"processor seconds of nvcc, medians of {options.repeats} turns, sm_{', sm_'.join(ARCHITECTURES)}; {time.monotonic() - began:.0f} s in all")
    print(f"{'unit':20} {'one architecture':>16} {'over nothing':>12} {'a further one':>13} {'over nothing':>12}")
    over = False
    for name in UNITS:
        whole, further = statistics.median(seconds[name, 1]), median((name, 2), (name, 1))
        own = median((name, 1), ("nothing", 1))
        own_further = statistics.median((a - b) - (c - d) for a, b, c, d in zip(seconds[name, 2], seconds[name, 1], seconds["nothing", 2], seconds["nothing", 1]))
        print(f"{name:20} {whole:16.2f} {own:12.2f} {further:13.2f} {own_further:12.2f}")
        over = over or own > KERNEL_SECONDS or further > ARCHITECTURE_SECONDS
    return 1 if over and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
