"""Conversations of the Slurm member with a real slurmrestd, recorded once and replayed: for versions of its API that the Slurm of this system
does not speak.

    PYTHONPATH=tests PENSTOCK_SLURM_ROOT=/srv/other-debian python3 -m support.slurm_recording tests/data/slurm v0.0.41 v0.0.42

starts a cluster for each version, runs `converse` on it, and writes conversation_<version>.json: what was sent and answered, and
what nodes and jobs were told as at the end of each stage. A replay answers in the same words, and what it is sent must be
what the real one took."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.slurm_cluster import Node, SlurmCluster
from support.slurm_member import SlurmMember

NODES = [
    Node("n0", "gpu:h100:4,shard:16", "region_eu-de,zone_a,nvlink,hipaa,node_n0"),
    Node("n1", "gpu:h100:4", "region_eu-de,zone_b,nvlink_d7,node_n1"),
    Node("n2", "gpu:1g.10gb:2", "region_us-east,spot,node_n2"),
    Node("n3", features="node_n3"),
]
POOL = "recorded"
FOLDER = "/tmp"  # of the jobs
SLEEP = ["/bin/sleep", "600"]
GANG = [("n0/gpu:h100/2", 1000), ("n0/gpu:h100/3", 1000), ("n1/gpu:h100/0", 1000), ("n1/gpu:h100/1", 1000)]
NO_SUCH_JOB = {"errors": [{"error_number": 2017, "error": "Invalid job id specified"}]}


class _Server:
    """`answer(method, path, body)` gives status and JSON of each request."""

    def __init__(self, answer: Callable[[str, str, Any], tuple[int, Any]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if not self.headers.get("x-slurm-user-name") or self.headers.get("x-slurm-user-token", "").count(".") != 2:
                    status, told = 401, {}
                else:
                    status, told = answer(self.command, self.path, json.loads(body) if body else None)
                data = b"" if status == 304 else json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _do

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def converse(member: SlurmMember, stage: Callable[[str, Callable[[], None]], None]) -> None:
    """The conversation: each stage is what is asked for, and then what comes of it."""

    def start() -> None:
        for uid, parts in ((1, [("n1/gpu:h100/2", 1000)]), (2, [("n0/gpu:h100/0", 500)]), (3, [("n3/cpu", 3000)]), (4, GANG)):
            assert member.start(uid, parts, SLEEP, ["TOKEN=it's one's own"])["status"] == "ok"

    def stop() -> None:
        assert member.stop(1, grace_ms=600000)["status"] == "ok"
        assert member.stop(4, grace_ms=600000)["status"] == "ok"
        assert member.stop(2)["status"] == "ok"

    def fail() -> None:
        assert member.start(5, [("n1/gpu:h100/0", 1000)], ["/bin/bash", "-c", "exit 7"])["status"] == "ok"

    stage("idle", lambda: None)
    member.wait_listed()
    stage("running", start)
    for uid in (1, 2, 3, 4):
        member.wait_phase(uid, "running")
    stage("stopped", stop)
    for uid in (1, 2, 4):
        assert member.wait_phase(uid, "ended", "failed")["phase"] == "ended"
    stage("failed", fail)
    told = member.wait_phase(5, "failed", "ended")
    assert (told["phase"], told["cause"], told["reason"]) == ("failed", "program", "exit status 7")
    assert member.replicas[3]["phase"] == "running"


class Recorder:
    """Stands between the member and a cluster's slurmrestd, and shows of its API one version only."""

    def __init__(self, cluster: SlurmCluster, version: str) -> None:
        self.cluster, self.version = cluster, version
        self.token = cluster.run("scontrol", "token", "lifespan=3600").strip().partition("=")[2]
        self.calls: list[dict[str, Any]] = []
        self.stages: dict[str, dict[str, Any]] = {}
        self._name = ""
        self._server = _Server(self._answer)

    def settings(self) -> dict[str, str]:
        return self.cluster.settings() | {"url": self._server.url}

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"X-SLURM-USER-NAME": "root", "X-SLURM-USER-TOKEN": self.token, "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.cluster.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text else {}

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        status, told = self.ask(method, path, body)
        if path == "/openapi/v3":
            told = {"paths": {name: {} for name in told["paths"] if f"/{self.version}/" in name}}
        if method != "GET":
            self.calls.append({"method": method, "path": path, "body": body, "status": status, "answer": _short(told)})
        return status, told

    def stage(self, name: str, action: Callable[[], None]) -> None:
        """What the stage before has come to is what it has now."""
        self.snapshot()
        self._name = name
        action()

    def snapshot(self) -> None:
        seen = {}
        for what in ("nodes", "jobs") if self.stages else ("diag", "ping", "partitions", "nodes", "jobs"):
            status, told = self.ask("GET", f"/slurm/{self.version}/{what}")
            assert status == 200, told
            seen[what] = _short(told)
        if self._name:
            self.stages[self._name] = seen

    def close(self) -> None:
        self._server.close()


def _short(answer: Any) -> Any:
    return {name: value for name, value in answer.items() if name not in ("meta", "warnings")}


class Replay:
    """Answers as a recording has it: `stages` of it one after the other, calls in any order. `strange` is what the real one was never sent."""

    def __init__(self, recording: dict[str, Any], key_file: Path) -> None:
        self._recording, self._key_file = recording, key_file
        key_file.write_bytes(b"any key will do for one who does not look")
        self._now: dict[str, Any] = {}
        self._told: set[str] = set()
        self.strange: list[str] = []
        self._server = _Server(self._answer)

    def settings(self) -> dict[str, str]:
        return {"url": self._server.url, "user": "root", "key_file": str(self._key_file), "partition": "serve", "working_directory": FOLDER}

    def stage(self, name: str, action: Callable[[], None]) -> None:
        action()
        self._told = set()
        self._now = self._now | self._recording["stages"][name]

    def _call(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        for call in self._recording["calls"]:
            if (call["method"], call["path"], call["body"]) == (method, path, body):
                return call["status"], call["answer"]
        self.strange.append(f"{method} {path} {json.dumps(body)}")
        return 500, {"errors": [{"error": "never recorded"}]}

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        version = self._recording["version"]
        if path == "/openapi/v3":
            return 200, {"paths": {f"/slurm/{version}/nodes/": {}}}
        if method != "GET":
            return self._call(method, path, body)
        what, _, since = path.removeprefix(f"/slurm/{version}/").partition("?update_time=")
        if since and what in self._told:
            return 304, None
        self._told.add(what)
        if what.startswith("job/"):
            return self._job(int(what.removeprefix("job/")))
        return 200, self._now[what]

    def _job(self, number: int) -> tuple[int, Any]:
        found = [job for job in self._now["jobs"]["jobs"] if job["job_id"] == number]
        return (200, {"jobs": found, "errors": []}) if found else (500, NO_SUCH_JOB)

    def close(self) -> None:
        self._server.close()


def _record(cluster: SlurmCluster, version: str, target: Path) -> None:
    recorder = Recorder(cluster, version)
    with SlurmMember(recorder, Path(FOLDER), pool=POOL) as member:
        converse(member, recorder.stage)
        recorder.snapshot()
    recorder.close()
    target.write_text(json.dumps({"version": version, "slurm": ".".join(map(str, cluster.version)), "calls": recorder.calls,
                                  "stages": recorder.stages}, separators=(",", ":")) + "\n")  # fmt: skip


def main(folder: Path, versions: list[str]) -> None:
    for version in versions:
        with tempfile.TemporaryDirectory(prefix="slurm") as scratch, SlurmCluster(Path(scratch), NODES) as cluster:
            _record(cluster, version, folder / f"conversation_{version.rpartition('.')[2]}.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
