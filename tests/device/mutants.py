#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seeded bugs: copies of our device code with one mistake each must fail the tests under the emulator.

usage: mutants.py ROOT WORK [--only WORD] [--jobs N] [--keep] -- COMPILER... -- FLAG... -- WHAT TO LINK...
Each mutant of mutant_list.py is one text of one header (found exactly once), what stands there instead, and why that is wrong. A
driver (tests/device/mutants/DRIVER.cpp, a small Catch2 program) is compiled against a copy of include/ with the mistake in it. It
must not pass; unmutated it must. What drivers parse and no mutant changes is parsed once (tests/device/mutants/common.hpp, precompiled). Ends with `mutants caught: N/N`; exit status 1 when one survives, does not apply or does not compile.
"""
import argparse
import concurrent.futures
import pathlib
import shutil
import subprocess
import sys
import time

from mutant_list import MUTANTS

TIME_LIMIT = 120  # seconds a driver may run: a mistake may be an endless loop
FAULTS = ("out of bounds", "misaligned", "uninitialised", "race between blocks", "race", "divergent barrier", "divergent", "unfinished copy",
          "abandoned copy", "unfenced copy", "bad barrier", "hang", "undefined", "trap")


def copy_tree(root, work, changed, text):
    """A tree like ROOT/include whose files are links, but for one."""
    target = work / "include"
    if work.exists():
        shutil.rmtree(work)
    for source in (root / "include").rglob("*"):
        place = target / source.relative_to(root / "include")
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif source == changed:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
    return target


def precompile(options, root):
    """Headers that mutants leave alone, for all drivers; those of a mutant's tree are the same files, which #pragma once knows. None: not by this compiler."""
    for place in {m[1] for m in MUTANTS} & {str(p.relative_to(root / "include/quire")) for p in common_headers(options, root)}:
        raise SystemExit(f"{place} has mutants and can't be in tests/device/mutants/common.hpp")
    header = pathlib.Path(options.work) / "common.hpp"
    shutil.copyfile(root / "tests/device/mutants/common.hpp", header)
    built = subprocess.run([*options.cxx, *options.flags, f"-I{root / 'include'}", f"-I{root / 'tests'}", "-x", "c++-header", str(header), "-o", f"{header}.gch"], check=False)
    options.common = ["-include", str(header)] if built.returncode == 0 else []


def common_headers(options, root):
    """Our headers that common.hpp brings."""
    listed = subprocess.run([options.cxx[-1], *options.flags, f"-I{root / 'include'}", f"-I{root / 'tests'}", "-MM", str(root / "tests/device/mutants/common.hpp")],
                            capture_output=True, text=True, check=True).stdout
    return [p for p in map(pathlib.Path, listed.replace("\\\n", " ").split()) if root / "include/quire" in p.parents]


def attempt(options, root, work, include, driver):
    """(outcome, text) of one driver against one include tree; outcome: passes, fails, does not compile."""
    program = work / "driver"
    built = subprocess.run([*options.cxx, *options.flags, *options.common, f"-I{include}", f"-I{root / 'tests'}", "-c", str(root / f"tests/device/mutants/{driver}.cpp"), "-o", f"{program}.o"],
                           capture_output=True, text=True, check=False)
    if built.returncode == 0:
        built = subprocess.run([options.cxx[-1], f"{program}.o", *options.link, "-o", str(program)], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        return "does not compile", built.stderr
    try:
        done = subprocess.run([str(program)], capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return "fails", "does not end"
    if done.returncode == 0:
        return "passes", done.stdout
    words = " ".join(done.stdout.split())
    for kind in FAULTS:
        if f"{kind}: " in words:
            at = words.index(f"{kind}: ")
            return "fails", words[at:at + 220]
    return "fails", "wrong result" if done.returncode > 0 else f"signal {-done.returncode}"


def judge(options, root, mutant):
    """(caught, line) of one mutant."""
    driver, path, find, replace, why = mutant
    source = root / "include/quire" / path
    text = source.read_text(encoding="utf-8")
    if text.count(find) != 1:
        return False, f"{path}: the text of `{why}` is there {text.count(find)} times, not once"
    work = pathlib.Path(options.work) / f"{MUTANTS.index(mutant):02}"
    outcome, said = attempt(options, root, work, copy_tree(root, work, source, text.replace(find, replace)), driver)
    if not options.keep:
        shutil.rmtree(work)
    if outcome == "does not compile":
        return False, f"{path}: `{why}` does not compile\n" + "\n".join(said.split("\n")[:12])
    if outcome == "passes":
        return False, f"{path}: `{why}` SURVIVED {driver}"
    return True, f"{path}: {why}: {said}"


def main():
    sections = [[]]
    for word in sys.argv[1:]:
        if word == "--":
            sections.append([])
        else:
            sections[-1].append(word)
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("work")
    parser.add_argument("--only", help="mutants with this word in them")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="leave the copies where they are")
    options = parser.parse_args(sections[0])
    if len(sections) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    options.cxx, options.flags, options.link = sections[1:]
    root = pathlib.Path(options.root).resolve()
    pathlib.Path(options.work).mkdir(parents=True, exist_ok=True)
    precompile(options, root)
    chosen = [m for m in MUTANTS if not options.only or any(options.only in part for part in m)]
    began = time.monotonic()
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        def unmutated(driver):
            work = pathlib.Path(options.work) / f"unmutated_{driver}"
            work.mkdir(parents=True, exist_ok=True)
            return driver, attempt(options, root, work, root / "include", driver)

        for driver, (outcome, said) in pool.map(unmutated, sorted({m[0] for m in chosen})):
            print(f"unmutated {driver}: {outcome}", flush=True)
            if outcome != "passes":
                print(said)
                wrong += 1
        if wrong:
            print("mutants prove nothing while the drivers themselves fail")
            return 1
        caught = 0
        for good, line in pool.map(lambda m: judge(options, root, m), chosen):
            caught += good
            print(("caught  " if good else "MISSED  ") + line, flush=True)
    line = f"mutants caught: {caught}/{len(chosen)}"
    if not options.only:
        (pathlib.Path(options.work) / "summary").write_text(line + "\n", encoding="utf-8")
    print(f"{time.monotonic() - began:.0f} s")
    print(line)
    return 0 if caught == len(chosen) and chosen else 1


if __name__ == "__main__":
    sys.exit(main())
