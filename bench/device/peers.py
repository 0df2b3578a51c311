#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Other attention kernels beside ours on the same steps: in turns (ours, theirs, ours, …), one line of JSON for each.

usage: peers.py --bench build/device-bench/sm_90a/device_bench --rows FILE [--rounds 4] [--seconds N] [--full] [--only WORD]
Ours runs in a process of its own that waits while a peer runs. Peers: PyTorch's scaled_dot_product_attention (math, flash, efficient and
cuDNN back ends; padded and masked, or nested, where lengths differ), flash_attn 2 and 3 over pages, FlashInfer over pages. All take bf16
queries and caches that many copies of keep out of the L2. What cannot be imported or refuses a step is a line `not_measured: why`.
"""
import argparse, importlib.metadata, itertools, json, random, statistics, subprocess, sys, time

WORDS = ("part", "codec", "head_dim", "kv_heads", "group", "batch", "tokens", "lengths", "rows", "prefix", "layers")
QUICK = [
    dict(batch=32, tokens=8192), dict(batch=1, tokens=65536), dict(batch=32, tokens=65536, lengths="zipf"),
    dict(part="small", batch=1, tokens=2048), dict(part="small", batch=16, tokens=2048),
    dict(part="chunk", batch=1, tokens=512, rows=512), dict(part="chunk", batch=1, tokens=4608, rows=512), dict(part="chunk", batch=1, tokens=33280, rows=512),
    dict(batch=32, tokens=8192, codec="fp8"), dict(batch=64, tokens=8192), dict(batch=32, tokens=65536, lengths="one-long"), dict(batch=1, tokens=524288),
    dict(batch=16, tokens=1024), dict(batch=1, tokens=4096), dict(batch=16, tokens=8192, group=1), dict(batch=16, tokens=8192, group=8),
]
FULL = QUICK + [dict(part="small", batch=b, tokens=t) for b in (1, 4, 16) for t in (128, 512, 8192)] + \
    [dict(batch=b, tokens=t, kv_heads=h, group=g, head_dim=d) for d in (128, 64) for h, g in ((8, 4), (3, 3), (1, 8)) for b in (1, 4, 16, 64) for t in (1024, 4096, 16384)] + \
    [dict(batch=b, tokens=t, lengths=l) for l in ("zipf", "one-long") for b in (4, 16, 64) for t in (8192, 32768)]
DEFAULTS = dict(part="decode", codec="bf16", head_dim=128, kv_heads=8, group=4, lengths="uniform", rows=1, prefix=0, layers=0)


def completed(step):
    s = {**DEFAULTS, **step}
    if s["part"] == "small":
        s.update(head_dim=64, kv_heads=3, group=3, layers=30)
    return s


def lengths_of(s):
    """As workload::spans has them, in another order."""
    n = [s["tokens"]]
    for i in range(1, s["batch"]):
        held = s["tokens"] // (i + 1) if s["lengths"] == "zipf" else s["tokens"] // 32
        n.append(s["tokens"] if s["lengths"] == "uniform" else max(held, s["rows"] + 63) + i * 37 % 64 - 32)
    random.Random(7).shuffle(n)
    return n


class Ours:
    def __init__(self, program):
        self.process = subprocess.Popen([program, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the bench program ended")
        answer = json.loads(line)
        if "wrong" in answer:
            raise RuntimeError("ours: " + answer["wrong"])
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def time_calls(torch, call, seconds=0.1):
    """Median microseconds of call(i), measured as timing.cuh does: samples of at least 200 µs between events."""
    count = itertools.count()
    record = lambda: (lambda e: (e.record(), e)[1])(torch.cuda.Event(enable_timing=True))
    run = lambda n: [call(next(count)) for _ in range(n)]
    run(3)
    begin = record()
    run(4)
    end = record()
    torch.cuda.synchronize()
    one = max(begin.elapsed_time(end) * 1e3 / 4, 0.5)
    each = int(min(max(200 / one, 1), 50))
    samples = max(10, int(min(max(100, 0.05e6 / one), seconds * 1e6 / one) + each - 1) // each)
    run(2)
    marks = [record()]
    for _ in range(samples):
        run(each)
        marks.append(record())
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) * 1e3 / each for a, b in zip(marks, marks[1:]))


def graph_calls(torch, call, count, seconds=0.1):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for i in range(3):
            call(i)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(count):
            call(i)
    return lambda: time_calls(torch, lambda _: graph.replay(), seconds) / count


class Torch:
    """Padded keys and values [batch][kv heads][tokens][dim], one set for each copy."""

    def __init__(self, torch, s, copies):
        self.torch, self.s = torch, s
        self.n = lengths_of(s)
        shape = (copies, s["batch"], s["kv_heads"], max(self.n), s["head_dim"])
        self.k = torch.randn(shape, dtype=torch.bfloat16, device="cuda")
        self.v = torch.randn(shape, dtype=torch.bfloat16, device="cuda")
        self.q = 2 * torch.randn((s["batch"], s["kv_heads"] * s["group"], s["rows"], s["head_dim"]), dtype=torch.bfloat16, device="cuda")
        self.copies = copies

    def calls(self):
        torch, s = self.torch, self.s
        from torch.nn.attention import SDPBackend, sdpa_kernel
        import torch.nn.functional as F
        how = {}
        if s["rows"] > 1 and s["rows"] == s["tokens"]:
            how["is_causal"] = True
        elif s["rows"] > 1:
            from torch.nn.attention.bias import causal_lower_right
            how["attn_mask"] = causal_lower_right(s["rows"], s["tokens"])
        elif s["lengths"] != "uniform":
            mask = torch.arange(max(self.n), device="cuda")[None] < torch.tensor(self.n, device="cuda")[:, None]
            how["attn_mask"] = mask[:, None, None, :].contiguous()

        def with_backend(backend, repeated):
            k, v = (x.repeat_interleave(s["group"], 2) for x in (self.k, self.v)) if repeated else (self.k, self.v)

            def call(i):
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(self.q, k[i % self.copies], v[i % self.copies], enable_gqa=not repeated and s["group"] > 1, **how)
            return call
        note = " (padded, masked)" if s["lengths"] != "uniform" else ""
        for name in ("math", "flash_attention", "efficient_attention", "cudnn_attention"):
            backend = getattr(SDPBackend, name.upper())
            yield f"torch sdpa {name.removesuffix('_attention')}{note}", lambda b=backend: with_backend(b, False)
            if s["rows"] > 1 and s["group"] > 1:
                yield f"torch sdpa {name.removesuffix('_attention')}{note}, kv heads repeated", lambda b=backend: with_backend(b, True)
        if s["lengths"] != "uniform":
            yield "torch sdpa nested", self.nested

    def nested(self):
        torch, s = self.torch, self.s
        import torch.nn.functional as F
        # [batch][ragged tokens][heads][dim]; kv heads repeated, since nested tensors take equal heads only
        pack = lambda x: torch.nested.as_nested_tensor([x[b, :, :n].transpose(0, 1).repeat_interleave(s["group"], 1).contiguous() for b, n in enumerate(self.n)], layout=torch.jagged)
        sets = [(pack(self.k[i]), pack(self.v[i])) for i in range(self.copies)]
        q = torch.nested.as_nested_tensor([self.q[b].transpose(0, 1).contiguous() for b in range(s["batch"])], layout=torch.jagged).transpose(1, 2)
        return lambda i: F.scaled_dot_product_attention(q, sets[i % self.copies][0].transpose(1, 2), sets[i % self.copies][1].transpose(1, 2))


class Pages:
    """Pages in a shuffled order, one pool for each copy."""

    def __init__(self, torch, s, copies, page):
        self.torch, self.s, self.copies, self.page = torch, s, copies, page
        self.n = lengths_of(s)
        self.held = [-(-n // page) for n in self.n]
        self.order = list(range(sum(self.held)))
        random.Random(3).shuffle(self.order)
        self.q = 2 * torch.randn((s["batch"] * s["rows"], s["kv_heads"] * s["group"], s["head_dim"]), dtype=torch.bfloat16, device="cuda")

    def pool(self, *shape, dtype=None):
        x = self.torch.randn(shape, dtype=self.torch.bfloat16, device="cuda")
        return x if dtype is None else x.to(dtype)


def flash_attn_calls(torch, s, copies):
    try:
        import flash_attn_interface as three
    except Exception as e:
        yield "flash_attn 3", str(e)
    else:
        yield "flash_attn 3", lambda: flash_attn_paged(torch, s, copies, 64, three.flash_attn_with_kvcache, "page_table")
    try:
        import flash_attn as two
    except Exception as e:
        yield "flash_attn 2", str(e)
    else:
        yield "flash_attn 2", lambda: flash_attn_paged(torch, s, copies, 256, two.flash_attn_with_kvcache, "block_table")


def flash_attn_paged(torch, s, copies, page, function, table_name):
    p = Pages(torch, s, copies, page)
    pools = [(p.pool(len(p.order), page, s["kv_heads"], s["head_dim"]), p.pool(len(p.order), page, s["kv_heads"], s["head_dim"])) for _ in range(copies)]
    table = torch.zeros((s["batch"], max(p.held)), dtype=torch.int32)
    at = 0
    for b, held in enumerate(p.held):
        table[b, :held] = torch.tensor(p.order[at:at + held], dtype=torch.int32)
        at += held
    table, held = table.cuda(), torch.tensor(p.n, dtype=torch.int32, device="cuda")
    q = p.q.view(s["batch"], s["rows"], s["kv_heads"] * s["group"], s["head_dim"])
    return lambda i: function(q, *pools[i % copies], cache_seqlens=held, causal=True, **{table_name: table})


def flashinfer_calls(torch, s, copies):
    try:
        import flashinfer
    except Exception as e:
        yield "FlashInfer", str(e)
        return
    dtype = torch.float8_e4m3fn if s["codec"] == "fp8" else torch.bfloat16
    heads, page = s["kv_heads"] * s["group"], 64

    def prepare(wrapper_of, chunk):
        p = Pages(torch, s, copies, page)
        pools = [p.pool(len(p.order), 2, s["kv_heads"], page, s["head_dim"], dtype=dtype) for _ in range(copies)]
        ints = lambda v: torch.tensor(v, dtype=torch.int32, device="cuda")
        indptr, last = ints([0, *itertools.accumulate(p.held)]), ints([(n - 1) % page + 1 for n in p.n])
        wrapper = wrapper_of(torch.empty(512 << 20, dtype=torch.uint8, device="cuda"))
        if chunk:
            wrapper.plan(ints([b * s["rows"] for b in range(s["batch"] + 1)]), indptr, ints(p.order), last, heads, s["kv_heads"], s["head_dim"], page, causal=True,
                         q_data_type=torch.bfloat16, kv_data_type=dtype)
        else:
            wrapper.plan(indptr, ints(p.order), last, heads, s["kv_heads"], s["head_dim"], page, q_data_type=torch.bfloat16, kv_data_type=dtype)
        return lambda i: wrapper.run(p.q, pools[i % copies])
    if s["rows"] > 1:
        yield "FlashInfer prefill", lambda: prepare(lambda w: flashinfer.BatchPrefillWithPagedKVCacheWrapper(w, "HND"), True)
    else:
        yield "FlashInfer decode, tensor cores", lambda: prepare(lambda w: flashinfer.BatchDecodeWithPagedKVCacheWrapper(w, "HND", use_tensor_cores=True), False)
        yield "FlashInfer decode", lambda: prepare(lambda w: flashinfer.BatchDecodeWithPagedKVCacheWrapper(w, "HND"), False)


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def short(e):
    return " ".join((str(e) or type(e).__name__).split())[:200]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bench", required=True)
    p.add_argument("--rows", required=True)
    p.add_argument("--rounds", type=int, default=4)
    p.add_argument("--seconds", type=float, default=3600)
    p.add_argument("--full", action="store_true")
    a = p.parse_args()
    begin = time.monotonic()
    out = open(a.rows, "w", encoding="utf-8")

    def emit(row):
        out.write(json.dumps(row) + "\n")
        out.flush()
    try:
        import torch
        if not torch.cuda.is_available():
            raise RuntimeError("torch sees no CUDA device")
    except Exception as e:  # everything here passes tensors of torch
        for who in ("torch sdpa", "flash_attn", "FlashInfer"):
            emit({"part": "peers", "who": who, "not_measured": short(e)})
        print(f"peers: not measured: {short(e)}", file=sys.stderr)
        return
    emit({"part": "peers", "versions": {n: version(n) for n in ("torch", "flash-attn", "flashinfer-python", "triton")}, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()})
    torch.set_grad_enabled(False)
    ours = Ours(a.bench)
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    for step in FULL if a.full else QUICK:
        s = completed(step)
        label = {k: s[k] for k in WORDS if k != "layers"}
        if time.monotonic() - begin > a.seconds:
            emit({**label, "who": "peers", "not_measured": "the time ran out"})
            continue
        print(f"peers: {time.monotonic() - begin:.0f} s: {' '.join(f'{k}={v}' for k, v in step.items())}", file=sys.stderr)
        try:
            facts = ours.ask("open " + " ".join(f"{k}={s[k]}" for k in WORDS))
        except Exception as e:
            emit({**label, "who": "quire", "not_measured": short(e)})
            continue
        small = s["part"] == "small"
        held = sum(lengths_of(s)) * s["kv_heads"] * s["head_dim"] * (2 if s["codec"] == "fp8" else 4)
        copies = 30 if small else max(1, min(64, -(-4 * l2 // held)))
        ask = "graph" if small else "time"
        candidates = []
        try:
            padded = Torch(torch, s, copies) if s["codec"] == "bf16" else None
            candidates += list(padded.calls()) if padded else []
        except Exception as e:
            emit({**label, "who": "torch sdpa", "not_measured": short(e)})
        candidates += list(flash_attn_calls(torch, s, copies)) if s["codec"] == "bf16" else []
        candidates += list(flashinfer_calls(torch, s, copies))
        for who, prepare in candidates:
            row = {**label, "who": who, "in_graph": small}
            try:
                if isinstance(prepare, str):
                    raise RuntimeError(prepare)
                call = prepare()
                call(0)
                torch.cuda.synchronize()
                measure = graph_calls(torch, call, copies) if small else (lambda: time_calls(torch, call))
                mine, theirs = [], []
                for _ in range(a.rounds):
                    mine.append(ours.ask(ask)["us"])
                    theirs.append(measure())
                row.update(us=round(statistics.median(theirs), 3), us_rounds=[round(x, 3) for x in theirs], quire_us=round(statistics.median(mine), 3), quire_us_rounds=[round(x, 3) for x in mine],
                           quire_is_faster_by=round(statistics.median(t / m for m, t in zip(mine, theirs)), 3), copies=copies, kv_bytes=held,
                           gb_per_second=round(held / statistics.median(theirs) * 1e-3, 1))
                if s["rows"] > 1:
                    row["tflop_per_second"] = round(facts["products"] / statistics.median(theirs) * 1e-6, 2)
                print(f"  {who:48} {row['us']:10.2f} us, ours {row['quire_us']:10.2f}, faster by {row['quire_is_faster_by']:.2f}", file=sys.stderr)
            except Exception as e:
                row["not_measured"] = short(e)
                print(f"  {who:48} not measured: {row['not_measured'][:100]}", file=sys.stderr)
            emit(row)
            call = measure = None
            torch.cuda.empty_cache()
        candidates = padded = None
        torch.cuda.empty_cache()
        ours.ask("close")
    ours.close()


if __name__ == "__main__":
    main()
