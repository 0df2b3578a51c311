#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quire-server against clients that know nothing of it: OpenAI's Python package, and curl where there is one.

usage: client.py PROGRAM MODEL ENVIRONMENT      ENVIRONMENT: a folder for the client's packages, made once
Exit status 0: as expected; 77: skipped, with the reason; anything else: a failure. Only this machine is talked to.
"""
import concurrent.futures
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness

PACKAGE = "openai==3.57.0"
if len(sys.argv) != 4:
    sys.exit(__doc__)
PROGRAM, MODEL, ENVIRONMENT = sys.argv[1:]
if not pathlib.Path(MODEL).is_file():
    harness.skip(f"{MODEL} is absent")
harness.python_with(PACKAGE, ENVIRONMENT)

import openai  # noqa: E402

TIDE = "The tide comes in twice a day because"
GO_ON = {"ignore_eos": True}  # where a text ends depends on a machine's last bits
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def client_of(server, **options):
    return openai.OpenAI(base_url=server.v1, api_key=options.pop("api_key", "none"), max_retries=options.pop("max_retries", 0), timeout=120, **options)


def fails(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


@test
def models(server, client):
    assert [m.id for m in client.models.list()] == [server.model]
    assert client.models.retrieve(server.model).id == server.model
    assert fails(openai.NotFoundError, lambda: client.models.retrieve("gpt-4")).code == "model_not_found"
    assert fails(openai.NotFoundError, lambda: client.completions.create(model="gpt-4", prompt="x")).param == "model"


@test
def streamed_and_whole_answers_agree(server, client):
    whole = client.completions.create(model=server.model, prompt=TIDE, max_tokens=24, temperature=0, extra_body=GO_ON)
    assert whole.choices[0].finish_reason == "length" and whole.usage.completion_tokens == 24 and whole.usage.prompt_tokens == 8
    text, usage, reasons = "", None, []
    for event in client.completions.create(model=server.model, prompt=TIDE, max_tokens=24, temperature=0, extra_body=GO_ON, stream=True, stream_options={"include_usage": True}):
        for choice in event.choices:
            text += choice.text
            reasons.append(choice.finish_reason)
        usage = event.usage or usage
    assert text == whole.choices[0].text and len(text) > 20
    assert reasons[-1] == "length" and not any(reasons[:-1])
    assert usage.total_tokens == whole.usage.total_tokens
    tokens = client.completions.create(model=server.model, prompt=TIDE, max_tokens=24, temperature=0, echo=True, extra_body=GO_ON)
    assert tokens.choices[0].text == TIDE + text


@test
def chats_of_several_turns(server, client):
    messages = [{"role": "system", "content": "You answer in one short sentence."}]
    for ask in ("Name a colour.", "Name another one.", "And a third."):
        messages.append({"role": "user", "content": ask})
        answer = client.chat.completions.create(model=server.model, messages=messages, max_completion_tokens=20, temperature=0)
        streamed = ""
        for event in client.chat.completions.create(model=server.model, messages=messages, max_tokens=20, temperature=0, stream=True):
            assert event.object == "chat.completion.chunk"
            streamed += event.choices[0].delta.content or ""
        assert streamed == answer.choices[0].message.content != ""
        messages.append({"role": "assistant", "content": streamed})
    with client.chat.completions.stream(model=server.model, messages=messages[:2], max_tokens=8, temperature=0) as stream:  # the package's own accumulator
        final = stream.get_final_completion()
    assert final.choices[0].message.role == "assistant" and final.choices[0].finish_reason in ("length", "stop")


def computed(server):
    """Rows computed so far, once nothing runs: an answer is sent from within its last step, which is counted when it is over."""
    return server.until(lambda m: m["quire_running"] == 0)["quire_computed_tokens_total"]


@test
def a_prompt_seen_before_is_not_computed_again(server, client):
    prompt = [i * 37 % 40000 + 300 for i in range(200)]
    def ask():
        before = computed(server)
        got = client.completions.create(model=server.model, prompt=prompt, max_tokens=8, temperature=0, extra_body={"ignore_eos": True})
        return got.choices[0].text, got.usage.prompt_tokens_details.cached_tokens, computed(server) - before
    first, again = ask(), ask()
    assert first == (again[0], 0, 207), first
    assert again[1:] == (192, 15), again  # three tiles of 64


@test
def several_texts_of_one_prompt(server, client):
    before = computed(server)
    got = client.completions.create(model=server.model, prompt=TIDE, n=4, max_tokens=12, seed=7)
    rows = computed(server) - before
    texts = [c.text for c in got.choices]
    assert [c.index for c in got.choices] == [0, 1, 2, 3] and len(set(texts)) > 1
    assert got.usage.prompt_tokens == 8
    # The prompt once; each text's last token is never fed back. A text that ended early by itself feeds back its last one.
    assert rows <= 8 + got.usage.completion_tokens, rows
    alone = client.completions.create(model=server.model, prompt=TIDE, n=1, max_tokens=12, seed=7)
    assert alone.choices[0].text == texts[0]  # beside others or not
    greedy = client.completions.create(model=server.model, prompt=[TIDE, "One, two, three,"], n=2, max_tokens=8, temperature=0)
    assert greedy.choices[0].text == greedy.choices[1].text != greedy.choices[2].text == greedy.choices[3].text
    streamed = [""] * 4
    for event in client.completions.create(model=server.model, prompt=TIDE, n=4, max_tokens=12, seed=7, stream=True):
        for choice in event.choices:
            streamed[choice.index] += choice.text
    assert streamed == texts


@test
def seeds_reproduce_and_batches_do_not_matter(server, client):
    def draw(seed):
        return client.completions.create(model=server.model, prompt=TIDE, max_tokens=20, temperature=1, top_p=0.95, seed=seed).choices[0].text
    alone = [draw(s) for s in range(4)]
    assert len(set(alone)) == 4
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(draw, [s % 4 for s in range(16)]))
    assert together == [alone[s % 4] for s in range(16)]


@test
def stop_strings_are_never_shown(server, client):
    plain = client.completions.create(model=server.model, prompt=TIDE, max_tokens=40, temperature=0).choices[0].text
    for begin in range(0, len(plain) - 6, 3):  # wherever it lies over token boundaries
        stop = plain[begin:begin + 5]
        cut = plain.index(stop)
        whole = client.completions.create(model=server.model, prompt=TIDE, max_tokens=40, temperature=0, stop=stop)
        assert whole.choices[0].text == plain[:cut] and whole.choices[0].finish_reason == "stop", (stop, whole)
    stop = [plain[9:14], "never there"]
    text = "".join(e.choices[0].text for e in client.completions.create(model=server.model, prompt=TIDE, max_tokens=40, temperature=0, stop=stop, stream=True))
    assert text == plain[:plain.index(stop[0])]


@test
def logprobs_of_both_kinds(server, client):
    got = client.completions.create(model=server.model, prompt=TIDE, max_tokens=6, temperature=0, logprobs=3).choices[0]
    assert "".join(got.logprobs.tokens) == got.text
    for chosen, top, offset, token in zip(got.logprobs.token_logprobs, got.logprobs.top_logprobs, got.logprobs.text_offset, got.logprobs.tokens):
        assert len(top) == 3 and max(top.values()) == chosen < 0 and got.text[offset:].startswith(token)
    chat = client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": "Hi"}], max_tokens=6, temperature=0, logprobs=True, top_logprobs=2)
    content = chat.choices[0].logprobs.content
    assert "".join(t.token for t in content) == chat.choices[0].message.content
    for t in content:
        assert len(t.top_logprobs) == 2 and t.top_logprobs[0].logprob == t.logprob and bytes(t.bytes).decode() == t.token
    streamed = []
    for event in client.completions.create(model=server.model, prompt=TIDE, max_tokens=6, temperature=0, logprobs=3, stream=True):
        streamed += event.choices[0].logprobs.token_logprobs
    assert streamed == got.logprobs.token_logprobs


@test
def biases_and_penalties_change_the_text(server, client):
    def text(**options):
        return client.completions.create(model=server.model, prompt=TIDE, max_tokens=12, temperature=0, **options).choices[0].text
    plain = text()
    assert text(presence_penalty=2, frequency_penalty=2) != plain or len(set(plain.split())) == len(plain.split())
    forced = client.completions.create(model=server.model, prompt=TIDE, max_tokens=3, temperature=0, logit_bias={"30": 100}, logprobs=0).choices[0]
    assert len(set(forced.logprobs.tokens)) == 1
    assert text(extra_body={"top_k": 1, "min_p": 0.5, "repetition_penalty": 1.0}) == plain
    assert text(extra_body={"repetition_penalty": 1.8}) != plain


@test
def characters_are_whole_in_every_event(server, client):
    text = ""
    for event in client.completions.create(model=server.model, prompt="Emoji: \U0001f600\U0001f601\U0001f602 \u4f60\u597d", max_tokens=40, temperature=1.5, seed=3, stream=True):
        event.choices[0].text.encode()  # a lone surrogate would raise
        text += event.choices[0].text
    whole = client.completions.create(model=server.model, prompt="Emoji: \U0001f600\U0001f601\U0001f602 \u4f60\u597d", max_tokens=40, temperature=1.5, seed=3)
    assert whole.choices[0].text == text


@test
def errors_say_what_is_wrong(server, client):
    error = fails(openai.BadRequestError, lambda: client.completions.create(model=server.model, prompt="x", temperature=3))
    assert error.param == "temperature" and "allowed a number from 0 to 2" in error.message and error.type == "invalid_request_error"
    assert fails(openai.BadRequestError, lambda: client.completions.create(model=server.model, prompt="x " * 6000, max_tokens=5)).code == "context_length_exceeded"
    assert fails(openai.BadRequestError, lambda: client.completions.create(model=server.model, prompt="x", max_tokens=4096)).code == "context_length_exceeded"
    assert fails(openai.BadRequestError, lambda: client.completions.create(model=server.model, prompt=[1, 49152])).param == "prompt"
    assert fails(openai.BadRequestError, lambda: client.chat.completions.create(model=server.model, messages=[{"role": "wizard", "content": "x"}])).param == "messages[0].role"
    for path, method, status in (("/v1/completions", "GET", 405), ("/v1/nothing", "POST", 404), ("/", "GET", 404), ("/metrics", "DELETE", 405)):
        first = server.raw(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert first.startswith(f"HTTP/1.1 {status} ".encode()), (path, first)
    assert b"Allow: POST" in server.raw(b"GET /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    for head, status in ((b"", 411), (b"Content-Length: x\r\n", 400), (b"Content-Length: -1\r\n", 400), (b"Content-Length: 99999999999\r\n", 413),
                         (b"Content-Length: 99999999999999999999999\r\n", 413), (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", 400)):
        answer = server.raw(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n{}")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (head, answer)
        assert b'{"error":{"message":' in answer
    for garbage in (b"\r\n\r\n", b"\x00\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\n" + b"A: " + b"b" * 100000 + b"\r\n\r\n"):
        server.raw(garbage, patience=2)
    big = b'{"prompt":"' + b"x" * (9 << 20) + b'"}'
    try:
        status, _, body = server.post("/v1/completions", big)
        assert status == 413 and json.loads(body)["error"]["code"] == "body_too_large"
    except (ConnectionError, OSError):
        pass  # it may close before everything was sent
    chunked = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    body = json.dumps({"prompt": TIDE, "max_tokens": 2}).encode()
    answer = server.raw(chunked + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n", patience=30)
    assert answer.startswith(b"HTTP/1.1 200 "), answer


@test
def many_sessions_at_once(server, client):
    def session(i):
        messages, texts = [{"role": "user", "content": f"Count from {i}."}], []
        for _ in range(2):
            if i % 2:
                parts = [e.choices[0].delta.content or "" for e in client.chat.completions.create(model=server.model, messages=messages, max_tokens=12, temperature=0, stream=True)]
                texts.append("".join(parts))
            else:
                texts.append(client.chat.completions.create(model=server.model, messages=messages, max_tokens=12, temperature=0).choices[0].message.content)
            messages += [{"role": "assistant", "content": texts[-1]}, {"role": "user", "content": "Go on."}]
        return texts
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        together = list(pool.map(session, range(64)))
    assert together[5] == session(5) and together[40] == session(40)


@test
def a_client_that_leaves_frees_its_pages(server, client):
    server.idle()
    before = server.metrics()
    stream = client.completions.create(model=server.model, prompt=TIDE, max_tokens=3000, temperature=0, stream=True, extra_body={"ignore_eos": True})
    for _, event in zip(range(5), stream):
        pass
    busy = server.metrics()
    assert busy["quire_free_pages"] < busy["quire_pages"] and busy["quire_live"] == 1
    stream.close()
    began = time.monotonic()
    server.idle(5)
    print(f"  pages back {time.monotonic() - began:.2f} s after a stream was closed")
    # One that waits for a whole answer leaves too, and one that is still in the queue.
    body = json.dumps({"prompt": TIDE, "max_tokens": 3000, "ignore_eos": True}).encode()
    request = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    sockets = []
    for _ in range(40):  # more than can run
        s = socket.create_connection((server.host, server.port))
        s.sendall(request)
        sockets.append(s)
    server.until(lambda m: m["quire_live"] == 40 and m["quire_waiting"] > 0)
    for s in reversed(sockets):
        s.close()
    server.idle(10)
    after = server.metrics()
    assert after['quire_texts_total{reason="disconnect"}'] - before['quire_texts_total{reason="disconnect"}'] == 41


def curl(server):
    if shutil.which("curl") is None:
        print("  curl is absent: left out")
        return
    def run(*arguments):
        return subprocess.run(["curl", "-sS", "--max-time", "60", *arguments], capture_output=True, text=True, check=True).stdout
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "temperature": 0, "stream": True})
    lines = [l for l in run("-N", server.v1 + "/chat/completions", "-H", "Content-Type: application/json", "-d", body).split("\n\n") if l]
    assert lines[-1] == "data: [DONE]" and all(l.startswith("data: ") for l in lines)
    text = "".join(json.loads(l[6:])["choices"][0]["delta"].get("content", "") for l in lines[:-1])
    whole = json.loads(run(server.v1 + "/chat/completions", "-d", body.replace("true", "false")))
    assert whole["choices"][0]["message"]["content"] == text
    two = run(server.v1 + "/models", server.url + "/health")  # one connection
    assert server.model in two and '"ok"' in two


def policies():
    """Deadlines that can't be met are refused at once; priorities and tenants are read; every policy serves."""
    flags = ["--admission", "deadline", "--prefill-rate", "1000", "--decode-rate", "100", "--order", "fair", "--weight", "gold=3", "--log"]
    with harness.Server(PROGRAM, MODEL, *flags) as server:
        client = client_of(server)
        def ask(**headers):
            return client.completions.create(model=server.model, prompt=TIDE, max_tokens=20, extra_headers={k.replace("_", "-"): v for k, v in headers.items()})
        assert ask(x_deadline_ms="60000", x_tenant="gold").choices
        error = fails(openai.RateLimitError, lambda: ask(x_deadline_ms="100"))
        assert error.code == "deadline" and "milliseconds" in error.message, error.message
        assert fails(openai.BadRequestError, lambda: ask(x_priority="high")).param == "x-priority"
        server.idle()
        _, said = server.stop()
        assert "tenant='gold'" in said and " 429 " in said, said
    expected = None
    for flags in (["--order", "fair-priority", "--batching", "chunked-apart", "--admission", "watermark", "--victim", "lowest-priority"],
                  ["--order", "priority", "--preempt-for-priority", "--batching", "prefill-first", "--victim", "least-lost-work", "--preemption", "cheaper"],
                  ["--order", "shortest-prefill", "--batching", "memory-centric", "--admission", "projected", "--preemption", "swap", "--swap", "16", "--kv-tokens", "512", "--prefix-cache", "0"]):
        with harness.Server(PROGRAM, MODEL, *flags) as server:
            client = client_of(server)
            def ask(i):
                return client.completions.create(model=server.model, prompt=f"{i}. " + TIDE * (1 + i % 5), max_tokens=30, seed=i, extra_headers={"x-priority": str(i % 3)}).choices[0].text
            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                texts = list(pool.map(ask, range(12)))
            assert expected in (None, texts)  # whatever the policy
            expected = texts
            server.idle()


def limits():
    """What happens at the edges: a full queue, a slow reader, a wrong key, too many connections."""
    with harness.Server(PROGRAM, MODEL, "--max-running", "2", "--max-waiting", "2", "--stream-buffer", "8", "--stall", "1", "--max-connections", "24",
                        environment={"QUIRE_API_KEY": "secret"}) as server:
        assert fails(openai.AuthenticationError, lambda: client_of(server, api_key="wrong").models.list()).code == "invalid_api_key"
        client = client_of(server, api_key="secret")
        assert json.loads(server.get("/health", key=""))["status"] == "ok"
        assert "quire_live" in server.get("/metrics", key="")
        for key in ("", "wrong"):
            try:
                raise AssertionError(server.get("/health?deep=1", key))
            except urllib.error.HTTPError as error:
                assert error.code == 401, error
        assert server.health()["store_check"] is True
        client.models.list()

        held = [client.completions.create(model=server.model, prompt=TIDE, max_tokens=3000, stream=True, extra_body={"ignore_eos": True}) for _ in range(4)]
        error = fails(openai.RateLimitError, lambda: client.completions.create(model=server.model, prompt="x", max_tokens=1))
        assert error.code == "queue_full" and error.response.headers["Retry-After"] == "1"
        for stream in held:
            stream.close()
        server.idle()
        client_of(server, api_key="secret", max_retries=2).completions.create(model=server.model, prompt="x", max_tokens=1)

        body = json.dumps({"prompt": TIDE, "max_tokens": 3000, "ignore_eos": True, "stream": True, "logprobs": 20}).encode()
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((server.host, server.port))
            slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            m = server.until(lambda m: m['quire_texts_total{reason="slow_reader"}'] == 1, 60)  # it never reads
            other = client.completions.create(model=server.model, prompt=TIDE, max_tokens=4)  # and holds up nobody
            assert other.usage.completion_tokens == 4
        server.idle()

        idle = [socket.create_connection((server.host, server.port)) for _ in range(40)]
        assert json.loads(server.get("/health"))["status"] == "ok"  # idle connections give way
        for s in idle:
            s.close()
        assert server.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n", patience=1) == b""  # a request that never ends holds up nobody either


def draining():
    """SIGTERM: what runs finishes, what is new is refused; the deadline cuts; a killed server starts again clean."""
    server = harness.Server(PROGRAM, MODEL)
    client = client_of(server)
    stream = iter(client.completions.create(model=server.model, prompt=TIDE, max_tokens=150, temperature=0, stream=True, extra_body={"ignore_eos": True}))
    next(stream)
    server.process.send_signal(signal.SIGTERM)
    end = time.monotonic() + 5
    while True:
        status, headers, body = server.post("/v1/completions", {"prompt": "x"})
        if status == 503 or time.monotonic() > end:
            break
    assert status == 503 and json.loads(body)["error"]["code"] == "shutting_down", (status, body)
    events = list(stream)
    assert events[-1].choices[0].finish_reason == "length" and len(events) > 50
    status, said = server.ended()
    assert status == 0 and "0 texts cut short" in said and "store sound" in said, said

    server = harness.Server(PROGRAM, MODEL, "--drain", "0.3")
    stream = iter(client_of(server).completions.create(model=server.model, prompt=TIDE, max_tokens=3000, stream=True, extra_body={"ignore_eos": True}))
    next(stream)
    error = None
    killer = threading.Timer(0.1, lambda: server.process.send_signal(signal.SIGINT))
    killer.start()
    try:
        for _ in stream:
            pass
    except openai.APIError as e:
        error = e
    assert error is not None and "shutting down" in error.message, error
    status, said = server.ended()
    assert status == 0 and "1 texts cut short" in said and "store sound" in said, said

    server = harness.Server(PROGRAM, MODEL)
    port = server.port
    stream = iter(client_of(server).completions.create(model=server.model, prompt=TIDE, max_tokens=3000, stream=True))
    next(stream)
    server.process.kill()
    server.process.wait()
    with harness.Server(PROGRAM, MODEL, port=port) as again:  # the same port, at once
        assert again.port == port and again.health()["store_check"] is True
        assert client_of(again).completions.create(model=again.model, prompt=TIDE, max_tokens=2).usage.completion_tokens == 2


def main():
    began = time.monotonic()
    with harness.Server(PROGRAM, MODEL) as server:
        for function in TESTS:
            at = time.monotonic()
            function(server, client_of(server))
            server.idle()
            print(f"ok {function.__name__} ({time.monotonic() - at:.1f} s)", flush=True)
        curl(server)
        print("ok curl", flush=True)
    for function in (policies, limits, draining):
        at = time.monotonic()
        function()
        print(f"ok {function.__name__} ({time.monotonic() - at:.1f} s)", flush=True)
    print(f"all passed in {time.monotonic() - began:.0f} s with openai {openai.__version__}")


main()
