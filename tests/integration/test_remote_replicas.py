"""Replicas on other machines behind a real gateway: a Slurm cluster of this test's own runs them as jobs, over loopback."""
from __future__ import annotations

import json
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from support.lora_folder import write_lora
from support.observe import metric_of, wait_until
from support.servers import Server
from support.slurm_cluster import SlurmCluster, cpu_nodes, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
supervise: {backoff_first: 50ms, heartbeat_timeout: 2s, stall_timeout: 1s}
pool:
  listen: 127.0.0.1:0
  members:
    - name: alpha
      kind: slurm
      program: PROGRAM
      slurm: SLURM
models:
  - name: smollm2
    path: MODEL
    max_model_len: 512
    threads: 1
    replicas: REPLICAS
    max_loras: 2
    allow_runtime_lora_updating: true
    adapters: [ADAPTERS]
"""
WAIT_SECONDS = 120
LONG = {"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 200, "temperature": 0, "stream": True, "ignore_eos": True}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with SlurmCluster(tmp_path_factory.mktemp("alpha"), cpu_nodes("a", 2, cpus=4), "alpha") as it:
        yield it


@pytest.fixture
def start(start_gateway: Callable[..., Server], cluster: SlurmCluster, penstock_binary: pathlib.Path, model_path: pathlib.Path,
          tmp_path: pathlib.Path) -> Iterator[Callable[..., Server]]:
    def begin(replicas: int = 1, model: object = None, adapters: str = "", wait: bool = True) -> Server:
        settings = {**cluster.settings(), "working_directory": str(tmp_path)}
        text = CONFIG.replace("PROGRAM", str(penstock_binary)).replace("SLURM", json.dumps({k: str(v) for k, v in settings.items()}))
        text = text.replace("MODEL", str(model or model_path)).replace("REPLICAS", str(replicas)).replace("ADAPTERS", adapters)
        return start_gateway(text, wait=wait)

    yield begin


def complete(gateway: Server, model: str = "smollm2", **fields: Any) -> str:
    body = {"model": model, "prompt": "The capital of France is", "max_tokens": 16, "temperature": 0, **fields}
    answer = httpx.post(gateway.url + "/v1/completions", json=body, timeout=WAIT_SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def stream(gateway: Server, at: int = 0, then: Callable[[], object] = lambda: None) -> str:
    """The text of a long answer; `then` is called when `at` events of it have come."""
    text, count = "", 0
    with httpx.stream("POST", gateway.url + "/v1/completions", json=LONG, timeout=WAIT_SECONDS) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            assert "error" not in event, event
            text += event["choices"][0]["text"] if event["choices"] else ""
            count += 1
            if count == at:
                then()
    return text


def jobs_of(gateway: Server) -> list[int]:
    """Processes of the replicas that serve this gateway: the only ones that know where it listens."""
    authority = next(line for line in gateway.log_text().splitlines() if "register at" in line).split("register at ")[1].split()[0]
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--join" in words and words[0].endswith(b"penstock") and f"PENSTOCK_JOIN_URL=https://{authority}".encode() in environment:
            found.append(int(folder.name))
    return found


def test_a_job_of_a_cluster_answers_for_the_gateway(start: Callable[..., Server], cluster: SlurmCluster) -> None:
    gateway = start()
    assert complete(gateway)
    (replica,) = gateway.replicas()
    assert replica["state"] == "ready" and replica["address"].startswith("https://127.0.0.1:")
    assert len(jobs_of(gateway)) == 1
    models = httpx.get(gateway.url + "/v1/models", timeout=WAIT_SECONDS).json()
    assert [row["id"] for row in models["data"]] == ["smollm2"]
    gateway.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: "upgrade refused: pool.listen is set" in gateway.log_text(), WAIT_SECONDS)
    assert complete(gateway)
    gateway.stop()
    wait_until(lambda: not cluster.live_jobs(), WAIT_SECONDS)


def process_of(gateway: Server, address: str) -> int:
    """The job that listens there."""
    port = f":{int(address.rsplit(':', 1)[1]):04X}"
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] == "0A"}
    for pid in jobs_of(gateway):
        if any(os.readlink(link) in sockets for link in pathlib.Path(f"/proc/{pid}/fd").iterdir()):
            return pid
    raise AssertionError(f"nobody listens at {address}")


def strike_busy(gateway: Server, number: int) -> None:
    """The answer may have ended meanwhile: then nobody is busy."""
    for replica in gateway.replicas():
        if replica["outstanding"] > 0 and replica["state"] == "ready":
            os.kill(process_of(gateway, replica["address"]), number)


@pytest.mark.parametrize("number", [
    signal.SIGKILL,  # connections are reset
    signal.SIGSTOP,  # they stay, and nothing comes: as if the network had gone
])
def test_a_stream_goes_on_elsewhere_when_its_replica_is_lost(start: Callable[..., Server], number: int) -> None:
    gateway = start(replicas=2)
    gateway.wait_for_replicas()
    whole = stream(gateway)
    for tries in range(20):  # the answer may be whole before it, on a busy machine
        restarts = sum(replica["restarts"] for replica in gateway.replicas())
        resumed = metric_of(gateway, "penstock_stream_continuations_total", outcome="resumed")
        assert stream(gateway, 5, lambda: strike_busy(gateway, number)) == whole
        if metric_of(gateway, "penstock_stream_continuations_total", outcome="resumed") > resumed:
            gateway.wait_for_replicas(restarts=restarts + 1)
            assert stream(gateway) == whole
            return
    raise AssertionError("none was struck in time")


def test_adapters_reach_replicas_elsewhere(start: Callable[..., Server], tmp_path: pathlib.Path) -> None:
    first, second = (write_lora(tmp_path / name, seed) for seed, name in enumerate(("first", "second"), 1))
    gateway = start(adapters=f"{{name: first, path: {first}}}")
    plain = complete(gateway)
    assert complete(gateway, "first", max_tokens=24) != complete(gateway, max_tokens=24)
    answer = httpx.post(gateway.url + "/v1/load_lora_adapter", json={"lora_name": "late", "lora_path": str(second)}, timeout=WAIT_SECONDS)
    assert answer.status_code == 200, answer.text
    late = complete(gateway, "late", max_tokens=24)
    os.kill(jobs_of(gateway)[0], signal.SIGKILL)  # the next one is told of it too
    gateway.wait_for_replicas(restarts=1)
    assert complete(gateway, "late", max_tokens=24) == late
    text = gateway.config.read_text().replace(f"{{name: first, path: {first}}}", "")
    gateway.config.write_text(text)
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload: done" in gateway.log_text(), WAIT_SECONDS)
    (pid,) = jobs_of(gateway)
    wait_until(lambda: httpx.post(gateway.url + "/v1/completions", json={"model": "first", "prompt": "x"}, timeout=30).status_code == 404,
               WAIT_SECONDS)
    assert complete(gateway) == plain
    assert jobs_of(gateway) == [pid]


def test_stored_answers_are_found_where_they_are(start: Callable[..., Server]) -> None:
    gateway = start(replicas=2)
    gateway.wait_for_replicas()
    for number in range(4):
        body = {"model": "smollm2", "input": f"Say {number}", "max_output_tokens": 8, "store": True}
        answer = httpx.post(gateway.url + "/v1/responses", json=body, timeout=WAIT_SECONDS)
        assert answer.status_code == 200, answer.text
        found = httpx.get(gateway.url + "/v1/responses/" + answer.json()["id"], timeout=WAIT_SECONDS)
        assert found.status_code == 200 and found.json()["output"] == answer.json()["output"]


def test_why_a_replica_cannot_serve_is_told_to_the_operator(start: Callable[..., Server], tmp_path: pathlib.Path) -> None:
    there = tmp_path / "not-on-this-machine.gguf"
    gateway = start(model=there, wait=False)
    wait_until(lambda: gateway.is_running() and str(there) in next(iter(reasons(gateway)), ""), WAIT_SECONDS)
    assert "smollm2#0 cannot serve: " in gateway.log_text()


def reasons(gateway: Server) -> list[str]:
    try:
        return [replica["last_failure"] or "" for replica in gateway.replicas()]
    except OSError:
        return []
