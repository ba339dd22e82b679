"""As many replicas as the load needs, on cores of this machine: from none to four and back, and nobody is refused meanwhile."""
import os
import signal
import time

import httpx
import pytest

from support.load import Load

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
upstream: {retries: 4}
supervise: {backoff_first: 10ms, backoff_max: 100ms}
models:
  - name: smollm2
    path: {model}
    max_model_len: 512
    kv_cache_memory: 64MiB
    max_num_seqs: 2
    autoscale: {min: 0, max: 4, idle: 2s, down: 1s, load: 0.1}
    placement: {cores: 0.5}
"""
PLACED = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
models:
  - name: placed
    path: {model}
    max_model_len: 512
    kv_cache_memory: 64MiB
    placement: {labels: [eu], forbidden: [shared], price_max: 1.0}
  - name: anywhere
    path: {model}
    max_model_len: 512
    kv_cache_memory: 64MiB
pool:
  members:
    - name: machine
      kind: local
      labels: LABELS
      local: {core_price: PRICE}
"""
PATIENCE_S = 240  # of what must come on a busy machine


def replicas(server):
    return httpx.get(server.admin_url + "/admin/replicas", timeout=30).json()["replicas"]


def ready_pids(server):
    return [row["pid"] for row in replicas(server) if row["state"] == "ready"]


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


def wait_for_count(server, count, load=None):
    wait_until(lambda: len(ready_pids(server)) == count or (load is not None and load.failures),
               lambda: (replicas(server), httpx.get(server.admin_url + "/admin/scaling", timeout=30).text))
    assert load is None or not load.failures, load.failures


def ask(server, max_tokens):
    body = {"model": "smollm2", "prompt": "Once upon a time there was a river", "max_tokens": max_tokens, "ignore_eos": True}
    return httpx.post(server.url + "/v1/completions", json=body, timeout=120)


def client(server):
    def run(load):
        while not load.is_over():
            reply = ask(server, 48)
            tokens = reply.json()["usage"]["completion_tokens"] if reply.status_code == 200 else 0
            if tokens == 48:
                load.count("answers")
            else:
                load.fail(f"{reply.status_code} {reply.text}")
    return run


def test_from_none_to_four_and_back_with_no_request_lost(start_gateway):
    server = start_gateway(CONFIG)
    assert not ready_pids(server)
    assert ask(server, 4).status_code == 200  # waited for the first replica's start
    assert ready_pids(server)
    with Load(*[client(server) for _ in range(16)]) as load:
        wait_for_count(server, 4, load)
        os.kill(ready_pids(server)[0], signal.SIGKILL)
        load.wait_for(20)
        wait_for_count(server, 4, load)
    assert not load.failures, load.failures
    wait_for_count(server, 0)  # the load of the last minute counts, so this takes a minute


def placed_config(labels, price):
    return PLACED.replace("LABELS", labels).replace("PRICE", str(price))


def states(server, state):
    """The models whose replica is in this state."""
    try:
        return [row["model"] for row in replicas(server) if row["state"] == state]
    except httpx.TransportError:
        return []  # not yet listening


def test_a_replica_goes_where_labels_and_price_let_it(start_gateway):
    server = start_gateway(placed_config("[eu, private]", 0.01))
    assert states(server, "ready") == ["placed", "anywhere"]


@pytest.mark.parametrize("labels, price", [("[us]", 0.01), ("[eu, shared]", 0.01), ("[eu]", 1000)],
                         ids=["not there", "forbidden", "too dear"])
def test_it_waits_where_they_do_not(start_gateway, labels, price):
    server = start_gateway(placed_config(labels, price), wait=False)
    wait_until(lambda: "anywhere" in states(server, "ready"), server.log_tail)
    # The other has been looked at, too: it was wanted before.
    assert states(server, "placing") == ["placed"]
