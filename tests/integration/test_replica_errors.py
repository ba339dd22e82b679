"""What a replica refuses, and how it says so."""
import json

import openai
import pytest
from replica_client import MODEL, QUESTION, client_of, health, metric, post, start_stream
from support.observe import wait_until


@pytest.mark.parametrize("extra, param, code", [
    ({"temperature": 3}, "temperature", "decimal_above_max_value"),
    ({"top_p": "x"}, "top_p", "invalid_type"),
    ({"n": 0}, "n", "integer_below_min_value"),
    ({"stop": ""}, "stop", "invalid_value"),
    ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
    ({"logit_bias": {"99999999": 1}}, "logit_bias", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
    ({"strict": True, "what_is_this": 1}, "what_is_this", "unknown_parameter"),
    ({"max_tokens": 10_000_000}, "messages", "context_length_exceeded"),
    ({"messages": []}, "messages", "empty_array"),
    ({"messages": [{"role": "user", "content": "word " * 20000}]}, "messages", "context_length_exceeded"),
])
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_field_is_a_400_that_names_it(replica, extra, param, code, stream):
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 3, "stream": stream, **extra}
    if code == "invalid_value" and param == "stream_options" and stream:
        pytest.skip("allowed with stream")
    status, headers, answer = post(replica, "/v1/chat/completions", body)
    error = answer["error"]
    assert status == 400 and headers["content-type"] == "application/json"
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error" and error["message"]
    assert headers["x-request-id"]


def test_the_context_error_has_the_numbers(replica):
    status, _, answer = post(replica, "/v1/completions", {"model": MODEL, "prompt": "word " * 20000})
    context = json.loads(replica.get("/v1/models")[1])["data"][0]["max_model_len"]
    assert status == 400 and f"is {context} tokens" in answer["error"]["message"]
    count = post(replica, "/tokenize", {"prompt": "word " * 20000})[2]["count"]
    assert f"resulted in {count} tokens" in answer["error"]["message"]


def test_the_official_client_raises_its_own_errors(replica):
    client = client_of(replica)
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-9", messages=QUESTION)
    assert missing.value.code == "model_not_found" and missing.value.param == "model"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=9)
    assert bad.value.param == "temperature" and bad.value.request_id


def test_broken_bodies_and_routes(replica):
    assert post(replica, "/v1/chat/completions", "{broken")[2]["error"]["code"] == "invalid_json"
    assert post(replica, "/v1/chat/completions", "[]")[0] == 400
    assert post(replica, "/v1/chat/completions", b"\xff\xfe")[0] == 400
    deep = "[" * 5000 + "]" * 5000
    assert post(replica, "/v1/chat/completions", '{"model":"m","messages":' + deep + "}")[0] == 400
    assert post(replica, "/no/such/route", {})[0] == 404
    status, headers, _ = post(replica, "/v1/models", {})
    assert status == 405 and headers["allow"] == "GET, HEAD"
    status, body = replica.get("/v1/chat/completions")
    assert status == 405 and json.loads(body)["error"]["code"] == "method_not_allowed"


def test_a_full_queue_says_when_to_come_again(start_replica):
    server = start_replica("""
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
    max_num_seqs: 1
    max_queued_requests: 1
""")
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 900, "ignore_eos": True}
    running, _, _ = start_stream(server, body)
    waiting = server.connection()
    waiting.request("POST", "/v1/chat/completions", json.dumps(body))
    wait_until(lambda: health(server)["waiting"] == 1, what="a waiting request")
    status, headers, answer = post(server, "/v1/chat/completions", body)
    running.close()
    waiting.close()
    assert status == 429 and answer["error"]["type"] == "rate_limit_error"
    assert 1 <= int(headers["retry-after"]) <= 60 and int(headers["retry-after-ms"]) >= 250


def test_internal_headers_count_only_on_a_unix_socket(start_replica):
    server = start_replica(unix_socket=True)
    long = [{"role": "user", "content": "Repeat after me: " + "tenant " * 60}]
    body = {"model": MODEL, "messages": long, "max_tokens": 1}

    def cached(tenant):
        answer = post(server, "/v1/chat/completions", body, {"x-penstock-tenant": tenant})[2]
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert cached("a") == 0 and cached("a") >= 48 and cached("b") == 0


def test_a_tenant_header_from_a_stranger_is_not_looked_at(replica):
    long = [{"role": "user", "content": "Say after me: " + "stranger " * 60}]
    body = {"model": MODEL, "messages": long, "max_tokens": 1}
    post(replica, "/v1/chat/completions", body, {"x-penstock-tenant": "a"})
    answer = post(replica, "/v1/chat/completions", body, {"x-penstock-tenant": "b"})[2]
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] >= 48


def test_metrics_parse_and_count(replica):
    before = metric(replica, "vllm:generation_tokens_total", model_name=MODEL)
    post(replica, "/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 7, "ignore_eos": True})
    assert metric(replica, "vllm:generation_tokens_total", model_name=MODEL) - before == 7
    assert metric(replica, "penstock_prepare_seconds_count") > 0
