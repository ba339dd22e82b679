"""Chat and text completions through the official client, whole and streamed."""
import json

import openai
import pytest
from replica_client import MODEL, QUESTION, async_client_of, client_of, post


def test_a_greedy_answer_has_exact_usage(replica):
    client = client_of(replica)
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=9,
                                            extra_body={"return_token_ids": True, "ignore_eos": True})
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert answer.model == MODEL and answer.system_fingerprint.startswith("fp_")
    assert choice.finish_reason == "length" and choice.message.role == "assistant" and choice.message.content
    assert answer.usage.completion_tokens == 9 == len(choice.model_extra["token_ids"])
    assert answer.usage.prompt_tokens == len(answer.model_extra["prompt_token_ids"])
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 9
    counted = post(replica, "/tokenize", {"model": MODEL, "messages": QUESTION})[2]
    assert counted["tokens"] == answer.model_extra["prompt_token_ids"]


def test_a_prediction_is_counted_and_changes_nothing(replica):
    client = client_of(replica)
    options = dict(model=MODEL, messages=QUESTION, temperature=0, max_tokens=48)
    plain = client.chat.completions.create(**options, extra_body={"return_token_ids": True})
    text = plain.choices[0].message.content
    said = plain.choices[0].model_extra["token_ids"]
    known = post(replica, "/tokenize", {"prompt": text, "add_special_tokens": False})[2]["tokens"]
    assert plain.usage.completion_tokens_details.accepted_prediction_tokens == 0
    assert plain.usage.completion_tokens_details.rejected_prediction_tokens == 0
    assert said[:len(known)] == known

    def predict(content):
        answer = client.chat.completions.with_raw_response.create(
            **options, prediction={"type": "content", "content": content})
        assert "x-ignored-params" not in answer.headers
        parsed = answer.parse()
        assert parsed.choices[0].message.content == text
        assert parsed.usage.completion_tokens == plain.usage.completion_tokens
        details = parsed.usage.completion_tokens_details
        return details.accepted_prediction_tokens, details.rejected_prediction_tokens

    assert predict(text) == (len(known), 0)
    assert predict([{"type": "text", "text": text[:9]}, {"type": "text", "text": text[9:]}]) == (len(known), 0)
    accepted, rejected = predict("Nothing of that: " + text)
    assert 0 < accepted < len(known) and accepted + rejected > len(known)
    accepted, rejected = predict("%&/ " * 20)
    assert accepted == 0 and rejected > 20


def test_a_stream_adds_up_to_the_whole_answer(replica):
    client = client_of(replica)
    options = dict(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24, seed=1)
    whole = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_each_token_keeps_its_own_event(replica):
    stream = client_of(replica).chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=20, stream=True, logprobs=True,
        stream_options={"continuous_usage_stats": True}, extra_body={"ignore_eos": True})
    tokens = 0
    for chunk in stream:
        if chunk.choices and chunk.choices[0].logprobs:
            assert len(chunk.choices[0].logprobs.content) == 1
            tokens += 1
            assert chunk.usage.completion_tokens == tokens
    assert tokens == 20


async def test_the_async_client_streams_too(replica):
    client = async_client_of(replica)
    stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=8, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert text
    await client.close()


def test_all_roles_and_text_parts_are_taken(replica):
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "user", "content": [{"type": "text", "text": "Say it."}]},
    ]
    answer = client_of(replica).chat.completions.create(model=MODEL, messages=messages, max_tokens=4)
    assert answer.usage.completion_tokens >= 1
    shown = post(replica, "/tokenize", {"model": MODEL, "messages": messages})[2]["tokens"]
    text = post(replica, "/detokenize", {"model": MODEL, "tokens": shown})[2]["prompt"]
    assert "<|im_start|>system\nBe brief.\nBe kind.<|im_end|>" in text


def test_control_tokens_in_user_text_stay_text(replica):
    plain = post(replica, "/tokenize", {"messages": [{"role": "user", "content": "x"}]})[2]["tokens"]
    hostile = post(replica, "/tokenize", {"messages": [{"role": "user", "content": "<|im_end|>"}]})[2]["tokens"]
    end = post(replica, "/tokenize", {"prompt": "<|im_end|>", "add_special_tokens": False})[2]["tokens"]
    assert len(end) == 1
    assert hostile.count(end[0]) == plain.count(end[0])


def test_n_choices_share_the_prompt(replica):
    answer = client_of(replica).chat.completions.create(model=MODEL, messages=QUESTION, n=3, temperature=1, seed=7,
                                                        max_tokens=12, extra_body={"ignore_eos": True})
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert answer.usage.completion_tokens == 36


def test_n_streams_interleave_by_index(replica):
    stream = client_of(replica).chat.completions.create(model=MODEL, messages=QUESTION, n=2, temperature=1, seed=7,
                                                        max_tokens=10, stream=True, extra_body={"ignore_eos": True})
    texts, ends = {0: "", 1: ""}, {}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert ends == {0: "length", 1: "length"} and texts[0] != texts[1]


@pytest.mark.parametrize("field, value", [
    ("temperature", 0.7), ("top_p", 0.5), ("presence_penalty", 1.5), ("frequency_penalty", 1.5),
    ("logit_bias", {"100": 5}), ("seed", 3),
])
def test_the_official_sampling_fields_are_honoured(replica, field, value):
    answer = client_of(replica).chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, max_tokens=5, **{field: value})
    assert "x-ignored-params" not in answer.headers
    assert answer.parse().usage.completion_tokens >= 1


@pytest.mark.parametrize("field, value", [
    ("top_k", 5), ("min_p", 0.2), ("repetition_penalty", 1.3), ("min_tokens", 3), ("ignore_eos", True),
    ("stop_token_ids", [5]), ("include_stop_str_in_output", True), ("priority", 3), ("cache_salt", "a"),
    ("add_generation_prompt", True), ("chat_template_kwargs", {"x": 1}), ("return_token_ids", True),
])
def test_the_usual_extensions_are_honoured(replica, field, value):
    answer = client_of(replica).chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, max_tokens=5, extra_body={field: value})
    assert "x-ignored-params" not in answer.headers
    assert answer.parse().usage.completion_tokens >= 1


def test_a_banned_token_never_comes_and_a_forced_one_always(replica):
    client = client_of(replica)
    token = post(replica, "/tokenize", {"prompt": " seven"})[2]["tokens"][0]
    forced = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4, temperature=0,
                                            logit_bias={str(token): 100}, extra_body={"return_token_ids": True})
    assert forced.choices[0].model_extra["token_ids"] == [token] * 4
    free = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4, temperature=0,
                                          extra_body={"return_token_ids": True}).choices[0].model_extra["token_ids"]
    banned = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4, temperature=0,
                                            logit_bias={str(free[0]): -100}, extra_body={"return_token_ids": True})
    assert free[0] not in banned.choices[0].model_extra["token_ids"]


def test_a_stop_string_across_token_borders_ends_the_text(replica):
    client = client_of(replica)
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24)
    text = whole.choices[0].message.content
    assert len(text) > 12
    middle = len(text) // 2
    stop = text[middle - 3:middle + 3]
    before = text[:text.index(stop)]
    for options in (dict(), dict(stream=True)):
        answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24,
                                                stop=[stop, "never there"], **options)
        if options:
            chunks = [chunk.choices[0] for chunk in answer if chunk.choices]
            found, last = "".join(c.delta.content or "" for c in chunks), chunks[-1]
        else:
            found, last = answer.choices[0].message.content, answer.choices[0]
        assert found == before
        assert last.finish_reason == "stop" and last.model_extra["stop_reason"] == stop
    kept = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24, stop=stop,
                                          extra_body={"include_stop_str_in_output": True})
    assert kept.choices[0].message.content == before + stop


def test_chat_logprobs_agree_with_the_text(replica):
    answer = client_of(replica).chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=6,
                                                        logprobs=True, top_logprobs=4, extra_body={"ignore_eos": True})
    content = answer.choices[0].logprobs.content
    assert len(content) == 6
    for item in content:
        assert item.logprob <= 0 and len(item.top_logprobs) == 4
        assert item.top_logprobs[0].logprob == max(top.logprob for top in item.top_logprobs)
        assert item.top_logprobs[0].token == item.token  # greedy
    data = b"".join(bytes(item.bytes) for item in content)
    assert data.decode(errors="ignore").startswith(answer.choices[0].message.content)


def test_text_logprobs_are_parallel_lists(replica):
    answer = client_of(replica).completions.create(model=MODEL, prompt="One, two, three,", temperature=0, max_tokens=5,
                                                   logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 5
    assert logprobs.text_offset[0] == 0 and logprobs.text_offset[1] == len(logprobs.tokens[0])
    assert all(token in top for token, top in zip(logprobs.tokens, logprobs.top_logprobs))


def test_several_prompts_of_every_kind_in_one_request(replica):
    client = client_of(replica)
    ids = post(replica, "/tokenize", {"prompt": "Hello there"})[2]["tokens"]
    texts = client.completions.create(model=MODEL, prompt=["Hello there", "Good bye"], n=2, temperature=0, max_tokens=4)
    assert [choice.index for choice in texts.choices] == [0, 1, 2, 3]
    assert texts.choices[0].text == texts.choices[1].text
    tokens = client.completions.create(model=MODEL, prompt=[ids], temperature=0, max_tokens=4)
    assert tokens.choices[0].text == texts.choices[0].text
    one = client.completions.create(model=MODEL, prompt=ids, temperature=0, max_tokens=4)
    assert one.choices[0].text == texts.choices[0].text
    assert one.usage.prompt_tokens == len(ids)


def test_echo_puts_the_prompt_first(replica):
    client = client_of(replica)
    plain = client.completions.create(model=MODEL, prompt="A b c", temperature=0, max_tokens=5).choices[0].text
    assert client.completions.create(model=MODEL, prompt="A b c", temperature=0, max_tokens=5,
                                     echo=True).choices[0].text == "A b c" + plain
    nothing = client.completions.create(model=MODEL, prompt="A b c", max_tokens=0, echo=True)
    assert nothing.choices[0].text == "A b c" and nothing.usage.completion_tokens == 0
    stream = client.completions.create(model=MODEL, prompt="A b c", temperature=0, max_tokens=5, echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == "A b c" + plain


def test_completions_without_max_tokens_stop_at_sixteen(replica):
    answer = client_of(replica).completions.create(model=MODEL, prompt="x", extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 16


def test_the_final_message_is_continued(replica):
    messages = [{"role": "user", "content": "Capital of France?"}, {"role": "assistant", "content": "The capital is"}]
    body = {"model": MODEL, "messages": messages, "continue_final_message": True}
    ids = post(replica, "/tokenize", body)[2]["tokens"]
    text = post(replica, "/detokenize", {"tokens": ids})[2]["prompt"]
    assert text.endswith("The capital is")


def test_headers_tell_the_phases_and_what_was_ignored(replica):
    raw = client_of(replica).chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, max_tokens=3, extra_headers={"x-request-id": "my-id"},
        extra_body={"no_such_field": 1, "session_id": "k"})
    assert raw.headers["x-request-id"] == "my-id"
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert all(phase in raw.headers["server-timing"] for phase in ("queue;dur=", "prefill;dur=", "decode;dur="))
    assert raw.headers["x-ignored-params"] == "no_such_field,session_id"


def test_the_prefix_is_found_again_and_salts_keep_apart(replica):
    long = [{"role": "user", "content": "Repeat after me: " + "prefix " * 60}]
    client = client_of(replica)

    def cached(**extra):
        answer = client.chat.completions.create(model=MODEL, messages=long, max_tokens=1, extra_body=extra)
        return answer.usage.prompt_tokens_details.cached_tokens

    assert cached(cache_salt="tenant-a") == 0
    assert cached(cache_salt="tenant-a") >= 48
    assert cached(cache_salt="tenant-b") == 0


def test_models_are_listed_and_found(replica):
    client = client_of(replica)
    models = client.models.list().data
    assert [model.id for model in models] == [MODEL] and models[0].owned_by == "penstock"
    assert client.models.retrieve(MODEL).model_extra["max_model_len"] > 0
    with pytest.raises(openai.NotFoundError) as failure:
        client.models.retrieve("no-such/model")
    assert failure.value.code == "model_not_found"


def test_tokenizer_endpoints_go_both_ways(replica):
    text = "Grüße, 世界! \U0001f600 <|im_end|>"
    status, _, answer = post(replica, "/tokenize", {"model": MODEL, "prompt": text, "return_token_strs": True})
    assert status == 200 and answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert post(replica, "/detokenize", {"model": MODEL, "tokens": answer["tokens"]})[2] == {"prompt": text}


def test_stream_bytes_are_well_formed_events(replica):
    connection = replica.connection()
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 3, "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    response = connection.getresponse()
    assert response.getheader("content-type").startswith("text/event-stream")
    events = [event for event in response.read().decode().split("\n\n") if event and not event.startswith(":")]
    connection.close()
    assert events[-1] == "data: [DONE]"
    assert all(json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk" for event in events[:-1])
