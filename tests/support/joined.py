"""Replicas on other machines without a pool: a tool that is the gateway's side of them, and the real replicas, as a member starts them."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
from typing import Any

from support.tool_process import find_program

WAIT_SECONDS = 120

CONFIG = """
pool:
  listen: 127.0.0.1:0
  lost_timeout: {lost}
models:
  - name: smollm2
    path: {model}
    max_model_len: 512
    max_loras: 2
    adapters: [{adapters}]
"""


class Joined:
    """`ask` a line of the tool; `start` a replica for a slot. All end with the context."""

    def __init__(self, binary: pathlib.Path, model: object, folder: pathlib.Path, lost: str = "60s") -> None:
        self.binary, self.model, self.folder, self.lost = binary, model, folder, lost
        self.replicas: list[subprocess.Popen[bytes]] = []
        self.lock = threading.Lock()
        self.tool_log = open(folder / "tool.log", "wb")
        self.process = subprocess.Popen([find_program("join_tool"), self.write_config()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.tool_log, text=True)

    def __enter__(self) -> Joined:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.replicas:
            with contextlib.suppress(ProcessLookupError):
                replica.send_signal(signal.SIGTERM)
        for replica in self.replicas:
            try:
                replica.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                replica.kill()
                replica.wait()
        self.close_tool()
        self.tool_log.close()

    def close_tool(self) -> None:
        """The gateway goes, in order."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(WAIT_SECONDS)
        self.process.stdout.close()

    def write_config(self, adapters: str = "") -> pathlib.Path:
        path = self.folder / "asked.yaml"
        path.write_text(CONFIG.format(lost=self.lost, model=self.model, adapters=adapters))
        return path

    def ask(self, *words: object) -> dict[str, Any]:
        with self.lock:
            self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        assert line, f"the tool ended with {self.process.wait()}"
        return json.loads(line)

    def order(self, slot: int = 0, uid: int = 1) -> dict[str, str]:
        return dict(text.split("=", 1) for text in self.ask("order", slot, uid)["environment"])

    def start(self, environment: dict[str, str], *arguments: object) -> subprocess.Popen[bytes]:
        log = self.folder / f"replica-{len(self.replicas)}.log"
        with open(log, "wb") as output:
            replica = subprocess.Popen([self.binary, "replica", "--join", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, env={**os.environ, **environment})
        replica.log = log  # type: ignore[attr-defined]
        self.replicas.append(replica)
        return replica

    def start_ready(self, slot: int = 0, uid: int = 1, *arguments: object) -> subprocess.Popen[bytes]:
        replica = self.start(self.order(slot, uid), *arguments)
        self.wait_for(slot, lambda facts: facts["answered"] > 0, replica)
        return replica

    def wait_for(self, slot: int, is_so: Any, replica: subprocess.Popen[bytes] | None = None) -> dict[str, Any]:
        end = time.monotonic() + WAIT_SECONDS
        while not is_so(facts := self.ask("look", slot)):
            assert time.monotonic() < end, f"{facts}\n{self.logs()}"
            assert replica is None or replica.poll() is None, f"the replica ended with {replica.returncode}\n{self.logs()}"
            time.sleep(0.02)
        return facts

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}" for path in sorted(self.folder.glob("*.log")))

    def complete(self, slot: int = 0, model: str = "smollm2", prompt: str = "The capital of France is", tokens: int = 8) -> str:
        body = json.dumps({"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0})
        answer = self.ask("call", slot, "/v1/completions", body)
        assert answer["code"] == 200, answer
        return json.loads(answer["body"])["choices"][0]["text"]
