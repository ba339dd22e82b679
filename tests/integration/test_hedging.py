"""Streaming requests whose replica does not answer get a second one, for classes that ask for it."""
import hashlib
import os
import signal
import threading

import httpx
import pytest

from test_gateway_faults import metric_of, replicas_of, wait_until

KEYS = {name: f"sk-{name}" for name in ("swift", "patient")}
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
auth:
  keys:
    - {name: swift, organisation: fast-lane, sha256: SWIFT}
    - {name: patient, organisation: batch, sha256: PATIENT}
tenants:
  expected_output_tokens: 4
  limits: [{key: swift, tokens_per_day: 10000}]
upstream: {retry_burst: BURST, retry_budget: 0}
routing: {policy: round_robin}
supervise: {heartbeat_timeout: 1h, stall_timeout: 1h}
models:
  - name: smollm2
    path: {model}
    replicas: 2
    threads: 1
    max_model_len: 1024
    hedge: HEDGE
""".replace("SWIFT", hashlib.sha256(b"sk-swift").hexdigest()).replace("PATIENT", hashlib.sha256(b"sk-patient").hexdigest())
AT_ONCE = "{after: 200ms, organisations: fast*}"


def start(start_gateway, hedge=AT_ONCE, burst=16):
    server = start_gateway(CONFIG.replace("HEDGE", hedge).replace("BURST", str(burst)))
    wait_until(lambda: all(replica["state"] == "ready" for replica in replicas_of(server)))
    return server


def hedged(server, outcome):
    return metric_of(server, "penstock_hedged_requests_total", model="smollm2", outcome=outcome)


def ask(server, key="swift", stream=True, **fields):
    """(status, lines) of a short answer."""
    body = {"model": "smollm2", "prompt": "Hello", "max_tokens": 4, "ignore_eos": True, "temperature": 0, "stream": stream, **fields}
    answer = httpx.post(server.url + "/v1/completions", json=body, headers={"authorization": f"Bearer {KEYS[key]}"}, timeout=120)
    return answer, answer.text.splitlines()


class Asker(threading.Thread):
    def __init__(self, server, **fields):
        super().__init__(daemon=True)
        self.server, self.fields, self.answer, self.lines = server, fields, None, []
        self.start()

    def run(self):
        self.answer, self.lines = ask(self.server, **self.fields)


@pytest.fixture
def stop_one():
    """Stops a replica; it goes on when the test ends at the latest."""
    stopped = []

    def stop(server):
        pid = replicas_of(server)[0]["pid"]
        stopped.append(pid)
        os.kill(pid, signal.SIGSTOP)
        return pid

    yield stop
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)


def outstanding(server, pid):
    return next(replica["outstanding"] for replica in replicas_of(server) if replica["pid"] == pid)


def remaining(server):
    """Tokens of the day that are left."""
    answer = httpx.post(server.url + "/tokenize", json={"model": "smollm2", "prompt": "a"},
                        headers={"authorization": f"Bearer {KEYS['swift']}"}, timeout=60)
    return int(answer.headers["x-ratelimit-remaining-tokens"])


def test_another_replica_answers_for_one_that_does_not(start_gateway, stop_one):
    server = start(start_gateway)
    left, used = remaining(server), 0
    pid = stop_one(server)
    while hedged(server, "won") < 2:  # every other request goes to the replica that is stopped
        answer, lines = ask(server, stream_options={"include_usage": True})
        assert answer.status_code == 200 and lines[-2] == "data: [DONE]"
        used += 5
        assert outstanding(server, pid) == 0  # it has been taken back
    assert hedged(server, "failed") == hedged(server, "refused") == 0
    assert metric_of(server, "penstock_wasted_tokens_total", model="smollm2", reason="hedged") > 0
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: remaining(server) == left - used)  # nothing was paid twice


def test_the_first_to_answer_has_it(start_gateway, stop_one):
    """Both have the request, and the replica that had it first answers: the copy is taken back."""
    server = start(start_gateway)
    first, second = [replica["pid"] for replica in replicas_of(server)]
    try:
        while hedged(server, "lost") == 0:  # the copy may answer first all the same
            for pid in (first, second):
                os.kill(pid, signal.SIGSTOP)
            asker = Asker(server)
            wait_until(lambda: outstanding(server, first) == outstanding(server, second) == 1)
            os.kill(first, signal.SIGCONT)
            asker.join(120)
            assert asker.answer.status_code == 200 and asker.lines[-2] == "data: [DONE]"
            os.kill(second, signal.SIGCONT)
            wait_until(lambda: outstanding(server, first) == outstanding(server, second) == 0)
    finally:
        for pid in (first, second):
            os.kill(pid, signal.SIGCONT)


def test_other_classes_wait(start_gateway, stop_one):
    server = start(start_gateway)
    pid = stop_one(server)
    askers = []
    while outstanding(server, pid) < 3:
        kinds = ({"key": "patient"}, {"stream": False}, {"key": "patient", "stream": False})
        askers.append(Asker(server, **kinds[len(askers) % 3]))
        wait_until(lambda: sum(replica["outstanding"] for replica in replicas_of(server)) == outstanding(server, pid))
    os.kill(pid, signal.SIGCONT)
    for asker in askers:
        asker.join(120)
        assert asker.answer.status_code == 200
    assert all(hedged(server, outcome) == 0 for outcome in ("won", "lost", "failed", "refused"))


def test_a_spent_budget_sends_no_copies(start_gateway, stop_one):
    server = start(start_gateway, burst=0)
    pid = stop_one(server)
    askers = [Asker(server), Asker(server)]
    wait_until(lambda: hedged(server, "refused") >= 1)
    os.kill(pid, signal.SIGCONT)
    for asker in askers:
        asker.join(120)
        assert asker.answer.status_code == 200
    assert hedged(server, "won") == hedged(server, "lost") == 0


def test_a_copy_stands_in_for_a_replica_that_is_lost(start_gateway):
    server = start(start_gateway)
    first, second = [replica["pid"] for replica in replicas_of(server)]
    for pid in (first, second):
        os.kill(pid, signal.SIGSTOP)
    asker = Asker(server)
    wait_until(lambda: outstanding(server, first) == outstanding(server, second) == 1)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not any(replica["pid"] == first for replica in replicas_of(server)))
    os.kill(second, signal.SIGCONT)
    asker.join(120)
    assert asker.answer.status_code == 200 and asker.lines[-2] == "data: [DONE]"
    assert hedged(server, "won") + hedged(server, "failed") == 1


def test_the_time_may_follow_what_first_tokens_usually_take(start_gateway, stop_one):
    server = start(start_gateway, "{quantile: 0.9}")
    for _ in range(4):
        assert ask(server)[0].status_code == 200
    stop_one(server)
    while hedged(server, "won") == 0:
        answer, lines = ask(server)
        assert answer.status_code == 200 and lines[-2] == "data: [DONE]"
