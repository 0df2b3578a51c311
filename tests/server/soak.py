#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""More work than a quire-server can do, from clients that behave well, badly and not at all; then everything must be as before.

usage: soak.py PROGRAM MODEL [--minutes M] [--workers N] [--seed S] [--any-memory] [-- FLAG...]     FLAGs go to the server
Checks: the server lives, answers well-formed requests only with 200, 429 or 503, ends with status 0 on SIGTERM; every page
comes back, the store is sound, resident memory stays flat once every page was used (over 3 minutes and more: from the second third to the last). Only this machine is talked to.
Exit status 0: all of that; 1: not; 77: skipped, with the reason.
"""
import argparse
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import random
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness

WORDS = "tide harbour boat rope gull salt wind stone light keel net morning".split()


def request_of(path, body, close=False):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: soak\r\nx-tenant: t{len(body) % 5}\r\nx-priority: {len(body) % 3}\r\n"
            f"{'Connection: close' if close else 'Connection: keep-alive'}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def some_request(rng, long=False):
    prompt = " ".join(rng.choice(WORDS) for _ in range(rng.choice((1, 8, 60, 400))))
    options = {"max_tokens": 800 if long else rng.choice((1, 8, 40, 160)), "temperature": rng.choice((0, 0.8, 1.4)), "stream": long or rng.random() < 0.6, "seed": rng.randrange(99)}
    if rng.random() < 0.2:
        options["n"] = rng.choice((2, 3))
    if rng.random() < 0.2:
        options["stop"] = rng.sample((" the", ".", "\n", "harbour"), 2)
    if rng.random() < 0.2:
        options["frequency_penalty"] = 1
    if long or rng.random() < 0.2:
        options["ignore_eos"] = True
    if rng.random() < 0.5:
        if rng.random() < 0.3:
            options["logprobs"] = 5
        return request_of("/v1/completions", {"prompt": prompt, **options}, True)
    return request_of("/v1/chat/completions", {"messages": [{"role": "user", "content": prompt}], **options}, True)


def read_all(s, patience):
    s.settimeout(patience)
    out = b""
    while piece := s.recv(65536):
        out += piece
    return out


def patient(rng, s):
    s.sendall(some_request(rng))
    answer = read_all(s, 120)
    status = int(answer[9:12])
    if status not in (200, 429, 503):
        raise AssertionError(f"a good request got {answer[:600]!r}")
    if status == 200 and b"text/event-stream" in answer and b"data: [DONE]" not in answer and b'"error"' not in answer:
        raise AssertionError(f"a stream has no end: {answer[-300:]!r}")
    if status != 200:
        time.sleep(0.1)  # a client that is told to come again does not at once
    return "served" if status == 200 else "turned away"


def leaves(rng, s):
    s.sendall(some_request(rng, long=True))
    s.settimeout(5)
    try:
        for _ in range(rng.randrange(4)):
            s.recv(512)
    except TimeoutError:
        pass
    if rng.random() < 0.5:  # with a reset
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    return "left"


def reads_slowly(rng, s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.sendall(some_request(rng, long=True))
    s.settimeout(3)
    try:
        for _ in range(80):
            if not s.recv(32):
                break
            time.sleep(0.1)
    except TimeoutError:
        pass
    return "slow"


def stops_short(rng, s):
    whole = some_request(rng)
    s.sendall(whole[:rng.randrange(len(whole))])
    time.sleep(rng.random() * 0.3)
    return "cut short"


def malformed(rng, s):
    kind = rng.randrange(6)
    good = some_request(rng)
    if kind == 0:
        s.sendall(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 400))) + b"\r\n\r\n")
    elif kind == 1:
        noisy = bytearray(good)
        for _ in range(rng.randrange(1, 8)):
            noisy[rng.randrange(len(noisy))] = rng.randrange(256)
        s.sendall(noisy)
    elif kind == 2:
        s.sendall(request_of("/v1/completions", b"[" * rng.randrange(1, 100000), True))
    elif kind == 3:
        s.sendall(request_of("/v1/chat/completions", {"messages": [{"role": rng.choice(("user", "x")), "content": rng.choice((None, 1, [], "ok"))}], "n": rng.choice((0, 1, 1e9))}, True))
    elif kind == 4:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + rng.choice((b"zz\r\n", b"ffffffffffffffff\r\nx", b"5\r\nab")))
    else:
        s.sendall(b"GET /" + b"a" * rng.randrange(1, 20000) + b" HTTP/1.1\r\n\r\n")
    s.settimeout(2)
    try:
        s.recv(4096)
    except TimeoutError:
        pass
    return "malformed"


def oversized(rng, s):
    kind = rng.randrange(3)
    if kind == 0:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{")
    elif kind == 1:
        s.sendall(request_of("/v1/completions", {"prompt": "x " * rng.randrange(5000, 200000)}, True))
    else:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(12):
            s.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
    s.settimeout(5)
    try:
        s.recv(4096)
    except TimeoutError:
        pass
    return "oversized"


def looks(rng, s):
    s.sendall(rng.choice((b"GET /metrics", b"GET /health?deep=1", b"GET /v1/models", b"HEAD /health")) + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = read_all(s, 60)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise AssertionError(f"a look got {answer[:300]!r}")
    return "looked"


KINDS = [(patient, 16), (leaves, 4), (reads_slowly, 1), (stops_short, 2), (malformed, 2), (oversized, 1), (looks, 1)]


def work(port, seed, until, told):
    rng = random.Random(seed)
    counts = {}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while time.monotonic() < until:
        kind = rng.choices([k for k, _ in KINDS], [w for _, w in KINDS])[0]
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
                outcome = kind(rng, s)
        except (ConnectionError, BrokenPipeError):
            outcome = "reset"
            if kind in (patient, looks):
                outcome = "reset in a good request"
        except (AssertionError, OSError, ValueError) as error:
            told.put(("failure", f"{kind.__name__}: {type(error).__name__} {error}"))
            break
        counts[outcome] = counts.get(outcome, 0) + 1
    told.put(("counts", counts))


def warm_up(server):
    """Every page of the cache and every seat in use once: what is touched for the first time later is growth. Resident bytes."""
    body = {"prompt": " ".join(WORDS * 10), "max_tokens": 16, "ignore_eos": True}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for status, _, answer in pool.map(lambda _: server.post("/v1/completions", body), range(16)):
            assert status == 200, answer
    return server.resident_bytes()


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("program")
    parse.add_argument("model")
    parse.add_argument("--minutes", type=float, default=1)
    parse.add_argument("--workers", type=int, default=48)
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--any-memory", action="store_true", help="sanitizers keep what is freed")
    parse.add_argument("flags", nargs="*")
    o = parse.parse_args()
    if not pathlib.Path(o.model).is_file():
        harness.skip(f"{o.model} is absent")

    # A cache that is too small for what comes, so that texts lose their pages; readers that stall are cut off soon.
    flags = ["--max-running", "16", "--max-waiting", "24", "--kv-tokens", "2048", "--context", "2048", "--stall", "2", "--stream-buffer", "64", "--max-connections", "64", "--preemption", "swap", "--swap", "1", *o.flags]
    with harness.Server(o.program, o.model, *flags) as server:
        return soak(server, o)


def soak(server, o):
    random.seed(o.seed)
    warm = warm_up(server)
    seconds = o.minutes * 60
    began = time.monotonic()
    told = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=work, args=(server.port, o.seed * 1000 + i, began + seconds, told), daemon=True) for i in range(o.workers)]
    for w in workers:
        w.start()
    resident, stopped, failures = [], [], []
    try:
        while time.monotonic() - began < seconds:
            time.sleep(0.5)
            if server.process.poll() is not None:
                print(f"FAILED: the server died with status {server.process.returncode}: {server.said()[-3000:]}")
                return 1
            resident.append(server.resident_bytes())
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            stopped = [w.pid for w in random.sample(workers, 3) if w.is_alive()] if random.random() < 0.5 else []
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)  # a client whose machine sleeps
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    total = {}
    for _ in workers:
        kind, what = told.get(timeout=180)
        while kind == "failure":
            failures.append(what)
            kind, what = told.get(timeout=180)
        for name, n in what.items():
            total[name] = total.get(name, 0) + n
    for w in workers:
        w.join(10)
    m = server.idle(60)
    third = max(1, len(resident) // 3)
    middle, last = max(resident[-2 * third:-third]), max(resident[-third:])
    status, said = server.stop()
    ended = {reason: int(m[f'quire_texts_total{{reason="{reason}"}}']) for reason in ("disconnect", "slow_reader", "failed")}
    tokens, preempted = m['quire_tokens_total{kind="generated"}'], m['quire_preemptions_total{cause="memory"}']
    print(f"{o.minutes:g} minutes, {o.workers} clients: " + ", ".join(f"{n} {name}" for name, n in sorted(total.items())))
    print(f"{tokens:.0f} tokens generated ({tokens / seconds:.0f} a second), {m['quire_steps_total']:.0f} steps, {preempted:.0f} preempted for memory, "
          f"{ended['disconnect']} texts whose client left, {ended['slow_reader']} whose reader was slow, {ended['failed']} failed")
    print(f"resident: {warm / 1e6:.0f} MB when warm, {middle / 1e6:.0f} MB at most in the second third, {last / 1e6:.0f} MB in the last; server's end: {said.strip().splitlines()[-1] if said.strip() else status}")
    if ended["failed"] != 0:
        failures.append("texts failed")
    if total.get("served", 0) == 0:
        failures.append("no request was served")
    # Pages, the pool that texts are swapped to (50 MB) and the heaps of some fifty connections are touched in the first minutes; after
    # those nothing may grow any more.
    grown = last > middle * 1.02 + (8 << 20) if o.minutes >= 3 else last > warm * 1.1 + (96 << 20)
    if not o.any_memory and grown:
        failures.append(f"resident memory grew from {warm} to {middle} to {last}")
    if status != 0:
        failures.append(f"the server ended with status {status}: {said[-3000:]}")
    for f in failures:
        print(f"FAILED: {f}")
    return 1 if failures else 0


sys.exit(main())
