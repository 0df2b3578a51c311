#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Headers must compile alone: each one as the only include of a unit, without warnings.

usage: compile.py ROOT GROUP [--cxx g++] [--cache DIR]
groups
  host      every host header alone
  cpu       every kernel header (*/cpu/, core/simd.hpp) alone, for the compiler's default instruction set
  native    all kernel headers in one unit, -march=native, and for a processor with every set that is likely to be asked for
  noexcept  core and all kernel headers in one unit, -fno-exceptions -fno-rtti; quire.hpp, -fno-rtti
With --cache a unit whose text, flags and compiler did not change since it last compiled is not compiled again.
"""
import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import platform
import subprocess
import sys

import check

# Headers that need exceptions; every line says why. What includes one of them is not compiled without exceptions either. An
# entry that is not needed any more is a failure too.
NEEDS_EXCEPTIONS = {}
FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wno-psabi", "-Werror"]


def closure(root, path, seen):
    """The header's own text and that of every quire header it reaches."""
    if path in seen:
        return
    file = root / "include/quire" / path
    if not file.is_file():
        return
    text = file.read_text(encoding="utf-8")
    seen[path] = text
    for _, sign, name in check.includes_of(check.code_of(text)):
        if sign == '"':
            closure(root, os.path.normpath(os.path.join(os.path.dirname(path), name)), seen)


def reaches(root, path, others):
    seen = {}
    closure(root, path, seen)
    return any(other in seen for other in others)


def units(root, group):
    """(name, headers, flags, must fail) of each unit of a group."""
    every = [p for p in check.headers_of(root) if p.endswith(".hpp")]
    cpu = [p for p in every if check.is_cpu(p)]
    host = [p for p in every if not check.is_cpu(p)]
    if group == "host":
        return [(p, [p], [], False) for p in host]
    if group == "cpu":
        return [(p, [p], [], False) for p in cpu]
    if group == "native":
        newest = [["-march=sapphirerapids"]] if platform.machine() in ("x86_64", "AMD64") else []
        return [("all kernel headers", cpu, flags, False) for flags in [["-march=native"], *newest]]
    bare = ["-fno-exceptions", "-fno-rtti"]
    strict = [p for p in every if p.startswith("core/") or p in cpu]
    found = [("core and kernel headers", [p for p in strict if not reaches(root, p, NEEDS_EXCEPTIONS)], bare, False),
             ("quire.hpp", ["quire.hpp"], ["-fno-rtti"], False)]
    return found + [(p, [p], bare, True) for p in NEEDS_EXCEPTIONS]


def compile_unit(root, unit, cxx, version, cache):
    name, headers, flags, must_fail = unit
    source = "".join(f'#include "quire/{p}"\n' for p in headers)
    seen = {}
    for p in headers:
        closure(root, p, seen)
    key = hashlib.sha256(repr((version, FLAGS, flags, must_fail, source, sorted(seen.items()))).encode()).hexdigest()
    stamp = cache / key if cache else None
    if stamp and stamp.exists():
        return None
    done = subprocess.run([cxx, *FLAGS, *flags, f"-I{root / 'include'}", "-x", "c++", "-"], input=source, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if must_fail:
        if done.returncode == 0:
            return f"{name}: compiles without exceptions now; take it out of NEEDS_EXCEPTIONS"
    elif done.returncode != 0:
        return f"{name}: does not compile ({' '.join(flags) or 'default flags'})\n" + "\n".join(done.stdout.split("\n")[:12])
    if stamp:
        stamp.touch()
    return None


def run(root, group, cxx="g++", cache=None):
    """Messages, one for each unit that fails."""
    root = pathlib.Path(root).resolve()
    if cache:
        cache = pathlib.Path(cache)
        cache.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([cxx, "-v"], capture_output=True, text=True, check=True).stderr
    found = [u for u in units(root, group) if u[1]]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = list(pool.map(lambda u: compile_unit(root, u, cxx, version, cache), found))
    return len(found), [r for r in results if r]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("group", choices=["host", "cpu", "native", "noexcept"])
    parser.add_argument("--cxx", default="g++")
    parser.add_argument("--cache")
    options = parser.parse_args()
    count, failures = run(options.root, options.group, options.cxx, options.cache)
    for failure in failures:
        print(failure)
    print(f"{options.group}: {count} units, {len(failures)} failures")
    return 1 if failures or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
