"""What clients hear while their model has no replica: when to come again, and that a stream is not forgotten."""
import json
import os
import shutil
import signal
import time

import httpx
import pytest

MESSAGES = [{"role": "user", "content": "Count from one to five."}]
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
limits:
  keepalive: 300ms
upstream:
  ready_timeout: TIMEOUT
supervise: {backoff_first: 2s, backoff_max: 30s}
models:
  - name: smollm2
    path: MODEL
    threads: 1
    max_model_len: 512
    weight_cache: "off"
"""


def body(**fields):
    return {"model": "smollm2", "messages": MESSAGES, "max_tokens": 4, "temperature": 0, **fields}


def replica_of(server):
    return httpx.get(server.admin_url + "/admin/replicas", timeout=10).json()["replicas"][0]


@pytest.fixture
def orphaned(start_gateway, model_path, tmp_path):
    """A gateway whose replica's model can be taken away, and given back."""
    path, away = tmp_path / "model.gguf", tmp_path / "away.gguf"
    shutil.copyfile(model_path, path)

    def start(timeout):
        server = start_gateway(CONFIG.replace("TIMEOUT", timeout).replace("MODEL", str(path)))
        path.rename(away)
        pid = replica_of(server)["pid"]
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 60
        while replica_of(server)["state"] == "ready":
            assert time.monotonic() < end
            time.sleep(0.02)
        return server

    start.give_back = lambda: away.rename(path)
    return start


def test_a_stream_that_waits_gets_comments_and_then_its_answer(orphaned):
    server = orphaned("120s")
    lines = []
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=body(stream=True), timeout=120) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith(":") and not any(line.startswith(":") for line in lines):
                orphaned.give_back()
            lines.append(line)
    assert lines[0].startswith(":")
    events = [line[len("data: "):] for line in lines if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert all("error" not in json.loads(event) for event in events[:-1])
    whole = httpx.post(server.url + "/v1/chat/completions", json=body(), timeout=120).json()
    assert "".join(choice["delta"].get("content") or "" for event in events[:-1]
                   for choice in json.loads(event)["choices"]) == whole["choices"][0]["message"]["content"]


@pytest.mark.parametrize("path, more", [("/v1/chat/completions", {}), ("/v1/messages", {}),
                                        ("/v1/responses", {"input": "Hello"})])
def test_a_stream_that_waited_for_nothing_ends_with_an_error_event(orphaned, path, more):
    server = orphaned("1500ms")
    request = body(stream=True, **more)
    if path == "/v1/responses":
        del request["messages"], request["max_tokens"]
    with httpx.stream("POST", server.url + path, json=request, timeout=120) as answer:
        assert answer.status_code == 200
        lines = list(answer.iter_lines())
    assert lines[0].startswith(":")
    events = [json.loads(line[len("data: "):]) for line in lines if line.startswith("data: ")]
    assert len(events) == 1 and lines[-1] == ""
    assert "No replica of the model is ready" in json.dumps(events[0])


def test_a_replicas_refusal_is_told_inside_a_stream_that_had_to_wait(orphaned):
    server = orphaned("120s")
    lines = []
    request = body(stream=True, temperature=7)
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=request, timeout=120) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith(":") and not lines:
                orphaned.give_back()
            lines.append(line)
    events = [json.loads(line[len("data: "):]) for line in lines if line.startswith("data: ")]
    assert len(events) == 1 and events[0]["error"]["param"] == "temperature"
    assert events[0]["error"]["type"] == "invalid_request_error"


def test_who_is_refused_is_told_when_to_come_again(orphaned):
    server = orphaned("100ms")
    answer = httpx.post(server.url + "/v1/chat/completions", json=body(), timeout=120)
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "model_not_ready"
    milliseconds, seconds = int(answer.headers["retry-after-ms"]), int(answer.headers["retry-after"])
    assert 500 <= milliseconds <= 60000 and 1000 * (seconds - 1) < milliseconds <= 1000 * seconds
    orphaned.give_back()
