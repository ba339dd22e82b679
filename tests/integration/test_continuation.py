"""Streams whose replica is killed go on with another one: what the official clients get is what they get unbroken."""
import functools
import json
import os
import re
import signal
import threading

import anthropic
import httpx
import openai
import pytest

from test_gateway_faults import metric_of, replicas_of, wait_until

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
upstream: {retries: 4}
supervise: {backoff_first: 10ms, backoff_max: 20ms}
models:
  - name: smollm2
    path: {model}
    replicas: 2
    threads: 1
    max_model_len: 2048
    enable_prefix_caching: CACHING
    reasoning_parser: think
"""
MODEL = "smollm2"
MESSAGES = [{"role": "user", "content": "Tell me a story about a river, a mill and a cat."}]
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather of a town.", "parameters": {
    "type": "object", "additionalProperties": False, "required": ["town", "days", "notes"],
    "properties": {"town": {"type": "string", "minLength": 30, "maxLength": 60}, "days": {"type": "integer"},
                   "notes": {"type": "array", "minItems": 3, "maxItems": 4,
                             "items": {"type": "string", "minLength": 20, "maxLength": 40}}}}}}
PERSON = {"type": "object", "additionalProperties": False, "required": ["name", "story", "tags"], "properties": {
    "name": {"type": "string", "minLength": 20, "maxLength": 40}, "story": {"type": "string", "minLength": 100, "maxLength": 200},
    "tags": {"type": "array", "minItems": 4, "maxItems": 5, "items": {"type": "string", "minLength": 5, "maxLength": 9}}}}
SAMPLED = {"temperature": 0.9, "top_p": 0.95, "seed": 4711}


@pytest.fixture(scope="module")
def server(module_servers):
    server = module_servers[0](CONFIG.replace("CACHING", "false"))
    settle(server, [])
    return server


@functools.cache
def client_of(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=120)


def chat(server, **fields):
    extra = {"ignore_eos": True, **fields.pop("extra_body", {})}
    return client_of(server.url).chat.completions.create(**{"model": MODEL, "messages": MESSAGES, "max_tokens": 100, "stream": True,
                                             "stream_options": {"include_usage": True}, **fields}, extra_body=extra)


def text(server, **fields):
    extra = {"ignore_eos": True, **fields.pop("extra_body", {})}
    return client_of(server.url).completions.create(**{"model": MODEL, "prompt": "Once upon a time", "max_tokens": 100, "stream": True,
                                        "stream_options": {"include_usage": True}, **fields}, extra_body=extra)


def responses(server, **fields):
    extra = {"ignore_eos": True, **fields.pop("extra_body", {})}
    return client_of(server.url).responses.create(**{"model": MODEL, "input": MESSAGES, "max_output_tokens": 100, "stream": True, **fields},
                                   extra_body=extra)


def messages(server, **fields):
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=120)
    extra = {"ignore_eos": True, **fields.pop("extra_body", {})}
    return client.messages.create(**{"model": MODEL, "messages": MESSAGES, "max_tokens": 100, "stream": True, **fields},
                                  extra_body=extra)


UNIQUE = re.compile(r"(?<![0-9a-f])[0-9a-f]{24,36}(?![0-9a-f])")  # of an answer, perhaps between two numbers


def dumped(event):
    return json.dumps(event.model_dump(mode="json", exclude_unset=True))


def plain(event):
    """An event without its times, and without what is unique about its answer."""
    text = re.sub(r'"timings": \{[^}]*\}', '"timings": {}', dumped(event))
    return re.sub(r'"(created|created_at|completed_at)": [0-9.]+', r'"\1": 0', UNIQUE.sub("", text))


def unique_of(event):
    return [unique[:24] for unique in UNIQUE.findall(dumped(event))]


def kill_busy(server):
    """Kills the replica that works for the stream, which may have ended meanwhile; returns whom it has killed, when the
    gateway knows."""
    busy = [replica["pid"] for replica in replicas_of(server) if replica["outstanding"] > 0 and replica["state"] == "ready"]
    for pid in busy:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(replica["pid"] in busy for replica in replicas_of(server)))
    return busy


def settle(server, killed):
    """Waits until all are ready, and none of them is one of those that were killed."""
    wait_until(lambda: all(replica["state"] == "ready" and replica["pid"] not in killed for replica in replicas_of(server)))


def resumed(server):
    return metric_of(server, "penstock_stream_continuations_total", model=MODEL, outcome="resumed")


def broken(server, ask, cuts):
    """The events of a stream whose replica is killed when so many of them have come."""
    for _ in range(20):  # the answer may be whole before the kill, on a busy machine
        before, events, killed = resumed(server), [], []
        for event in ask():
            events.append(event)
            if len(events) in cuts:
                killed += kill_busy(server)
        settle(server, killed)
        if resumed(server) - before == len(cuts):
            return events
    raise AssertionError("no kill came in time")


def assert_same(server, ask, cuts):
    whole = [plain(event) for event in ask()]
    for cut in cuts:
        events = broken(server, ask, cut if isinstance(cut, tuple) else (cut,))
        assert [plain(event) for event in events] == whole
        assert len({unique for event in events for unique in unique_of(event)}) == 1
    return whole


CASES = {
    "greedy": (chat, {"temperature": 0}),
    "sampled": (chat, {**SAMPLED}),
    "penalties": (chat, {**SAMPLED, "presence_penalty": 0.7, "frequency_penalty": 0.4, "logit_bias": {"28": 2},
                         "extra_body": {"repetition_penalty": 1.2, "min_tokens": 20, "dry_multiplier": 0.8}}),
    "logprobs": (chat, {**SAMPLED, "logprobs": True, "top_logprobs": 3}),
    "usage in every chunk": (chat, {**SAMPLED, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
    "ids of tokens": (chat, {**SAMPLED, "extra_body": {"return_token_ids": True}}),
    "schema": (chat, {**SAMPLED, "max_tokens": 400, "response_format": {
        "type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}}),
    "tool": (chat, {**SAMPLED, "max_tokens": 400, "tools": [WEATHER], "tool_choice": "required"}),
    "characters of several tokens": (chat, {**SAMPLED, "max_tokens": 300, "extra_body": {
        "guided_regex": "[\U0001f339\U0001f33b\U0001f9ff\U0001fae7]{40}"}}),
    "reasoning": (chat, {**SAMPLED, "max_tokens": 300, "extra_body": {
        "guided_regex": "<think>[a-z ]{150}</think>[a-z ]{100}", "thinking_token_budget": 20}}),
    "text": (text, {"temperature": 0, "echo": True}),
    "text with log probabilities": (text, {**SAMPLED, "logprobs": 2}),
    "responses": (responses, {"temperature": 0, "store": False}),
    "messages": (messages, {"extra_body": {"temperature": 0}}),
    "messages with a tool": (messages, {
        "extra_body": {"temperature": 0}, "max_tokens": 400, "tool_choice": {"type": "any"}, "tools": [
            {"name": "weather", "description": "The weather.", "input_schema": WEATHER["function"]["parameters"]}]}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_stream_goes_on_to_the_byte(server, case):
    ask, fields = CASES[case]
    whole = assert_same(server, lambda: ask(server, **json.loads(json.dumps(fields))), [1, 17] if case == "sampled" else [9])
    assert len(whole) > 20


def test_a_stream_goes_on_as_often_as_it_is_to(start_gateway):
    server = start_gateway(CONFIG.replace("CACHING", "false").replace("retries: 4", "retries: 4, quarantine_time: 0s"))
    settle(server, [])
    assert_same(server, lambda: chat(server, **SAMPLED, max_tokens=250), [(5, 60)])


def test_a_stream_that_two_replicas_were_lost_with_is_given_to_no_third(server):
    events, killed = [], []
    with pytest.raises(openai.APIError) as error:
        for event in chat(server, temperature=0, max_tokens=1900, extra_body={"user": "poison"}):
            events.append(event)
            if len(events) in (10, 100):
                wait_until(lambda: any(replica["outstanding"] > 0 for replica in replicas_of(server)))
                killed += kill_busy(server)
    settle(server, killed)
    assert len(killed) == 2 and error.value.code == "request_quarantined"


def test_a_stop_string_is_found_across_the_break(server):
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chat(server, **SAMPLED) if chunk.choices)
    stop = said[len(said) * 3 // 4:][:12]  # some tokens, held back until the last of them
    whole = assert_same(server, lambda: chat(server, **SAMPLED, stop=[stop, said[60:70] + "\x01"]), [3])
    assert '"finish_reason": "stop"' in whole[-2]


def test_a_stream_without_a_seed_goes_on(server):
    """Its seed is the gateway's, so nobody can compare; all its tokens come."""
    events = broken(server, lambda: chat(server, temperature=1.0, stream_options={
        "include_usage": True, "continuous_usage_stats": True}), (10,))
    counts = [event.usage.completion_tokens for event in events]
    assert counts == sorted(counts) and counts[-1] == 100
    assert events[-2].choices[0].finish_reason == "length"


def test_equal_requests_without_a_seed_differ(server):
    answers = {"".join(chunk.choices[0].delta.content or "" for chunk in chat(server, temperature=1.0, max_tokens=20)
                       if chunk.choices) for _ in range(3)}
    assert len(answers) == 3


def test_what_the_cache_gave_is_told_as_of_the_beginning(start_gateway):
    server = start_gateway(CONFIG.replace("CACHING", "true"))
    settle(server, [])
    fields = {**SAMPLED, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    for _ in range(2):
        list(chat(server, **fields, max_tokens=2))
    events = broken(server, lambda: chat(server, **fields), (10,))
    cached = {event.usage.prompt_tokens_details.cached_tokens for event in events[1:]}
    assert len(cached) == 1 and events[-1].usage.completion_tokens == 100


def test_the_gateways_own_headers_mean_nothing_from_outside(server):
    headers = {"x-penstock-continue": "3 1 0 0", "x-penstock-answer": "1 1 0123456789abcdef01234567", "x-penstock-usage": "1"}
    body = {"model": MODEL, "prompt": "a", "max_tokens": 3, "stream": True}
    with httpx.stream("POST", server.url + "/v1/completions", json=body, headers=headers, timeout=60) as answer:
        lines = list(answer.iter_lines())
    assert answer.status_code == 200 and "0123456789abcdef01234567" not in "".join(lines)
    assert not any(line.startswith(":u") for line in lines) and lines[-2] == "data: [DONE]"


@pytest.mark.parametrize("fields", [{"extra_body": {"mirostat": 2, "mirostat_tau": 5}}, {"n": 3}])
def test_what_is_not_exact_ends_with_an_error(server, fields):
    before = metric_of(server, "penstock_stream_continuations_total", model=MODEL, outcome="impossible")
    for _ in range(20):
        killed = []
        try:
            for count, _ in enumerate(text(server, **fields, max_tokens=300)):
                if count == 5:
                    killed = kill_busy(server)
        except openai.APIError as error:
            assert error.code == "replica_lost"
            break
        finally:
            settle(server, killed)
    assert metric_of(server, "penstock_stream_continuations_total", model=MODEL, outcome="impossible") == before + 1


def test_a_stream_of_a_replica_that_stands_still_goes_on(start_gateway):
    """It is no more waited for than upstream.idle_timeout; then it is as good as lost."""
    server = start_gateway(CONFIG.replace("CACHING", "false").replace("retries: 4", "retries: 4, idle_timeout: 2s")
                           .replace("backoff_max: 20ms", "backoff_max: 20ms, heartbeat_timeout: 1h, stall_timeout: 1h"))
    settle(server, [])
    whole = [plain(event) for event in chat(server, **SAMPLED, max_tokens=300)]
    for _ in range(20):
        before, events, stopped = resumed(server), [], []
        try:
            for event in chat(server, **SAMPLED, max_tokens=300):
                events.append(plain(event))
                if len(events) == 5:
                    stopped = [replica["pid"] for replica in replicas_of(server) if replica["outstanding"] > 0]
                    for pid in stopped:
                        os.kill(pid, signal.SIGSTOP)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        assert events == whole
        if resumed(server) > before:
            return
    raise AssertionError("no stop came in time")


def test_many_streams_of_a_lost_replica_go_on(server):
    """All of them, each as it would have: they stand on the other replica one after the other until each has had a token."""
    seeds = range(8)
    whole = {seed: [plain(event) for event in chat(server, temperature=1.0, seed=seed)] for seed in seeds}
    for _ in range(20):
        before, answers, begun = resumed(server), {}, threading.Semaphore(0)

        def ask(seed):
            answers[seed] = []
            for event in chat(server, temperature=1.0, seed=seed):
                answers[seed].append(plain(event))
                if len(answers[seed]) == 1:
                    begun.release()

        victim, other = [replica["pid"] for replica in replicas_of(server)]
        threads = [threading.Thread(target=ask, args=(seed,)) for seed in seeds]
        for pid in (victim, other):
            os.kill(pid, signal.SIGSTOP)
        for thread in threads:
            thread.start()
        wait_until(lambda: all(replica["outstanding"] > 1 for replica in replicas_of(server)))
        os.kill(victim, signal.SIGCONT)
        assert begun.acquire(timeout=60) and begun.acquire(timeout=60)
        os.kill(victim, signal.SIGKILL)
        os.kill(other, signal.SIGCONT)
        for thread in threads:
            thread.join(120)
        settle(server, [victim])
        assert answers == whole
        if resumed(server) >= before + 2:
            return
    raise AssertionError("no kill came in time")
