"""The Slurm member's driver in a process of its own, and what it has told so far."""
from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.slurm_cluster import SlurmCluster
from support.tool_process import find_program

WAIT_SECONDS = 120


class SlurmMember:
    """`slices` is the last complete list, `replicas` the last word about each; `events` everything."""

    def __init__(self, cluster: SlurmCluster, folder: Path, **settings: object) -> None:
        chosen = cluster.settings() | {"working_directory": folder, "poll_ms": 200, "list_ms": 1000}
        chosen.update(settings)
        arguments = [f"{name}={value}" for name, value in chosen.items() if value is not None]
        self.process = subprocess.Popen([find_program("slurm_tool"), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.events: list[dict[str, Any]] = []
        self.slices: dict[str, dict[str, Any]] = {}
        self.replicas: dict[int, dict[str, Any]] = {}
        self.lists = 0
        self._told: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> SlurmMember:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._changed:
                self._take(json.loads(line))
                self._changed.notify_all()

    def _take(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        kind = event["event"]
        if kind == "list_begin":
            self._told = {}
        elif kind == "slice":
            self._told[event["id"]] = event
        elif kind == "list_end":
            self.slices, self.lists = self._told, self.lists + 1
        elif kind == "replica":
            self.replicas[event["uid"]] = event

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + WAIT_SECONDS
        with self._changed:
            while not condition():
                left = end - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    raise TimeoutError(f"{what}; the last events: {self.events[-8:]}")
                self._changed.wait(min(left, 1))

    def wait_listed(self) -> None:
        """Until a list has begun and ended from now on."""
        begun = self.lists
        self.wait(lambda: self.lists > begun, "no list of slices")

    def wait_phase(self, uid: int, *phases: str) -> dict[str, Any]:
        self.wait(lambda: self.replicas.get(uid, {}).get("phase") in phases, f"replica {uid} is never {phases}")
        return self.replicas[uid]

    def do(self, **command: object) -> dict[str, Any]:
        """One order; the driver's answer to it."""
        before = sum(event["event"] == "done" for event in self.events)
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

        def answers() -> list[dict[str, Any]]:
            return [event for event in self.events if event["event"] == "done"]

        self.wait(lambda: len(answers()) > before, f"no answer to {command}")
        return answers()[-1]

    def start(self, uid: int, parts: list[tuple[str, int]], program: list[str], environment: list[str] | None = None,
              memory: int = 100 << 20, time_limit_s: int = 0) -> dict[str, Any]:
        listed = [[slice_id, milli, memory] for slice_id, milli in parts]
        return self.do(do="start", uid=uid, parts=listed, arguments=program, environment=environment or [], time_limit_s=time_limit_s)

    def stop(self, uid: int, grace_ms: int = 0) -> dict[str, Any]:
        return self.do(do="stop", uid=uid, grace_ms=grace_ms)
