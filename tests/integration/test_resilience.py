"""What the gateway does when replicas fail: how much is sent again, to whom nothing is sent, and what is refused."""
import os
import signal
import threading

import httpx

from support.observe import metric_of, wait_until
from test_gateway_faults import replicas_of

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
upstream:
  continuation_tokens: 0
  UPSTREAM
supervise: {backoff_first: 10ms, backoff_max: 20ms, heartbeat_timeout: HEARTBEAT, stall_timeout: 500ms}
models:
  - name: smollm2
    path: {model}
    replicas: REPLICAS
    threads: 1
    max_model_len: 2048
"""


def config(replicas, upstream="retries: 2", heartbeat="10s"):
    return CONFIG.replace("UPSTREAM", upstream).replace("REPLICAS", str(replicas)).replace("HEARTBEAT", heartbeat)


def body(prompt, max_tokens=4, **fields):
    return {"model": "smollm2", "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, **fields}


def post(server, request, timeout=120):
    return httpx.post(server.url + "/v1/completions", json=request, timeout=timeout)


class Stream(threading.Thread):
    """A streaming answer that is read to its end."""

    def __init__(self, server, request):
        super().__init__(daemon=True)
        self.has_begun, self.lines, self.server, self.request = threading.Event(), [], server, request
        self.status = None
        self.start()

    def run(self):
        with httpx.stream("POST", self.server.url + "/v1/completions", json={**self.request, "stream": True},
                          timeout=120) as answer:
            self.status = answer.status_code
            for line in answer.iter_lines():
                self.lines.append(line)
                if line.startswith("data: {"):
                    self.has_begun.set()


def stop_in_the_middle(server, request):
    """A stream that has begun, and the replica that generates for it, which is stopped (SIGSTOP)."""
    pids = [replica["pid"] for replica in replicas_of(server)]
    stream = Stream(server, request)
    assert stream.has_begun.wait(60)
    for pid in pids:  # at once: then there is time to look
        os.kill(pid, signal.SIGSTOP)
    stopped = next(replica["pid"] for replica in replicas_of(server) if replica["outstanding"] > 0)
    for pid in pids:
        if pid != stopped:
            os.kill(pid, signal.SIGCONT)
    return stream, stopped


def lose_replica_with(server, request):
    """Kills the replica that generates for this request; returns when the request has ended and a replica is back."""
    stream, pid = stop_in_the_middle(server, request)
    os.kill(pid, signal.SIGKILL)
    stream.join(60)
    assert any("replica_lost" in line for line in stream.lines), stream.lines[-4:]
    wait_until(
        lambda: all(replica["state"] == "ready" and replica["pid"] != pid for replica in replicas_of(server))
    )


def test_a_request_that_was_there_at_two_losses_is_refused_and_others_are_served(start_gateway):
    server = start_gateway(config(2))
    poison, innocent = body("poison", 1500, stream=True), body("innocent", 4)
    for _ in range(2):
        lose_replica_with(server, poison)
    restarts = sum(replica["restarts"] for replica in replicas_of(server))
    for _ in range(3):
        refused = post(server, poison)
        assert refused.status_code == 500 and refused.json()["error"]["code"] == "request_quarantined"
        assert refused.headers["x-should-retry"] == "false"
        assert post(server, innocent).status_code == 200
    assert sum(replica["restarts"] for replica in replicas_of(server)) == restarts == 2
    assert metric_of(server, "penstock_quarantine_refusals_total", model="smollm2") == 3


def test_an_answer_clears_a_suspect(start_gateway):
    server = start_gateway(config(1))
    for _ in range(3):  # three losses, but never two without an answer between them
        lose_replica_with(server, body("suspect", 700, stream=True))
        assert post(server, body("suspect", 700, stream=True)).status_code == 200
    assert metric_of(server, "penstock_quarantine_refusals_total", model="smollm2") == 0


def test_a_spent_budget_of_retries_ends_requests_instead(start_gateway):
    server = start_gateway(config(1, "retries: 2\n  retry_budget: 0\n  retry_burst: 0"))
    pid = replicas_of(server)[0]["pid"]
    answers = []
    asker = threading.Thread(target=lambda: answers.append(post(server, body("budget", 1900))))
    asker.start()
    wait_until(lambda: replicas_of(server)[0]["outstanding"] == 1)
    os.kill(pid, signal.SIGKILL)
    asker.join(60)
    assert answers[0].status_code == 502 and answers[0].json()["error"]["code"] == "replica_lost"
    assert metric_of(server, "penstock_upstream_retries_refused_total", model="smollm2") == 1
    assert metric_of(server, "penstock_upstream_retries_total", model="smollm2") == 0


def test_a_replica_that_ends_no_steps_gets_no_requests_until_it_does(start_gateway):
    server = start_gateway(config(2, heartbeat="1h"))
    stream, pid = stop_in_the_middle(server, body("stalls", 1000))
    try:
        wait_until(lambda: any(replica["stalled"] for replica in replicas_of(server)))
        assert metric_of(server, "penstock_replicas_distrusted", model="smollm2") == 1
        for count in range(6):
            assert post(server, body(f"elsewhere {count}")).status_code == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    stream.join(120)
    assert stream.status == 200 and stream.lines[-2] == "data: [DONE]"
    wait_until(lambda: not any(replica["stalled"] for replica in replicas_of(server)))


def test_a_replica_that_ends_no_steps_is_replaced(start_gateway):
    server = start_gateway(config(1, heartbeat="2s"))
    stream, pid = stop_in_the_middle(server, body("hangs", 1500))
    wait_until(lambda: replicas_of(server)[0]["restarts"] == 1 and replicas_of(server)[0]["state"] == "ready")
    stream.join(60)
    assert replicas_of(server)[0]["pid"] != pid and not replicas_of(server)[0]["stalled"]
    assert post(server, body("again")).status_code == 200


def test_a_breaker_opens_after_failures_in_a_row_and_closes_by_itself(start_gateway):
    """Answers that take too long count as failures; the next process of a replica begins anew."""
    server = start_gateway(config(1, "first_byte_timeout: 1500ms\n  breaker_failures: 3\n  breaker_open: 200ms\n"
                                     "  quarantine_time: 0s\n  retries: 0", heartbeat="1h"))
    pid = replicas_of(server)[0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        for count in range(3):
            assert post(server, body(f"late {count}", 1)).status_code == 504
        wait_until(lambda: replicas_of(server)[0]["breaker"] != "closed")
    finally:
        os.kill(pid, signal.SIGCONT)

    def closes():
        post(server, body("trial", 1))
        return replicas_of(server)[0]["breaker"] == "closed"

    wait_until(closes)
    assert metric_of(server, "penstock_replicas_distrusted", model="smollm2") == 0
