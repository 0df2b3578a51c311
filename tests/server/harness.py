# SPDX-License-Identifier: Apache-2.0
"""A quire-server of one's own for a test: started on a free port, watched through /health and /metrics, ended with SIGTERM."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def python_with(package, folder):
    """Runs this very script under a Python that has `package`, in an environment under `folder` that is made once."""
    python = pathlib.Path(folder, "bin", "python")
    if pathlib.Path(sys.prefix).resolve() == pathlib.Path(folder).resolve():
        return
    name = package.split("=")[0]
    if not python.exists() or subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode != 0:
        made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True)
        if made.returncode != 0:
            skip(f"no virtual environment can be made: {made.stderr.strip() or made.stdout.strip()}")
        got = subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", package], capture_output=True, text=True)
        if got.returncode != 0:
            skip(f"the client {package} can't be fetched: {(got.stderr.strip() or got.stdout.strip()).splitlines()[-1]}")
    os.execv(python, [str(python), *sys.argv])


class Server:
    """`with Server(program, model, "--flag", ...) as s`: s.url, s.v1, s.metrics(), s.health(). `environment` adds variables."""

    def __init__(self, program, model, *flags, port=0, environment=None):
        self.key = (environment or {}).get("QUIRE_API_KEY", "")
        self.log = tempfile.TemporaryFile("w+")  # a pipe would fill, and hold up who writes
        self.process = subprocess.Popen([program, "--model", model, "--port", str(port), *flags], stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env={**os.environ, **(environment or {})})
        line = self.process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)/v1 serves (\S+):", line)
        if not found:
            raise RuntimeError(f"the server did not start: {line!r} {self.said()!r}")
        self.host, self.port, self.model = found[1], int(found[2]), found[3]
        self.url = f"http://{self.host}:{self.port}"
        self.v1 = self.url + "/v1"

    def said(self):
        """What it wrote to stderr so far."""
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.process.kill()
            self.process.wait()
        if self.process.poll() is None:
            status, said = self.stop()
            if status != 0:
                raise AssertionError(f"the server ended with status {status}: {said}")
        return False

    def stop(self, how=signal.SIGTERM, wait=60):
        """Exit status and what it wrote to stderr."""
        self.process.send_signal(how)
        return self.ended(wait)

    def ended(self, wait=60):
        """The same of a server that ends by itself."""
        try:
            self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not end: {self.said()}")
        return self.process.returncode, self.said()

    def get(self, path, key=None):
        """The body; `key`: another API key than the server's, an empty one is not shown. Raises urllib.error.HTTPError."""
        key = self.key if key is None else key
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {key}"} if key else {})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def metrics(self):
        """{name or name{labels}: value}"""
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in self.get("/metrics").splitlines() if not line.startswith("#"))}

    def health(self):
        return json.loads(self.get("/health?deep=1"))

    def post(self, path, body, headers=None):
        """(status, headers, body) of a POST; errors are answers too."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def raw(self, data, patience=5):
        """What the server answers to bytes, until it closes or says nothing for `patience` seconds."""
        with socket.create_connection((self.host, self.port), timeout=patience) as s:
            s.sendall(data)
            out = b""
            try:
                while piece := s.recv(65536):
                    out += piece
            except (TimeoutError, ConnectionResetError):
                pass
            return out

    def until(self, condition, patience=20):
        """Waits for a condition on metrics; they are returned."""
        end = time.monotonic() + patience
        while True:
            m = self.metrics()
            if condition(m):
                return m
            if time.monotonic() > end:
                raise AssertionError(f"not in {patience} s: {m}")
            time.sleep(0.02)

    def idle(self, patience=20):
        """Waits until nothing is live, and checks that every page came back and the store is sound."""
        m = self.until(lambda m: m["quire_live"] == 0 and m["quire_running"] == 0, patience)
        assert m["quire_free_pages"] == m["quire_pages"], f"pages are missing: {m['quire_free_pages']} of {m['quire_pages']}"
        assert self.health()["store_check"] is True
        return m

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0
