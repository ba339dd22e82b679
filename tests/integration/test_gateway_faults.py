"""Replicas that die, clients that go, many streams at once."""
import asyncio
import contextlib
import json
import os
import signal
import threading

import httpx
import openai
import pytest

from support.observe import metric_of, wait_until

MESSAGES = [{"role": "user", "content": "Tell me a long story about a river and a mill."}]

TWO_REPLICAS = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
limits:
  json_depth: 32
models:
  - name: smollm2
    path: {model}
    replicas: 2
    threads: 1
    max_model_len: 1024
"""
ONE_REPLICA = TWO_REPLICAS.replace("replicas: 2", "replicas: 1")


def replicas_of(server):
    return httpx.get(server.admin_url + "/admin/replicas", timeout=10).json()["replicas"]


def events_of(lines):
    return [line[len("data: "):] for line in lines if line.startswith("data: ")]


def body(max_tokens, stream=True):
    return {"model": "smollm2", "messages": MESSAGES, "max_tokens": max_tokens, "stream": stream, "ignore_eos": True}


def test_a_stream_that_may_not_go_on_ends_with_an_error_event(start_gateway):
    server = start_gateway(ONE_REPLICA + "upstream: {continuation_tokens: 0}\n")
    lines = []
    killed = False
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=body(900), timeout=60) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():  # raises when the stream is not ended cleanly
            lines.append(line)
            if not killed and len(events_of(lines)) >= 5:
                killed = True
                os.kill(replicas_of(server)[0]["pid"], signal.SIGKILL)
    events = [json.loads(event) for event in events_of(lines)]  # every event is whole
    assert events[-1]["error"]["code"] == "replica_lost"
    assert events[-1]["error"]["type"] == "server_error"
    assert all("error" not in event for event in events[:-1])
    assert lines[-1] == ""
    # the stream may end before the process is known to be gone
    wait_until(lambda: [(r["state"], r["restarts"]) for r in replicas_of(server)] == [("ready", 1)])
    assert metric_of(server, "penstock_replica_restarts_total", model="smollm2") == 1
    assert httpx.post(server.url + "/v1/chat/completions", json=body(3, False), timeout=60).status_code == 200


def test_the_official_client_sees_the_error_event_as_an_error(start_gateway):
    server = start_gateway(ONE_REPLICA + "upstream: {continuation_tokens: 0}\n")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    stream = client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=900, stream=True,
                                            extra_body={"ignore_eos": True})
    with pytest.raises(openai.APIError) as error:
        for count, _ in enumerate(stream):
            if count == 5:
                os.kill(replicas_of(server)[0]["pid"], signal.SIGKILL)
    assert error.value.code == "replica_lost"


def test_requests_that_have_produced_nothing_are_sent_again(start_gateway):
    server = start_gateway(TWO_REPLICAS)
    victim = replicas_of(server)[0]
    answers = []
    client = httpx.Client(timeout=120)  # one for all: on a busy machine each takes long to make

    def ask():
        answers.append(client.post(server.url + "/v1/chat/completions", json=body(20, False)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    os.kill(victim["pid"], signal.SIGSTOP)  # so that what it is given is never answered
    for thread in threads:
        thread.start()
    wait_until(lambda: next(r for r in replicas_of(server) if r["pid"] == victim["pid"])["outstanding"] >= 2)
    os.kill(victim["pid"], signal.SIGKILL)
    for thread in threads:
        thread.join()
    client.close()
    assert [answer.status_code for answer in answers] == [200] * 8
    assert metric_of(server, "penstock_upstream_retries_total", model="smollm2") >= 2
    wait_until(lambda: all(replica["state"] == "ready" for replica in replicas_of(server)))


def test_a_request_waits_for_the_restart_of_the_only_replica(start_gateway):
    server = start_gateway(ONE_REPLICA)
    pid = replicas_of(server)[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    answer = httpx.post(server.url + "/v1/chat/completions", json=body(3, False), timeout=60)
    assert answer.status_code == 200
    assert replicas_of(server)[0]["pid"] != pid


def test_a_replica_that_hangs_is_killed_and_replaced(start_gateway):
    server = start_gateway(ONE_REPLICA + "supervise: {heartbeat_timeout: 2s}\n")
    pid = replicas_of(server)[0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    replica = wait_until(lambda: next((r for r in replicas_of(server) if r["restarts"] and r["state"] == "ready"), None))
    assert replica["pid"] != pid
    assert httpx.post(server.url + "/v1/chat/completions", json=body(3, False), timeout=60).status_code == 200


def test_a_crash_loop_is_told_and_clients_do_not_wait(start_gateway):
    config = ONE_REPLICA + "supervise: {backoff_first: 10ms, backoff_max: 1s}\n"
    server = start_gateway(config)

    def kill_until_failed():
        replica = replicas_of(server)[0]
        if replica["state"] == "failed":
            return True
        with contextlib.suppress(ProcessLookupError):  # it may be gone already, and not be missed yet
            if replica["pid"]:
                os.kill(replica["pid"], signal.SIGKILL)
        return False

    wait_until(kill_until_failed)
    answer = httpx.post(server.url + "/v1/chat/completions", json=body(3, False), timeout=60)
    if answer.status_code == 503:  # it may have been tried again just now
        assert answer.json()["error"]["code"] == "model_not_ready"
        assert int(answer.headers["retry-after"]) >= 1
    wait_until(lambda: replicas_of(server)[0]["state"] == "ready")
    assert httpx.get(server.url + "/readyz").status_code == 200


def test_a_client_that_goes_frees_its_replica(start_gateway):
    server = start_gateway(ONE_REPLICA)
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=body(900), timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                break
    wait_until(lambda: replicas_of(server)[0]["outstanding"] == 0)
    assert metric_of(server, "penstock_requests_in_flight", model="smollm2") == 0
    assert metric_of(server, "penstock_requests_total", route="/v1/chat/completions", code="499") == 1


def test_replicas_end_with_a_gateway_that_is_killed(start_gateway):
    server = start_gateway(TWO_REPLICAS)
    pids = [replica["pid"] for replica in replicas_of(server)]
    server.kill()

    def is_gone(pid):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_until(lambda: all(is_gone(pid) for pid in pids), 2)


async def test_two_hundred_streams_at_once(gateway):
    limits = httpx.Limits(max_connections=250, max_keepalive_connections=250)

    async def one(client, number):
        lines = []
        request = {"model": "smollm2", "messages": [{"role": "user", "content": f"Count from {number}."}], "max_tokens": 4,
                   "stream": True}
        async with client.stream("POST", gateway.url + "/v1/chat/completions", json=request) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                lines.append(line)
        return events_of(lines)

    async with httpx.AsyncClient(timeout=240, limits=limits) as client:
        streams = await asyncio.gather(*(one(client, number) for number in range(200)))
    for events in streams:
        assert events[-1] == "[DONE]"
        assert all("error" not in json.loads(event) for event in events[:-1])
    assert metric_of(gateway, "penstock_requests_in_flight", model="smollm2") == 0
