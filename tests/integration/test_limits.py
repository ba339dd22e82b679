"""Limits on requests and tokens as the official client meets them, and what they are settled with."""
import hashlib
import os
import signal
import time

import httpx
import openai
import pytest

from support.observe import metric_of

pytestmark = pytest.mark.edge

MESSAGES = [{"role": "user", "content": "Count from one to a hundred, in words."}]
NAMES = ("exact", "tiny", "running", "quick", "lone", "lost", "gone", "shared-a", "shared-b", "asks-much")
KEYS = {name: f"sk-{name}-0123456789abcdef0123456789abcdef" for name in NAMES}


def key_row(name):
    organisation = "acme" if name.startswith("shared") else ""
    return f"    - {{name: {name}, organisation: '{organisation}', sha256: {hashlib.sha256(KEYS[name].encode()).hexdigest()}}}\n"


# A day's limit is earned back at a token in minutes: what is left is exact for as long as a test takes.
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
auth:
  keys:
""" + "".join(map(key_row, NAMES)) + """
tenants:
  expected_output_tokens: 20
  limits:
    - {key: "exact lost gone", tokens_per_day: 600}
    - {key: tiny, requests_per_minute: 2, tokens_per_minute: 10000}
    - {key: running, concurrent_requests: 1}
    - {key: quick, requests_per_minute: 60}
    - {per: organisation, organisation: acme, tokens_per_day: 100}
    - {key: asks-much, tokens_per_minute: 100}
    - {key: lone, model: "nothing*", requests_per_minute: 1}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
"""


@pytest.fixture(scope="module")
def server(module_servers):
    return module_servers[0](CONFIG)


def client_of(server, name, **options):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=KEYS[name], **{"max_retries": 0, **options})


def remaining_tokens(server, name):
    """What is left, as a request that can use nothing is told."""
    answer = httpx.post(server.url + "/tokenize", json={"prompt": "a"}, headers={"authorization": f"Bearer {KEYS[name]}"},
                        timeout=60)
    assert answer.status_code == 200
    return int(answer.headers["x-ratelimit-remaining-tokens"])


def wait_for_settled(server, name, before):
    """What is left once the reservation has been given back: the end of a request comes after its answer."""
    end = time.monotonic() + 60
    last = None
    while time.monotonic() < end:
        now = remaining_tokens(server, name)
        if now == last and now != before:
            return now
        last = now
        time.sleep(0.3)
    raise AssertionError(f"{name} has {last} tokens left, as before")


def test_headers_tell_what_is_left_and_the_third_request_is_too_many(server):
    client = client_of(server, "tiny")
    for left in ("1", "0"):
        raw = client.completions.with_raw_response.create(model="smollm2", prompt="a", max_tokens=1)
        assert raw.headers["x-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-ratelimit-remaining-requests"] == left
        assert raw.headers["x-ratelimit-limit-tokens"] == "10000"
        assert 9900 < int(raw.headers["x-ratelimit-remaining-tokens"]) < 10000
        assert raw.headers["x-ratelimit-reset-requests"].endswith("s")
    with pytest.raises(openai.RateLimitError) as error:
        client.completions.create(model="smollm2", prompt="a", max_tokens=1)
    assert error.value.code == "rate_limit_exceeded" and error.value.type == "requests"
    headers = error.value.response.headers
    assert 0 < int(headers["retry-after-ms"]) <= 30001
    assert int(headers["retry-after"]) == -(-int(headers["retry-after-ms"]) // 1000)
    assert headers["x-should-retry"] == "true"
    assert headers["x-ratelimit-remaining-requests"] == "0"


def test_the_client_that_waits_as_told_succeeds(server):
    headers = {"authorization": f"Bearer {KEYS['quick']}"}
    with httpx.Client(timeout=60) as client:
        codes = []
        while 429 not in codes:
            codes.append(client.post(server.url + "/tokenize", json={"prompt": "a"}, headers=headers).status_code)
    assert len(codes) >= 60
    assert client_of(server, "quick", max_retries=8).completions.create(model="smollm2", prompt="a", max_tokens=1).choices


def test_a_limit_for_another_model_does_not_count(server):
    client = client_of(server, "lone")
    for _ in range(3):
        raw = client.completions.with_raw_response.create(model="smollm2", prompt="a", max_tokens=1)
        assert "x-ratelimit-limit-requests" not in raw.headers


def test_answers_are_settled_to_the_token(server):
    client = client_of(server, "exact")
    left = remaining_tokens(server, "exact")
    assert left == 600
    for stream in (False, True):
        options = dict(model="smollm2", messages=MESSAGES, max_tokens=40, temperature=0)
        if stream:
            chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
            usage = chunks[-1].usage
        else:
            usage = client.chat.completions.create(**options).usage
        after = wait_for_settled(server, "exact", left)
        assert left - after == usage.total_tokens
        left = after


def test_a_refused_request_uses_nothing(server):
    left = remaining_tokens(server, "exact")
    with pytest.raises(openai.BadRequestError):
        client_of(server, "exact").chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=5, temperature=-1)
    assert client_of(server, "exact").completions.create(model="smollm2", prompt="a", max_tokens=1).usage.total_tokens == \
        left - wait_for_settled(server, "exact", left)


def test_a_request_that_may_use_more_than_the_limit_is_refused_for_good(server):
    with pytest.raises(openai.RateLimitError) as error:
        client_of(server, "asks-much", max_retries=3).chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=100)
    assert error.value.type == "tokens" and "too large" in error.value.message
    assert error.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.value.response.headers
    assert metric_of(server, "penstock_limit_refusals_total", tenant="", reason="tokens_per_minute") >= 1
    assert client_of(server, "asks-much").completions.create(model="smollm2", prompt="a", max_tokens=5).choices


def test_an_organisation_shares_its_limit(server):
    used = client_of(server, "shared-a").completions.create(model="smollm2", prompt="a b c d e f g", max_tokens=30).usage
    left = wait_for_settled(server, "shared-b", 100)
    assert 100 - left == used.total_tokens
    assert metric_of(server, "penstock_limit_tokens", tenant="acme") == 100
    assert left <= metric_of(server, "penstock_limit_tokens_remaining", tenant="acme") < left + 1
    with pytest.raises(openai.RateLimitError) as error:
        client_of(server, "shared-b").completions.create(model="smollm2", prompt="a", max_tokens=99)
    assert error.value.type == "tokens"


def test_one_request_at_a_time(server):
    client = client_of(server, "running")
    stream = client.completions.create(model="smollm2", prompt="a", max_tokens=900, n=16, stream=True,
                                       extra_body={"ignore_eos": True})
    next(iter(stream))
    with pytest.raises(openai.RateLimitError) as error:
        client.completions.create(model="smollm2", prompt="a", max_tokens=1)
    assert "concurrent" in error.value.message
    stream.close()
    assert client_of(server, "running", max_retries=20).completions.create(model="smollm2", prompt="a", max_tokens=1).choices


def test_a_client_that_goes_pays_for_what_it_was_sent(server):
    left = remaining_tokens(server, "gone")
    stream = client_of(server, "gone").completions.create(
        model="smollm2", prompt="a", max_tokens=500, stream=True,
        extra_body={"ignore_eos": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}})
    chunks = iter(stream)
    for _ in range(5):
        seen = next(chunks).usage.total_tokens
    stream.close()
    used = left - wait_for_settled(server, "gone", left)
    assert seen <= used < 500


def stream_with_a_loss(server):
    """Total tokens that the client has been told of, and whether the stream ended with an error."""
    (replica,) = httpx.get(server.admin_url + "/admin/replicas").json()["replicas"]
    stream = client_of(server, "lost").completions.create(
        model="smollm2", prompt="a", max_tokens=500, stream=True,
        extra_body={"ignore_eos": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}})
    seen = 0
    try:
        for chunk in stream:
            if seen == 0:
                os.kill(replica["pid"], signal.SIGKILL)
            seen = chunk.usage.total_tokens if chunk.usage else seen
    except openai.APIError:
        return seen, True
    return seen, False


def test_a_lost_replicas_stream_is_paid_to_the_token(start_gateway):
    server = start_gateway(CONFIG + "upstream: {continuation_tokens: 0}\n")
    left = remaining_tokens(server, "lost")
    seen, has_failed = stream_with_a_loss(server)
    assert has_failed and 0 < seen < 500
    server.wait_until_ready()
    assert left - wait_for_settled(server, "lost", left) == seen


def test_a_stream_that_goes_on_elsewhere_is_paid_once(start_gateway):
    server = start_gateway(CONFIG)
    left = remaining_tokens(server, "lost")
    seen, has_failed = stream_with_a_loss(server)
    assert not has_failed and seen == 501
    assert left - wait_for_settled(server, "lost", left) == seen


def test_a_limit_that_counts_twice_is_refused_by_the_check(start_gateway):
    doubled = CONFIG.replace("    - {key: running, concurrent_requests: 1}", "    - {key: running, concurrent_requests: 1}\n" * 2)
    server = start_gateway(doubled, wait=False)
    assert server.process.wait(60) != 0
    assert "count twice" in server.log_text()
