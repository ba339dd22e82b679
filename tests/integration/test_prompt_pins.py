"""Prompts that clients ask to be kept in the prefix cache: they outlast others, and change nothing else."""
import anthropic
import pytest
from replica_client import MODEL, metric, post

# 96 blocks of 368,640 bytes: 1,536 tokens, of which the half may be pinned.
CONFIG = "models:\n  - name: smollm2\n    path: {model}\n    max_model_len: 1024\n    kv_cache_memory: 35389440\n"
WORDS = "The harbour master keeps a list of every ship that has come in since the spring. "


@pytest.fixture
def server(start_replica):
    return start_replica(CONFIG)


def marked(text, ttl):
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}}


def ask(server, system, question, **options):
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=120)
    answer = client.messages.create(model=MODEL, max_tokens=1, system=system, extra_body={"temperature": 0, **options},
                                    messages=[{"role": "user", "content": question}])
    usage = answer.usage
    split = usage.cache_creation
    assert (split.ephemeral_5m_input_tokens + split.ephemeral_1h_input_tokens == usage.cache_creation_input_tokens)
    counted = client.messages.count_tokens(model=MODEL, system=system, messages=[{"role": "user", "content": question}])
    assert (usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
            == counted.input_tokens)
    return usage


def flush(server):
    """More other prompts than the cache has room for."""
    for i in range(6):
        status, _, body = post(server, "/v1/completions", {
            "model": MODEL, "prompt": f"Flush {i}. " + f"Number {i} is not any other. " * 60, "max_tokens": 1})
        assert status == 200 and body["usage"]["prompt_tokens"] > 300


def test_a_marked_prefix_outlasts_others_and_usage_says_so(server):
    rules = "Rules of the port. " + WORDS * 12
    hour = "Older than an hour. " + WORDS * 4
    system = [marked(hour, "1h"), marked(rules, "5m")]
    first = ask(server, system, "Who keeps the list?")
    written = first.cache_creation_input_tokens
    assert first.cache_read_input_tokens == 0 and written > 200 and written % 16 == 0
    lasting = first.cache_creation.ephemeral_1h_input_tokens
    assert 48 <= lasting < written / 2 and lasting % 16 == 0
    plain = [{"type": "text", "text": "Nobody marked this. " + WORDS * 8}]
    assert ask(server, plain, "Who?").cache_creation_input_tokens == 0
    flush(server)
    again = ask(server, system, "Which ships?")
    assert again.cache_read_input_tokens == written and again.cache_creation_input_tokens == 0
    assert ask(server, plain, "Who?").cache_read_input_tokens == 0
    assert metric(server, "penstock_kv_pinned_blocks", model_name=MODEL) == written / 16
    # Another salt is another cache.
    assert ask(server, system, "Which ships?", cache_salt="mine").cache_read_input_tokens == 0


def test_pins_give_way_to_a_prompt_that_needs_their_room(server):
    system = [marked("Regulation. " + WORDS * 30, "1h")]
    assert ask(server, system, "And?").cache_creation_input_tokens > 400
    for i in range(2):
        body = {"model": MODEL, "prompt": f"Room {i}: " + WORDS * 45, "max_tokens": 8, "n": 4, "ignore_eos": True}
        status, _, answer = post(server, "/v1/completions", body)
        assert status == 200 and answer["usage"]["completion_tokens"] == 32


@pytest.mark.parametrize("fields", [
    {"prompt_cache_retention": "24h"},
    {"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}},
], ids=lambda fields: next(iter(fields)))
def test_a_whole_prompt_is_kept_where_a_request_asks(server, fields):
    prompt = f"Kept by {next(iter(fields))}. " + WORDS * 10
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 1}
    status, headers, _ = post(server, "/v1/completions", {**body, **fields})
    assert status == 200 and "x-ignored-params" not in headers
    flush(server)
    usage = post(server, "/v1/completions", body)[2]["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert usage["prompt_tokens"] - 16 <= cached < usage["prompt_tokens"]


def test_a_breakpoint_keeps_what_stands_before_it(server):
    kept, rest = "Up to here. " + WORDS * 8, "Not this. " + WORDS * 8

    def content(*mark):
        return [{"type": "text", "text": kept, **dict(mark)}, {"type": "text", "text": rest}]

    body = {"model": MODEL, "max_tokens": 1}
    mark = ("prompt_cache_breakpoint", {"mode": "explicit"})
    usage = post(server, "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": content(mark)}]})
    assert usage[0] == 200 and usage[2]["usage"]["prompt_tokens_details"]["cached_tokens"] < 32
    flush(server)
    usage = post(server, "/v1/chat/completions",
                 {**body, "messages": [{"role": "user", "content": content()}]})[2]["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    tokens = len(post(server, "/tokenize", {"prompt": kept, "add_special_tokens": False})[2]["tokens"])
    assert tokens - 16 < cached < tokens + 48
