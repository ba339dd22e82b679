"""OpenAI's responses API through its official client: whole, streamed, stored, continued, refused."""
import openai
import pytest
from replica_client import MODEL, async_client_of, client_of, post

QUESTION = "Count from one to twenty in words."
WEATHER = {"type": "function", "name": "weather", "description": "The weather of a town.", "strict": True,
           "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"],
                          "additionalProperties": False}}
TWO_REPLICAS = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
models:
  - name: smollm2
    path: {model}
    replicas: 2
    max_model_len: 1024
"""


@pytest.fixture(params=["replica", "gateway"])
def server(request):
    """Both roles speak it."""
    return request.getfixturevalue(request.param)


def test_an_answer_has_every_member_of_the_official_type(server):
    answer = client_of(server).responses.create(
        model=MODEL, input=QUESTION, instructions="Be exact.", temperature=0, max_output_tokens=9,
        metadata={"topic": "numbers"}, extra_body={"ignore_eos": True})
    assert answer.object == "response" and answer.status == "incomplete" and answer.error is None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output[0].type == "message" and answer.output[0].role == "assistant"
    assert answer.output[0].status == "incomplete" and answer.output_text
    assert answer.usage.output_tokens == 9
    assert answer.usage.total_tokens == answer.usage.input_tokens + 9
    assert answer.instructions == "Be exact." and answer.metadata == {"topic": "numbers"}
    assert answer.max_output_tokens == 9 and answer.temperature == 0 and answer.tools == []
    assert answer.text.format.type == "text" and answer.truncation == "disabled" and answer.tool_choice == "auto"
    counted = client_of(server).responses.input_tokens.count(model=MODEL, input=QUESTION, instructions="Be exact.")
    assert counted.input_tokens == answer.usage.input_tokens


def test_a_stream_tells_the_whole_answer_in_numbered_events(server):
    client = client_of(server)
    options = dict(model=MODEL, input=[{"role": "user", "content": QUESTION}], temperature=0, max_output_tokens=24)
    whole = client.responses.create(**options)
    events = list(client.responses.create(**options, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == ["response.created", "response.in_progress", "response.output_item.added",
                         "response.content_part.added"]
    assert kinds[-4:-1] == ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text == events[-4].text == events[-3].part.text
    last = events[-1].response
    assert kinds[-1] == "response." + last.status and last.status == whole.status
    assert last.output_text == text and last.output[0] == events[-2].item
    assert last.usage.output_tokens == whole.usage.output_tokens
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {last.output[0].id}


def test_the_stream_helper_works(server):
    with client_of(server).responses.stream(model=MODEL, input="What is the capital of France?", temperature=0,
                                            max_output_tokens=40) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.status == "completed" and final.output_text == "".join(deltas) and "Paris" in final.output_text


async def test_the_async_client_streams_too(server):
    client = async_client_of(server)
    stream = await client.responses.create(model=MODEL, input=QUESTION, max_output_tokens=8, stream=True)
    kinds = [event.type async for event in stream]
    assert kinds[0] == "response.created" and kinds[-1] in ("response.incomplete", "response.completed")
    await client.close()


def test_log_probabilities_come_with_the_text(replica):
    options = dict(model=MODEL, input=QUESTION, temperature=0, max_output_tokens=5, top_logprobs=2,
                   include=["message.output_text.logprobs"])
    part = client_of(replica).responses.create(**options).output[0].content[0]
    assert len(part.logprobs) == 5 and all(len(item.top_logprobs) == 2 for item in part.logprobs)
    assert "".join(item.token for item in part.logprobs) == part.text
    events = list(client_of(replica).responses.create(**options, stream=True))
    streamed = [item.token for event in events if event.type == "response.output_text.delta" for item in event.logprobs]
    assert streamed == [item.token for item in part.logprobs]
    assert events[-1].response.output[0].content[0].logprobs == part.logprobs


def test_an_answer_is_continued_by_its_id(server):
    client = client_of(server)
    first = client.responses.create(model=MODEL, input="My name is Ada. Remember it.", temperature=0,
                                    max_output_tokens=20)
    second = client.responses.create(model=MODEL, input="What is my name?", previous_response_id=first.id,
                                     temperature=0, max_output_tokens=20)
    assert second.previous_response_id == first.id
    by_hand = client.responses.create(
        model=MODEL, temperature=0, max_output_tokens=20, store=False,
        input=[{"role": "user", "content": "My name is Ada. Remember it."},
               {"role": "assistant", "content": first.output_text}, {"role": "user", "content": "What is my name?"}])
    assert second.usage.input_tokens == by_hand.usage.input_tokens
    assert second.output_text == by_hand.output_text
    third = client.responses.create(model=MODEL, input="Thanks.", previous_response_id=second.id, max_output_tokens=2)
    assert third.usage.input_tokens > second.usage.input_tokens + second.usage.output_tokens
    by_item = client.responses.create(
        model=MODEL, temperature=0, max_output_tokens=20,
        input=[{"role": "user", "content": "My name is Ada. Remember it."},
               {"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "What is my name?"}])
    assert by_item.output_text == second.output_text


def test_stored_answers_are_fetched_listed_and_deleted(server):
    client = client_of(server)
    items = [{"role": "user", "content": "One."}, {"role": "user", "content": "Two."}]
    answer = list(client.responses.create(model=MODEL, input=items, max_output_tokens=4, stream=True))[-1].response
    assert client.responses.retrieve(answer.id).output_text == answer.output_text
    items = client.responses.input_items.list(answer.id)
    assert [item.content[0].text for item in items.data] == ["Two.", "One."] and not items.has_more
    rising = client.responses.input_items.list(answer.id, order="asc", limit=1)
    assert [item.content[0].text for item in rising.data] == ["One."] and rising.has_more
    assert [item.content[0].text for item in rising] == ["One.", "Two."]
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(answer.id)
    client.responses.delete(answer.id)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel,
                 client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            call(answer.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model=MODEL, input="x", previous_response_id=answer.id)


def test_what_is_not_to_be_stored_is_not(server):
    client = client_of(server)
    answer = client.responses.create(model=MODEL, input="x", max_output_tokens=2, store=False)
    assert answer.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_a_conversation_with_tools_and_reasoning_is_taken(server):
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "The weather in Ulm?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "A tool."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{\"town\":\"Ulm\"}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    answer = client_of(server).responses.create(model=MODEL, input=items, tools=[WEATHER], tool_choice="none",
                                                max_output_tokens=4)
    assert answer.usage.output_tokens >= 1 and answer.tools[0].name == "weather" and answer.tool_choice == "none"
    listed = client_of(server).responses.input_items.list(answer.id, order="asc").data
    assert [item.type for item in listed] == ["message", "message", "reasoning", "function_call", "function_call_output"]
    assert all(item.id for item in listed)


@pytest.mark.parametrize("change, param, words", [
    ({"input": None}, "input", "input"),
    ({"input": 7}, "input", "a string or an array"),
    ({"input": []}, "input", "input"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "developer"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0].type",
     "text only"),
    ({"input": [{"type": "computer_call"}]}, "input[0].type", "function_call"),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id", "call_id"),
    ({"input": [{"type": "item_reference", "id": "msg_nothing"}]}, "input[0].id", "not found"),
    ({"background": True}, "background", "stream"),
    ({"conversation": "conv_1"}, "conversation", "previous_response_id"),
    ({"prompt": {"id": "p"}}, "prompt", "templates"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "function"),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "name"),
    ({"text": {"format": {"type": "yaml"}}}, "text.format.type", "json_schema"),
    ({"max_output_tokens": 0}, "max_output_tokens", "minimum"),
    ({"truncation": "some"}, "truncation", "disabled"),
    ({"previous_response_id": 3}, "previous_response_id", "a string"),
    ({"n": 2}, "n", "one choice"),
    ({"temperature": 3}, "temperature", "maximum"),
    ({"metadata": "x"}, "metadata", "an object"),
])
def test_what_is_wrong_is_named(replica, change, param, words):
    body = {"model": MODEL, "max_output_tokens": 4, "input": QUESTION, **change}
    status, _, answer = post(replica, "/v1/responses", {k: v for k, v in body.items() if v is not None})
    assert status == 400 and answer["error"]["type"] == "invalid_request_error", answer
    assert answer["error"]["param"] == param and words in answer["error"]["message"]


def test_fields_that_are_not_honoured_are_named(replica):
    status, headers, _ = post(replica, "/v1/responses", {"model": MODEL, "max_output_tokens": 2, "input": "x",
                                                         "truncation": "auto", "max_tool_calls": 3, "novel": 1})
    assert status == 200 and {"truncation", "max_tool_calls", "novel"} <= set(headers["x-ignored-params"].split(","))


def test_ids_lead_to_their_replica_and_are_gone_with_it(start_gateway):
    gateway = start_gateway(TWO_REPLICAS)
    client = client_of(gateway)
    answers = [client.responses.create(model=MODEL, input="x", max_output_tokens=2) for _ in range(6)]
    assert len({answer.id[:9] for answer in answers}) == 2
    for answer in answers:
        assert client.responses.retrieve(answer.id).id == answer.id
        following = client.responses.create(model=MODEL, input="y", previous_response_id=answer.id, max_output_tokens=2)
        assert following.id[:9] == answer.id[:9]
    for unknown in ("resp_ffff0123456789abcdef01234567", "resp_0000nothing", "nothing"):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(unknown)


def test_records_end_with_their_count(start_replica):
    replica = start_replica("""
models:
  - name: smollm2
    path: {model}
    max_model_len: 512
responses:
  count: 2
""")
    client = client_of(replica)
    ids = [client.responses.create(model=MODEL, input="x", max_output_tokens=1).id for _ in range(3)]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(ids[0])
    assert client.responses.retrieve(ids[1]).id == ids[1] and client.responses.retrieve(ids[2]).id == ids[2]
