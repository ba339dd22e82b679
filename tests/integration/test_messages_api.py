"""Anthropic's messages API through its official client: whole, streamed, counted, refused."""
import hashlib
import os
import signal

import anthropic
import httpx
import openai
import pytest
from replica_client import MODEL, post
from support.observe import wait_until

QUESTION = [{"role": "user", "content": "Count from one to twenty in words."}]
GREEDY = {"temperature": 0}
WEATHER = {"name": "weather", "description": "The weather of a town.",
           "input_schema": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}}


def client_of(server, key="none"):
    return anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0, timeout=120)


@pytest.fixture(params=["replica", "gateway"])
def server(request):
    """Both roles speak it."""
    return request.getfixturevalue(request.param)


def test_an_answer_has_blocks_usage_and_the_requests_id(server):
    answer = client_of(server).messages.create(model=MODEL, max_tokens=9, messages=QUESTION,
                                               extra_body={"temperature": 0, "ignore_eos": True})
    assert answer.type == "message" and answer.role == "assistant" and answer.model == MODEL
    assert [block.type for block in answer.content] == ["text"] and answer.content[0].text
    assert answer.stop_reason == "max_tokens" and answer.stop_sequence is None
    assert answer.usage.output_tokens == 9
    counted = client_of(server).messages.count_tokens(model=MODEL, messages=QUESTION)
    usage = answer.usage
    assert (usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
            == counted.input_tokens > 0)
    assert answer._request_id


def test_a_stream_adds_up_to_the_whole_answer(server):
    client = client_of(server)
    options = dict(model=MODEL, max_tokens=24, messages=QUESTION, extra_body=GREEDY,
                   system=[{"type": "text", "text": "Be exact."}])
    whole = client.messages.create(**options)
    with client.messages.stream(**options) as stream:
        kinds = [event.type for event in stream if event.type.startswith(("message", "content"))]
        final = stream.get_final_message()
    assert final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert kinds[0] == "message_start" and kinds[1] == "content_block_start"
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}


async def test_the_async_client_streams_too(server):
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        async with client.messages.stream(model=MODEL, max_tokens=8, messages=QUESTION) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
    assert text == final.content[0].text != ""


def test_a_stop_sequence_ends_the_answer_and_is_named(server):
    whole = client_of(server).messages.create(model=MODEL, max_tokens=30, messages=QUESTION, extra_body=GREEDY)
    word = whole.content[0].text[8:12]
    answer = client_of(server).messages.create(model=MODEL, max_tokens=30, messages=QUESTION, extra_body=GREEDY,
                                               stop_sequences=[word])
    assert answer.stop_reason == "stop_sequence" and answer.stop_sequence == word
    assert word not in answer.content[0].text


def test_an_assistants_last_message_is_continued(server):
    answer = client_of(server).messages.create(
        model=MODEL, max_tokens=6, extra_body=GREEDY,
        messages=[*QUESTION, {"role": "assistant", "content": "One, two, three,"}])
    assert "four" in answer.content[0].text.lower()


def test_a_conversation_with_tools_and_thinking_is_taken(server):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "How is the weather in Ulm?",
                                      "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "I need the tool.", "signature": ""},
            {"type": "text", "text": "One moment."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"town": "Ulm"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sunny"}]},
            {"type": "text", "text": "And?"}]},
    ]
    answer = client_of(server).messages.create(model=MODEL, max_tokens=6, messages=messages, tools=[WEATHER],
                                               thinking={"type": "disabled"}, metadata={"user_id": "u1"})
    assert answer.usage.output_tokens >= 1


@pytest.mark.parametrize("change, words", [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "text only"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"stop_sequences": [""]}, "stop_sequences"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "custom"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
    ({"system": [{"type": "image"}]}, "system[0].type"),
])
def test_what_is_wrong_is_named_in_the_apis_own_words(replica, change, words):
    body = {"model": MODEL, "max_tokens": 4, "messages": QUESTION, **change}
    status, headers, answer = post(replica, "/v1/messages", {k: v for k, v in body.items() if v is not None})
    assert status == 400 and answer["type"] == "error"
    assert answer["error"]["type"] == "invalid_request_error" and words in answer["error"]["message"]
    assert answer["request_id"] == headers["request-id"] == headers["x-request-id"]


def test_fields_that_are_not_honoured_are_named(replica):
    status, headers, _ = post(replica, "/v1/messages",
                              {"model": MODEL, "max_tokens": 2, "messages": QUESTION, "speed": "fast", "novel": 1})
    assert status == 200 and {"speed", "novel"} <= set(headers["x-ignored-params"].split(","))


def test_the_client_raises_its_own_errors(server):
    client = client_of(server)
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.messages.create(model="nobody", max_tokens=4, messages=QUESTION)
    assert raised.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        client.messages.count_tokens(model=MODEL, messages=[])


KEYS = {"a": "sk-a-0123456789abcdef0123456789abcdef", "b": "sk-b-0123456789abcdef0123456789abcdef"}
KEYED = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
auth:
  keys:
""" + "".join(f"    - {{name: {name}, sha256: {hashlib.sha256(key.encode()).hexdigest()}}}\n" for name, key in KEYS.items()) + """
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
"""


@pytest.fixture(scope="module")
def keyed(module_servers):
    return module_servers[0](KEYED)


def test_the_gateway_takes_the_clients_key_and_refuses_others_in_its_shape(keyed):
    answer = client_of(keyed, KEYS["a"]).messages.create(model=MODEL, max_tokens=2, messages=QUESTION)
    assert answer.usage.output_tokens >= 1
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client_of(keyed, "wrong").messages.create(model=MODEL, max_tokens=2, messages=QUESTION)
    assert raised.value.body["error"]["type"] == "authentication_error" and raised.value.body["request_id"]
    assert raised.value.response.headers["request-id"] == raised.value.body["request_id"]


def test_stored_responses_are_their_tenants_alone(keyed):
    ours, theirs = (openai.OpenAI(base_url=keyed.url + "/v1", api_key=KEYS[name], max_retries=0) for name in "ab")
    answer = ours.responses.create(model=MODEL, input="x", max_output_tokens=2)
    for call in (theirs.responses.retrieve, theirs.responses.delete, theirs.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            call(answer.id)
    with pytest.raises(openai.NotFoundError):
        theirs.responses.create(model=MODEL, input="y", previous_response_id=answer.id, max_output_tokens=2)
    assert ours.responses.retrieve(answer.id).id == answer.id


FRAGILE = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
upstream:
  ready_timeout: 0s
supervise:
  backoff_first: BACKOFF
  backoff_max: 60s
models:
  - name: smollm2
    path: {model}
    max_model_len: 512
"""


def kill_replica(gateway):
    pid = httpx.get(gateway.admin_url + "/admin/replicas", timeout=10).json()["replicas"][0]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: httpx.get(gateway.admin_url + "/admin/replicas", timeout=10).json()["replicas"][0]["pid"] != pid,
               what="the replica's end")


def test_a_gateway_without_a_replica_says_so_in_each_apis_shape(start_gateway):
    gateway = start_gateway(FRAGILE.replace("BACKOFF", "60s"))
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0)
    answer = client.responses.create(model=MODEL, input="x", max_output_tokens=2)
    kill_replica(gateway)
    status, _, body = post(gateway, "/v1/messages", {"model": MODEL, "max_tokens": 2, "messages": QUESTION})
    assert status == 503 and body["type"] == "error" and body["error"]["type"] == "overloaded_error"
    with pytest.raises(openai.NotFoundError, match="gone"):
        client.responses.retrieve(answer.id)


def test_a_replica_that_began_anew_has_forgotten(start_gateway):
    gateway = start_gateway(FRAGILE.replace("BACKOFF", "200ms"))
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0)
    answer = client.responses.create(model=MODEL, input="x", max_output_tokens=2)
    kill_replica(gateway)
    gateway.wait_until_ready()
    with pytest.raises(openai.NotFoundError, match="not stored|not any more|not found"):
        client.responses.create(model=MODEL, input="y", previous_response_id=answer.id)
