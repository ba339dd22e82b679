"""Whoever may hold no more than a share of the KV cache waits when it is used up, and others pass."""
import os
import signal

import httpx
import pytest

from support.observe import metric_of, wait_until
from test_gateway_faults import replicas_of
from test_waiting_room import Ask, hash_of, waiting

# The cache has room for four requests of 2,048 tokens; ann's share is one of them.
SHARES = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
supervise:
  heartbeat_timeout: 1h
  stall_timeout: 1h
auth:
  keys:
    - name: ann
      sha256: %s
    - name: bob
      sha256: %s
tenants:
  limits:
    - {key: ann, kv_share: 0.25}
models:
  - name: smollm2
    path: {model}
    max_model_len: 2048
    max_num_seqs: 4
    kv_cache_memory: 180MiB  # 8,192 tokens of 23,040 bytes
"""
LONG = "river mill stone " * 370  # 1,110 tokens: one is in the share, two are not


@pytest.fixture(scope="module")
def shares(module_servers):
    return module_servers[0](SHARES % (hash_of("ann-key"), hash_of("bob-key")))


def waits(server):
    return metric_of(server, "penstock_queue_kv_share_waits_total", model="smollm2")


def slots_used(server):
    return metric_of(server, "penstock_queue_slots_used", model="smollm2")


def hold_share(server):
    """Two requests of ann, of which the first runs, in a replica that is stopped, and the second waits for its share."""
    pid = replicas_of(server)[0]["pid"]
    while True:
        first = Ask(server, "first", prompt=LONG, max_tokens=900)
        assert first.has_begun.wait(60)
        os.kill(pid, signal.SIGSTOP)
        second = Ask(server, "second", prompt="More: " + LONG)
        wait_until(lambda: waiting(server) == 1 or not first.is_alive())
        if waiting(server) == 1:
            return first, second, pid
        os.kill(pid, signal.SIGCONT)  # the first had ended before the replica was stopped
        second.join(60)


def test_who_holds_its_share_of_the_cache_waits_and_others_pass(shares):
    first, second, pid = hold_share(shares)
    try:
        assert waits(shares) >= 1
        other = Ask(shares, "other", key="bob", prompt=LONG)
        wait_until(lambda: slots_used(shares) == 2)
        assert waiting(shares) == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    for one in (first, second, other):
        one.join(60)
        assert one.answer.status_code == 200 and "data: [DONE]" in one.lines
    assert "x-queue-wait-ms" in second.answer.headers
    assert "x-queue-wait-ms" not in other.answer.headers
    wait_until(lambda: slots_used(shares) == 0)


def test_a_request_that_is_larger_than_the_share_is_refused(shares):
    body = {"model": "smollm2", "prompt": "river mill stone " * 1500, "max_tokens": 8}
    refused = httpx.post(shares.url + "/v1/completions", json=body, headers={"authorization": "Bearer ann-key"}, timeout=60)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["code"] == "kv_share_exceeded"
    assert "share" in refused.json()["error"]["message"]
    assert metric_of(shares, "penstock_queue_refusals_total", model="smollm2", reason="kv_share") == 1
