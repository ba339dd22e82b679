"""Who waits for a model, in which order they are served, and what they are told."""
import hashlib
import json
import os
import re
import signal
import threading

import httpx
import openai
import pytest

from support.observe import metric_of, wait_until
from test_gateway_faults import replicas_of

# One slot, and nothing beyond it in the replica: whoever is second waits in the gateway.
ONE_SLOT = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  loops: 2
  drain_timeout: 10s
log:
  level: debug
admission:
  queue_ahead: 0
  requests: 8
  report_interval: 100ms
supervise:
  heartbeat_timeout: 1h
  stall_timeout: 1h
auth:
  keys:
    - name: ann
      sha256: %s
    - name: bob
      sha256: %s
models:
  - name: smollm2
    path: {model}
    max_model_len: 2048
    max_num_seqs: 1
"""


def hash_of(key):
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def room(module_servers):
    return module_servers[0](ONE_SLOT % (hash_of("ann-key"), hash_of("bob-key")))


class Ask(threading.Thread):
    """A streaming request in a thread of its own; its name is its request id."""

    def __init__(self, server, name, key="ann", max_tokens=8, headers=None, stream=True, **fields):
        super().__init__(daemon=True)
        self.lines, self.answer = [], None
        self.has_begun, self.stop = threading.Event(), threading.Event()
        self.client = httpx.Client(timeout=120)
        self.url = server.url + "/v1/completions"
        self.body = {"model": "smollm2", "prompt": f"Tell me about {name}.", "max_tokens": max_tokens, "stream": stream,
                     "ignore_eos": True, **fields}
        self.headers = {"authorization": f"Bearer {key}-key", "x-request-id": name, **(headers or {})}
        self.start()

    def run(self):
        with self.client, self.client.stream("POST", self.url, json=self.body, headers=self.headers) as answer:
            self.answer = answer
            for line in answer.iter_lines():
                self.lines.append(line)
                if line.startswith("data: {") and not self.has_begun.is_set():
                    self.has_begun.set()
                if self.stop.is_set():
                    return  # closes the connection

    def comments(self):
        return [line for line in self.lines if line.startswith(": queue position=")]


def waiting(server):
    return metric_of(server, "penstock_queue_requests", model="smollm2")


def served(server, asked):
    """The names of those requests in the order in which they were given the slot, as the gateway's log has it."""
    names = re.findall(r"request_id=(\S+) has a slot", server.log.read_text())
    return [name for name in names if name in {one.headers["x-request-id"] for one in asked}]


def enqueue(server, count_before, *args, **fields):
    """Sends a request and returns when the gateway has it in its room, so that the order of arrival is known."""
    asked = Ask(server, *args, **fields)
    wait_until(lambda: waiting(server) == count_before + 1)
    return asked


class Holder:
    """Keeps the only slot for as long as it is wanted: its replica is stopped in the middle of an answer."""

    def __init__(self, server):
        self.pid = replicas_of(server)[0]["pid"]
        self.asked = Ask(server, "holder", max_tokens=1500)
        assert self.asked.has_begun.wait(60)
        os.kill(self.pid, signal.SIGSTOP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.asked.stop.set()
        os.kill(self.pid, signal.SIGCONT)
        self.asked.join(60)
        assert not self.asked.is_alive()


def test_a_flood_of_one_key_does_not_delay_another(room):
    with Holder(room):
        asked = [enqueue(room, count, f"ann-{count}") for count in range(6)]
        asked.append(enqueue(room, 6, "bob-0", key="bob"))
    for one in asked:
        one.join(60)
    order = served(room, asked)
    assert sorted(order) == sorted(["bob-0"] + [f"ann-{count}" for count in range(6)])
    assert order.index("bob-0") <= 1, order
    assert [name for name in order if name != "bob-0"] == [f"ann-{count}" for count in range(6)]
    assert waiting(room) == 0
    wait_until(lambda: metric_of(room, "penstock_queue_slots_used", model="smollm2") == 0)


def test_lower_numbers_of_priority_go_first(room):
    with Holder(room):
        asked = [enqueue(room, 0, "later", priority=5), enqueue(room, 1, "flex", service_tier="flex"),
                 enqueue(room, 2, "header", headers={"x-penstock-priority": "3"}, priority=7),
                 enqueue(room, 3, "sooner")]
    for one in asked:
        one.join(60)
    assert served(room, asked) == ["sooner", "flex", "header", "later"]
    assert metric_of(room, "penstock_queue_wait_seconds_count", model="smollm2", band="5") == 1


def test_who_waits_is_told_its_place(room):
    with Holder(room):
        first = enqueue(room, 0, "first")
        second = enqueue(room, 1, "second", priority=1)
        wait_until(lambda: len(second.comments()) >= 2 and len(first.comments()) >= 2)
        assert second.answer.headers["content-type"].startswith("text/event-stream")
        assert second.answer.headers["x-queue-position"] == "2"
        assert int(second.answer.headers["x-queue-wait-ms"]) >= 0
        assert all(line.startswith(": queue position=1") for line in first.comments())
        assert all(line.startswith(": queue position=2") for line in second.comments())
        assert not first.has_begun.is_set()
    for one in (first, second):
        one.join(60)
        assert one.has_begun.is_set() and one.lines[-2] == "data: [DONE]"
    assert second.comments()[-1].startswith(": queue position=1") or "=2" in second.comments()[-1]


def test_an_answer_tells_how_long_it_waited(room):
    with Holder(room):
        asked = enqueue(room, 0, "whole", stream=False)
    asked.join(60)
    assert asked.answer.status_code == 200 and asked.answer.headers["x-queue-position"] == "1"
    assert int(asked.answer.headers["x-queue-wait-ms"]) >= 0
    free = httpx.post(room.url + "/v1/completions", json=asked.body, headers=asked.headers, timeout=60)
    assert free.status_code == 200 and "x-queue-position" not in free.headers


def test_a_client_that_goes_frees_its_place(room):
    with Holder(room):
        gone = enqueue(room, 0, "gone")
        stays = enqueue(room, 1, "stays")
        gone.stop.set()  # its next comment ends it
        wait_until(lambda: waiting(room) == 1)
    stays.join(60)
    assert served(room, [gone, stays]) == ["stays"]
    wait_until(lambda: metric_of(room, "penstock_queue_slots_used", model="smollm2") == 0)


def test_who_would_be_late_is_refused_at_once(room):
    client = openai.OpenAI(base_url=room.url + "/v1", api_key="ann-key", max_retries=0)
    client.completions.create(model="smollm2", prompt="One", max_tokens=8)  # something to reckon by
    with Holder(room):
        for header in ("x-slo-ttft-ms", "x-llm-d-slo-ttft-ms", "x-request-timeout-ms"):
            with pytest.raises(openai.RateLimitError) as error:
                client.completions.create(model="smollm2", prompt="Two", max_tokens=8, extra_headers={header: "1"})
            assert error.value.code == "deadline_unreachable"
            assert int(error.value.response.headers["retry-after"]) >= 1
            assert int(error.value.response.headers["retry-after-ms"]) >= 1
        assert waiting(room) == 0
        assert metric_of(room, "penstock_queue_refusals_total", model="smollm2", reason="late") >= 3


def test_a_full_room_refuses_who_has_most_in_it(room):
    with Holder(room):
        asked = [enqueue(room, count, f"ann-{count}", stream=False) for count in range(8)]
        refused = httpx.post(room.url + "/v1/completions", json=asked[0].body, headers=asked[0].headers, timeout=60)
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1 and refused.headers["x-should-retry"] == "true"
        other = Ask(room, "bob", key="bob")  # pushes out the last of ann's
        asked[7].join(60)
        assert asked[7].answer.status_code == 429 and waiting(room) == 8
        assert json.loads("".join(asked[7].lines))["error"]["code"] == "queue_full"
    for one in [*asked[:7], other]:
        one.join(120)
        assert one.answer.status_code == 200
    assert metric_of(room, "penstock_queue_refusals_total", model="smollm2", reason="pushed_out") == 1
    assert metric_of(room, "penstock_queue_refusals_total", model="smollm2", reason="full") >= 1


def test_what_is_wrong_with_a_request_that_waited_is_told_in_its_stream(room):
    with Holder(room):
        wrong = enqueue(room, 0, "wrong", temperature=-3)
        wait_until(lambda: len(wrong.comments()) >= 1)
    wrong.join(60)
    event = json.loads(next(line for line in wrong.lines if line.startswith("data: "))[len("data: "):])
    assert wrong.answer.status_code == 200
    assert event["error"]["type"] == "invalid_request_error" and "temperature" in event["error"]["message"]
