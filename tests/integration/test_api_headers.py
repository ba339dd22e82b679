"""What answers say beside their bodies, from a replica and through a gateway: ids, times, retries, and errors of one shape."""
import json
import re

import httpx
import pytest
from replica_client import MODEL, QUESTION, client_of, metric, post
from support.observe import wait_until

ROLES = ["replica", "gateway"]


@pytest.fixture
def server(request):
    return request.getfixturevalue(request.param)


def send(server, method, path, **options):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return client.request(method, path, **options)


def assert_error(answer, status, code, param=None):
    assert answer.status_code == status and answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert error["code"] == code and error["param"] == param
    assert answer.headers["x-should-retry"] == ("true" if status in (408, 429, 502, 503, 504) else "false")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("server", ROLES, indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_every_answer_has_its_id_version_and_time_once(server, stream):
    for given in ("my-request/17", None, "bad id\u00e9", "x" * 300):
        headers = {"x-request-id": given.encode()} if given else {}
        answer = send(server, "POST", "/v1/chat/completions", headers=headers,
                      json={"model": MODEL, "messages": QUESTION, "max_tokens": 2, "stream": stream})
        assert answer.status_code == 200
        for name in ("x-request-id", "openai-version", "openai-processing-ms", "server-timing"):
            assert len(answer.headers.get_list(name)) == 1, name
        assert answer.headers["openai-version"] == "2020-10-01"
        assert re.fullmatch(r"\d+", answer.headers["openai-processing-ms"])
        identity = answer.headers["x-request-id"]
        assert identity == given if given == "my-request/17" else re.fullmatch(r"[0-9a-f]{32}", identity)
        phases = re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"])
        assert [name for name, _ in phases][:3] == ["prepare", "queue", "prefill"]
        assert not any(name.startswith("x-ratelimit") for name in answer.headers)


@pytest.mark.parametrize("server", ROLES, indirect=True)
def test_errors_have_one_shape_whatever_went_wrong(server):
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 1}
    assert_error(send(server, "GET", "/v1/nothing"), 404, "unknown_url")
    assert_error(send(server, "POST", "/v1/chat/completion", json=body), 404, "unknown_url")
    wrong = send(server, "GET", "/v1/chat/completions")
    assert_error(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    wrong = send(server, "DELETE", "/v1/models")
    assert_error(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD"
    assert_error(send(server, "POST", "/v1/chat/completions", content=json.dumps(body),
                      headers={"content-type": "text/plain"}), 415, "unsupported_media_type")
    assert_error(send(server, "POST", "/v1/chat/completions", json={**body, "model": "other"}), 404, "model_not_found", "model")
    assert_error(send(server, "GET", "/v1/models/other"), 404, "model_not_found", "model")
    assert_error(send(server, "POST", "/v1/chat/completions", json={**body, "temperature": 3}), 400,
                 "decimal_above_max_value", "temperature")
    assert_error(send(server, "POST", "/v1/chat/completions", json={**body, "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}), 400, "invalid_value",
        "messages[0].content[0].type")


@pytest.mark.parametrize("server", ROLES, indirect=True)
def test_json_may_be_announced_in_any_usual_way_or_not_at_all(server):
    body = json.dumps({"model": MODEL, "prompt": "x", "max_tokens": 1})
    for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json", None):
        headers = {"content-type": kind} if kind else {}
        assert send(server, "POST", "/v1/completions", content=body, headers=headers).status_code == 200, kind


def test_a_body_over_the_limit_is_413_in_the_same_shape(start_replica):
    server = start_replica("models:\n  - name: smollm2\n    path: {model}\nlimits:\n  body_size: 4KiB\n")
    answer = send(server, "POST", "/v1/completions", json={"model": MODEL, "prompt": "x" * 9000, "max_tokens": 1})
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"


def test_a_full_queue_says_when_to_come_again(start_replica):
    """One running, one waiting: the third is told a time that follows from the speed of the steps."""
    server = start_replica("models:\n  - name: smollm2\n    path: {model}\n    max_num_seqs: 1\n    max_queued_requests: 1\n")
    client = client_of(server)
    options = dict(model=MODEL, messages=QUESTION, max_tokens=2000, stream=True, extra_body={"ignore_eos": True})
    streams = [client.chat.completions.create(**options)]
    next(iter(streams[0]))
    waiting = server.connection(60)
    waiting.request("POST", "/v1/chat/completions", json.dumps({"model": MODEL, "messages": QUESTION, "max_tokens": 5}),
                    {"content-type": "application/json"})
    wait_until(lambda: metric(server, "vllm:num_requests_waiting") == 1)
    status, headers, answer = post(server, "/v1/chat/completions", {"model": MODEL, "messages": QUESTION, "max_tokens": 1})
    assert status == 429 and answer["error"]["code"] == "overloaded" and answer["error"]["type"] == "rate_limit_error"
    assert headers["x-should-retry"] == "true"
    milliseconds, seconds = int(headers["retry-after-ms"]), int(headers["retry-after"])
    assert 250 <= milliseconds <= 60000 and seconds == -(-milliseconds // 1000)
    streams[0].close()
    waiting.close()


@pytest.mark.parametrize("server", ROLES, indirect=True)
def test_a_waiting_stream_is_kept_alive_by_comments(server, start_replica, start_gateway):
    """A long prompt behind limits.keepalive: comments come before the first event, and the client sees none of them."""
    start = start_gateway if server is not None and hasattr(server, "admin_url") and server.admin_url else start_replica
    text = "models:\n  - name: smollm2\n    path: {model}\n    max_num_batched_tokens: 64\nlimits:\n  keepalive: 10ms\n"
    if start is start_gateway:
        text = "server:\n  listen: 127.0.0.1:{port}\n  admin_listen: 127.0.0.1:{admin_port}\n" + text
    own = start(text)
    body = {"model": MODEL, "prompt": "one two three four five " * 250, "max_tokens": 4, "stream": True}
    answer = send(own, "POST", "/v1/completions", json=body)
    before = answer.text.split("data: ", 1)[0]
    assert answer.status_code == 200 and before.count(": ") >= 1 and all(
        line.startswith(":") for line in before.split("\n") if line)
    chunks = list(client_of(own).completions.create(**body))
    assert chunks[-1].choices[0].finish_reason == "length"


def test_equal_cache_keys_go_to_one_replica(start_gateway):
    """Requests with a key find their prompt in the cache from the second on."""
    own = start_gateway("server:\n  listen: 127.0.0.1:{port}\n  admin_listen: 127.0.0.1:{admin_port}\n"
                        "models:\n  - name: smollm2\n    path: {model}\n    replicas: 2\n")
    client = client_of(own)

    def cached(text, **options):
        usage = client.completions.create(model=MODEL, prompt=text * 12, max_tokens=1, **options).usage
        return usage.prompt_tokens_details.cached_tokens

    for key in ("a", "b", "c"):
        found = [cached(f"Beginning {key} of many prompts. ", extra_body={"prompt_cache_key": key}) for _ in range(4)]
        assert found[0] == 0 and min(found[1:]) > 0, found
