#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What must not compose does not compile, and the compiler's message holds a sentence that says why.

usage: illegal.py ROOT [--cxx g++]
"""
import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys

INCLUDES = """#include "quire/quire.hpp"
#include "quire/attention/cpu/attend.hpp"
using namespace quire;
using int4 = kv::codec_pair<kv::integer<4, kv::group::row>>;
"""
# (what is written, part of the sentence); an empty sentence: legal, which shows that the includes themselves compile.
CASES = [
    ("kv::overlay<kv::paged<int4>> x;", ""),
    ("kv::overlay<kv::overlay<kv::paged<int4>>> x;", "a layout has one overlay"),
    ("kv::overlay<kv::paged<kv::raw_bf16>> x;", "sealed tiles are as exact as the overlay"),
    ("kv::integer<5, kv::group::row> x;", "Bits must be"),
    ("kv::balanced<kv::hadamard<kv::integer<4, kv::group::row>>> x;", "a balancer and a rotation exclude each other"),
    ("kv::hadamard<kv::balanced<kv::integer<4, kv::group::row>>> x;", "a balancer and a rotation exclude each other"),
    ("kv::gear<kv::hadamard<kv::integer<4, kv::group::row>>, 2, 2> x;", "write hadamard<gear<Base, ...>>"),
    ("kv::gear<kv::integer<4, kv::group::row>, 0, 0> x;", "use the backbone itself"),
    ("kv::gear<kv::integer<4, kv::group::row>, 9, 0> x;", "Rank must be 0 to 8"),
    ("kv::raw<double> x;", "Number must be float, bf16 or f16"),
]


def check(root, cxx, case):
    text, sentence = case
    done = subprocess.run([cxx, "-std=c++20", "-fsyntax-only", f"-I{root / 'include'}", "-x", "c++", "-"], input=INCLUDES + text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if not sentence:
        return None if done.returncode == 0 else f"{text}\n  is legal and does not compile:\n{done.stdout[:800]}"
    if done.returncode == 0:
        return f"{text}\n  compiles"
    said = [line for line in done.stdout.split("\n") if "static assertion failed" in line]
    if not any(sentence in line for line in said):
        return f"{text}\n  is refused without '{sentence}':\n" + "\n".join(said or done.stdout.split("\n")[:6])
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--cxx", default="g++")
    options = parser.parse_args()
    root = pathlib.Path(options.root).resolve()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        failures = [f for f in pool.map(lambda c: check(root, options.cxx, c), CASES) if f]
    for failure in failures:
        print(failure)
    print(f"{len(CASES)} cases, {len(failures)} failures")
    return 1 if failures or not CASES else 0


if __name__ == "__main__":
    sys.exit(main())
