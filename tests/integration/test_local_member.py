"""Replicas on this machine: behind walls, on cores of their own, and with nothing of the gateway's that is none of theirs."""
import os
import pathlib
import signal
import time

import httpx
import pytest

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
models:
  - name: smollm2
    path: {model}
    max_model_len: 512
    kv_cache_memory: 64MiB
    replicas: REPLICAS
    placement:
      cores: CORES
pool:
  name: here
  members:
    - name: machine
      kind: local
      local:
        cpu_slices: SLICES
        sandbox: WALLS
"""


def config(replicas=1, cores=1, slices="machine", walls="on"):
    return (CONFIG.replace("REPLICAS", str(replicas)).replace("CORES", str(cores)).replace("SLICES", slices)
            .replace("WALLS", walls))


def ready_pids(server, count):
    """Of all replicas, once so many are ready."""
    end = time.monotonic() + 120
    while True:
        rows = httpx.get(server.admin_url + "/admin/replicas", timeout=10).json()["replicas"]
        pids = [row["pid"] for row in rows if row["state"] == "ready"]
        if len(pids) == count:
            return pids
        assert time.monotonic() < end, rows
        time.sleep(0.05)


def facts(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def cores_of(pid):
    return os.sched_getaffinity(pid)


def answer(server):
    body = {"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    reply = httpx.post(server.url + "/v1/completions", json=body, timeout=120)
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["text"]


def test_replicas_have_walls_and_know_no_secrets(start_gateway):
    server = start_gateway(config(), environment={"MY_SECRET_KEY": "sesame"})
    pid, = ready_pids(server, 1)
    assert "Paris" in answer(server)
    assert (facts(pid)["NoNewPrivs"], facts(pid)["Seccomp"]) == ("1", "2")
    environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    names = {entry.split(b"=", 1)[0].decode() for entry in environment if entry}
    assert "MY_SECRET_KEY" not in names
    assert {"PENSTOCK_POOL", "PENSTOCK_UID", "PATH"} <= names
    assert b"PENSTOCK_POOL=here" in environment


def test_walls_can_be_taken_away(start_gateway):
    server = start_gateway(config(walls="off"))
    pid, = ready_pids(server, 1)
    assert (facts(pid)["NoNewPrivs"], facts(pid)["Seccomp"]) == ("0", "0")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_four_replicas_of_half_a_core_share_two(start_gateway):
    server = start_gateway(config(replicas=4, cores=0.5))
    pids = ready_pids(server, 4)
    cores = [tuple(sorted(cores_of(pid))) for pid in pids]
    threads_of_a_core = min(len(each) for each in cores)
    assert all(len(each) == threads_of_a_core for each in cores), cores
    # Each has a core, and none has more neighbours than it must.
    spread = {each: cores.count(each) for each in cores}
    assert len(spread) >= 2 and max(spread.values()) <= 2, spread
    assert "Paris" in answer(server)


def test_a_replica_alone_has_the_whole_machine(start_gateway):
    server = start_gateway(config(cores=0))
    pid, = ready_pids(server, 1)
    assert cores_of(pid) == os.sched_getaffinity(0)


def test_one_that_is_lost_is_replaced(start_gateway):
    server = start_gateway(config(slices="numa"))
    pid, = ready_pids(server, 1)
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 120
    while ready_pids(server, 1) == [pid]:
        assert time.monotonic() < end
    assert "Paris" in answer(server)
    assert "was ended by signal 9 (SIGKILL)" in server.log_text()
