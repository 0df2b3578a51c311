#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A quire-server that swaps texts to files: killed in the middle, its files damaged between two runs and under it.

usage: spill.py PROGRAM MODEL
Checks: after kill -9 the next server says that files were left over, or damaged, uses nothing of them and serves; bytes damaged while
texts are away are detected and computed again: every text is that of a server that never swaps; a server that ends empties its files.
Exit status 0: all of that; 77: skipped, with the reason.
"""
import concurrent.futures
import json
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness

WORDS = "tide harbour boat rope gull salt wind stone light keel net morning".split()
FULL = ["--max-running", "8", "--max-waiting", "64", "--context", "512", "--prefix-cache", "0"]


def bodies(count):
    rng = random.Random(7)
    return [{"prompt": " ".join(rng.choice(WORDS) for _ in range(rng.randrange(60, 200))), "max_tokens": 64, "temperature": 0, "ignore_eos": True} for _ in range(count)]


def texts(server, asked):
    with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda b: server.post("/v1/completions", b), asked))
    for status, _, body in answers:
        assert status == 200, (status, body)
    return [json.loads(body)["choices"][0]["text"] for _, _, body in answers]


def spilling(program, model, folder):
    """A cache for three of the eight texts that run; the others are swapped to files."""
    return harness.Server(program, model, *FULL, "--kv-tokens", "1024", "--preemption", "swap", "--swap", "8", "--spill", folder)


def kill_while_swapping(server):
    """kill -9 when some texts are away."""
    def ask(body):
        try:
            server.post("/v1/completions", body)
        except OSError:
            pass  # the server is dead
    clients = [threading.Thread(target=ask, args=(b,), daemon=True) for b in bodies(16)]
    for c in clients:
        c.start()
    server.until(lambda m: m['quire_swaps_total{direction="out"}'] >= 3, 120)
    server.process.kill()
    server.process.wait()
    for c in clients:
        c.join(30)


def damage(files, rng, step):
    """A byte in every `step` of what follows the files' headers."""
    for path in files:
        with open(path, "r+b", buffering=0) as f:
            for at in range(64, os.path.getsize(path), step):
                os.pwrite(f.fileno(), bytes([rng.randrange(256)]), at + rng.randrange(step))


def main():
    program, model = sys.argv[1:]
    if not pathlib.Path(model).is_file():
        harness.skip(f"{model} is absent")
    asked = bodies(12)
    with harness.Server(program, model, *FULL) as server:
        expected = texts(server, asked)
        assert server.metrics()['quire_swaps_total{direction="out"}'] == 0

    with tempfile.TemporaryDirectory() as folder:
        server = spilling(program, model, folder)
        second = None
        try:
            second = spilling(program, model, folder)
        except RuntimeError as refused:
            assert "spill file" in str(refused), refused
        assert second is None, "two servers share a folder"
        kill_while_swapping(server)
        files = [p for p in pathlib.Path(folder).iterdir() if p.stat().st_size != 0]
        assert files, "nothing was left over"

        server = spilling(program, model, folder)
        assert "did not end by itself" in server.said() and server.health()["store_check"], server.said()
        kill_while_swapping(server)
        print("ok killed while swapping, left over files are not used")

        for path in files:
            with open(path, "r+b") as f:
                f.seek(20)
                f.write(b"\x5a")
        with spilling(program, model, folder) as server:
            assert "are damaged" in server.said(), server.said()
            assert texts(server, asked) == expected
            m = server.idle()
            assert m['quire_swaps_total{direction="in"}'] > 0 and m["quire_lost_copies_total"] == 0, m
            print("ok damaged files are not used, swapped texts are right")

            over, rng = threading.Event(), random.Random(1)
            def keep_damaging():
                while not over.is_set():
                    damage(files, rng, 1 << 16)
                    time.sleep(0.002)
            vandal = threading.Thread(target=keep_damaging)
            vandal.start()
            try:
                got = texts(server, asked)
            finally:
                over.set()
                vandal.join()
            assert got == expected
            m = server.idle()
            assert m["quire_lost_copies_total"] > 0, m
            print(f"ok damage under a running server: {m['quire_lost_copies_total']:.0f} copies refused, all texts right")
        assert all(p.stat().st_size == 0 for p in files), "a server that ended left something in its files"


if len(sys.argv) != 3:
    sys.exit(__doc__)
main()
