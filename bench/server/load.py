#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Throughput and waiting times of quire-server under closed loops of streaming clients.

usage: load.py PROGRAM MODEL [--clients 1,8,32] [--requests N] [--prompt N] [--tokens N] [-- FLAG...]    FLAGs go to the server
Each client sends its next request when the last one has ended. Prompts are random tokens, so no prefix is shared.
Prints a line of JSON for each number of clients: tokens a second (generated; prompts), time to the first token and gaps
between tokens (P50, P99, milliseconds), as the clients saw them.
"""
import argparse
import asyncio
import json
import pathlib
import random
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/server"))
import harness


async def one(server, body, firsts, gaps):
    reader, writer = await asyncio.open_connection(server.host, server.port)
    data = json.dumps(body).encode()
    began = last = time.perf_counter()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    events = 0
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            assert not line.startswith(b"HTTP/1.1 ") or b" 200 " in line, line
            continue
        now = time.perf_counter()
        (gaps if events else firsts).append(now - last)
        last = now
        events += 1
    writer.close()
    return last - began


async def loop(server, o, clients, seed):
    rng = random.Random(seed)
    firsts, gaps = [], []
    bodies = [{"prompt": [rng.randrange(1000, 40000) for _ in range(o.prompt)], "max_tokens": o.tokens, "ignore_eos": True, "stream": True, "temperature": o.temperature, "seed": i}
              for i in range(max(o.requests, clients))]
    queue = iter(bodies)

    async def client():
        for body in queue:
            await one(server, body, firsts, gaps)
    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    share = lambda values, p: round(1000 * statistics.quantiles(values, n=100, method="inclusive")[p - 1], 1)
    print(json.dumps({"clients": clients, "requests": len(bodies), "prompt": o.prompt, "tokens": o.tokens,
                      "generated_per_second": round(len(bodies) * o.tokens / seconds, 1), "prompt_per_second": round(len(bodies) * o.prompt / seconds, 1),
                      "first_ms_p50": share(firsts, 50), "first_ms_p99": share(firsts, 99), "gap_ms_p50": share(gaps, 50), "gap_ms_p99": share(gaps, 99)}), flush=True)


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("program")
    parse.add_argument("model")
    parse.add_argument("--clients", default="1,8,32")
    parse.add_argument("--requests", type=int, default=64)
    parse.add_argument("--prompt", type=int, default=128)
    parse.add_argument("--tokens", type=int, default=64)
    parse.add_argument("--temperature", type=float, default=0)
    parse.add_argument("flags", nargs="*")
    o = parse.parse_args()
    with harness.Server(o.program, o.model, *o.flags) as server:
        asyncio.run(one(server, {"prompt": "warm up", "max_tokens": 4, "stream": True}, [], []))
        for clients in map(int, o.clients.split(",")):
            asyncio.run(loop(server, o, clients, clients))


main()
