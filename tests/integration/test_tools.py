"""Tools and reasoning through the official clients: who may be called, who must, and what the arguments keep.

SmolLM2's chat template knows no tools, so they are told by the system message and called in the form hermes. What a model of
its size calls by itself is its own affair; what is checked is what the server answers for.
"""
import json

import anthropic
import jsonschema
import openai
import pytest
from replica_client import MODEL, async_client_of, client_of, post

WEATHER = {"type": "object", "additionalProperties": False, "required": ["town", "unit"], "properties": {
    "town": {"type": "string", "enum": ["Ulm", "Bonn"]}, "unit": {"type": "string", "enum": ["C", "F"]},
    "days": {"type": "integer", "minimum": 1, "maximum": 9}}}
CLOCK = {"type": "object", "additionalProperties": False, "required": ["zone"],
         "properties": {"zone": {"type": "string", "pattern": "^(UTC|CET)$"}}}
SCHEMAS = {"weather": WEATHER, "clock": CLOCK}
ASK = [{"role": "user", "content": "How is the weather in Ulm, and what time is it there?"}]


def tool(name, **more):
    return {"type": "function", "function": {"name": name, "description": f"The {name} of a town.",
                                             "parameters": SCHEMAS[name], **more}}


TOOLS = [tool("weather"), tool("clock")]
NAMED = {"type": "function", "function": {"name": "clock"}}
OPTIONS = dict(model=MODEL, messages=ASK, tools=TOOLS, max_tokens=200)


@pytest.fixture(params=["replica", "gateway"])
def server(request):
    return request.getfixturevalue(request.param)


def check_calls(calls, names):
    """Whole calls of these functions only, with arguments that their schemas allow."""
    for call in calls:
        assert call.type == "function" and call.id.startswith("call_") and call.function.name in names
        jsonschema.validate(json.loads(call.function.arguments), SCHEMAS[call.function.name])
    assert len({call.id for call in calls}) == len(calls)


def create(server, **options):
    return client_of(server).chat.completions.create(**{**OPTIONS, **options})


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_comes_and_keeps_its_schema(server, seed):
    choice = create(server, tool_choice="required", parallel_tool_calls=False, seed=seed).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert len(choice.message.tool_calls) == 1
    check_calls(choice.message.tool_calls, SCHEMAS)


@pytest.mark.parametrize("seed", range(3))
def test_a_function_that_is_named_is_called_once(replica, seed):
    choice = create(replica, tool_choice=NAMED, seed=seed, n=2)
    for one in choice.choices:
        assert len(one.message.tool_calls) == 1
        check_calls(one.message.tool_calls, ["clock"])


def test_several_calls_may_be_required(replica):
    counts = set()
    for seed in range(6):
        choice = create(replica, tool_choice="required", seed=seed, max_tokens=120, temperature=1.5).choices[0]
        whole = choice.message.tool_calls[:-1] if choice.finish_reason == "length" else choice.message.tool_calls
        check_calls(whole, SCHEMAS)
        counts.add(len(choice.message.tool_calls) > 1)
    assert True in counts


def test_only_allowed_tools_are_called(replica):
    for mode in ("required", "auto"):
        choice = create(replica, seed=1, parallel_tool_calls=False, tool_choice={
            "type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NAMED]}}).choices[0]
        assert mode == "auto" or choice.message.tool_calls
        check_calls(choice.message.tool_calls or [], ["clock"])


def test_none_keeps_tools_from_the_model(replica):
    chosen = create(replica, tool_choice="none", temperature=0, max_tokens=20)
    without = client_of(replica).chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=20)
    assert chosen.choices[0].message.content == without.choices[0].message.content
    assert chosen.choices[0].message.tool_calls is None
    assert chosen.usage.prompt_tokens == without.usage.prompt_tokens


def test_calls_among_text_are_told_from_it(server):
    """The text is given, so what is made of it is known."""
    text = 'Well.\n<tool_call>\n{"name": "clock", "arguments": {"zone": "CET"}}\n</tool_call>\n<tool_call> is a tag.'
    options = dict(extra_body={"structured_outputs": {"choice": [text]}}, seed=1)
    choice = create(server, **options).choices[0]
    check_calls(choice.message.tool_calls, SCHEMAS)
    assert choice.finish_reason == "tool_calls"
    if choice.message.content is not None:
        assert choice.message.content.startswith("Well.") and choice.message.content.endswith("<tool_call> is a tag.")
        assert [call.function.arguments for call in choice.message.tool_calls] == ['{"zone": "CET"}']


def test_strict_functions_keep_their_schema_without_being_required(replica):
    """Calls of before that break the schema are an example that the model follows, as far as it is let."""
    strict = [tool("weather", strict=True), tool("clock", strict=True)]
    rounds = []
    for town in ("Rome", "Paris", "Oslo"):
        rounds += [{"role": "user", "content": f"How is the weather in {town}?"},
                   {"role": "assistant", "content": "", "tool_calls": [
                       {"id": "call_1", "type": "function",
                        "function": {"name": "weather", "arguments": json.dumps({"town": town})}}]},
                   {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    found = []
    for seed in range(6):
        choice = create(replica, messages=[*rounds, {"role": "user", "content": "How is the weather in Lima?"}],
                        tools=strict, seed=seed, temperature=0.3, max_tokens=80).choices[0]
        calls = choice.message.tool_calls or []
        whole = calls[:-1] if choice.finish_reason == "length" else calls
        check_calls(whole, SCHEMAS)
        found += whole
    assert found


def test_a_stream_of_calls_adds_up(server):
    whole = create(server, tool_choice="required", seed=3, temperature=0).choices[0]
    chunks = list(create(server, tool_choice="required", seed=3, temperature=0, stream=True,
                         stream_options={"include_usage": True}))
    calls, finish = {}, None
    for chunk in chunks:
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            for piece in choice.delta.tool_calls or []:
                if piece.id is not None:
                    assert piece.index == len(calls) and piece.type == "function"
                    calls[piece.index] = [piece.id, piece.function.name, ""]
                calls[piece.index][2] += piece.function.arguments or ""
    assert finish == whole.finish_reason
    assert [call[1:] for call in calls.values()] == [[c.function.name, c.function.arguments]
                                                     for c in whole.message.tool_calls]
    assert chunks[-1].usage.completion_tokens > 0


def test_the_clients_stream_helper_parses_calls(replica):
    strict = [tool("weather", strict=True), tool("clock", strict=True)]
    with client_of(replica).chat.completions.stream(**{**OPTIONS, "tools": strict}, tool_choice="required",
                                                    parallel_tool_calls=False, seed=5) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    assert "tool_calls.function.arguments.delta" in kinds and "tool_calls.function.arguments.done" in kinds
    jsonschema.validate(message.tool_calls[0].function.parsed_arguments, SCHEMAS[message.tool_calls[0].function.name])


async def test_the_async_client_gets_calls(replica):
    answer = await async_client_of(replica).chat.completions.create(**OPTIONS, tool_choice=NAMED)
    check_calls(answer.choices[0].message.tool_calls, ["clock"])


def test_logprobs_of_calls_are_those_of_all_tokens(replica):
    answer = create(replica, tool_choice=NAMED, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert len(content) in (answer.usage.completion_tokens, answer.usage.completion_tokens - 1)
    text = "".join(item.token for item in content)
    assert '"name": "clock"' in text
    streamed = [item for chunk in create(replica, tool_choice=NAMED, logprobs=True, seed=1, stream=True)
                for choice in chunk.choices if choice.logprobs for item in choice.logprobs.content]
    assert '"name": "clock"' in "".join(item.token for item in streamed)


def test_calls_and_results_go_into_the_prompt(replica):
    first = create(replica, tool_choice=NAMED, seed=2)
    history = [*ASK, first.choices[0].message,
               {"role": "tool", "tool_call_id": first.choices[0].message.tool_calls[0].id, "content": "13:45"}]
    again = create(replica, messages=history, tool_choice="none")
    assert again.choices[0].message.content and again.usage.prompt_tokens > 0
    messages = [*ASK, first.choices[0].message.model_dump(exclude_none=True), history[-1]]
    status, _, answer = post(replica, "/tokenize", {"model": MODEL, "messages": messages, "tools": TOOLS})
    assert status == 200
    _, _, text = post(replica, "/detokenize", {"model": MODEL, "tokens": answer["tokens"]})
    prompt = text["prompt"]
    assert prompt.count("<tools>") == 1 and '"name": "weather"' in prompt
    assert "<tool_call>\n{\"name\": \"clock\", \"arguments\": " in prompt
    assert "<tool_response>\n13:45\n</tool_response>" in prompt


def test_the_system_message_stays_before_the_tools(replica):
    messages = [{"role": "system", "content": "Be brief."}, *ASK]
    _, _, answer = post(replica, "/tokenize", {"model": MODEL, "messages": messages, "tools": TOOLS})
    _, _, text = post(replica, "/detokenize", {"model": MODEL, "tokens": answer["tokens"]})
    assert text["prompt"].count("system") == 1 and text["prompt"].index("Be brief.") < text["prompt"].index("<tools>")


def test_functions_are_answered_as_functions(replica):
    functions = [{"name": name, "parameters": schema} for name, schema in SCHEMAS.items()]
    body = {"model": MODEL, "messages": ASK, "functions": functions, "function_call": {"name": "clock"}, "max_tokens": 99}
    status, _, answer = post(replica, "/v1/chat/completions", body)
    choice = answer["choices"][0]
    assert status == 200 and choice["finish_reason"] == "function_call" and "tool_calls" not in choice["message"]
    assert choice["message"]["function_call"]["name"] == "clock"
    jsonschema.validate(json.loads(choice["message"]["function_call"]["arguments"]), CLOCK)
    history = [*ASK, choice["message"], {"role": "function", "name": "clock", "content": "13:45"}]
    status, _, answer = post(replica, "/v1/chat/completions", {**body, "messages": history, "function_call": "none"})
    assert status == 200 and answer["choices"][0]["message"]["content"]
    stream = client_of(replica).chat.completions.create(**{**body, "stream": True})
    pieces = [c.choices[0].delta.function_call for c in stream if c.choices and c.choices[0].delta.function_call]
    assert pieces[0].name == "clock"
    jsonschema.validate(json.loads("".join(p.arguments or "" for p in pieces)), CLOCK)


def test_a_response_format_holds_where_nothing_is_called(replica):
    shape = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    for seed in range(4):
        message = create(replica, seed=seed, parallel_tool_calls=False, response_format={
            "type": "json_schema", "json_schema": {"name": "s", "schema": shape}}).choices[0].message
        check_calls(message.tool_calls or [], SCHEMAS)
        if not message.tool_calls:
            jsonschema.validate(json.loads(message.content), shape)


@pytest.mark.parametrize("change, param, code", [
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "unsupported_parameter"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value"),
    ({"tools": [TOOLS[0]] * 2}, "tools[1]", "invalid_value"),
    ({"tools": TOOLS * 65}, "tools", "array_above_max_length"),
    ({"tools": None, "tool_choice": "required"}, "tool_choice", "invalid_value"),
    ({"tool_choice": "always"}, "tool_choice", "invalid_value"),
    ({"tool_choice": {"type": "function", "function": {"name": "rain"}}}, "tool_choice.function.name", "invalid_value"),
    ({"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {
        "type": "object", "properties": {"a": {"unevaluatedItems": {"type": "null"}}}}}}], "tool_choice": "required"},
     "tools", "unsupported_value"),
    ({"extra_body": {"grammar": 'root ::= "x"', "parallel_tool_calls": False}}, "grammar", "unsupported_value"),
])
def test_what_is_wrong_is_named(replica, change, param, code):
    with pytest.raises(openai.BadRequestError) as raised:
        create(replica, **change)
    assert raised.value.param == param and raised.value.code == code


def test_a_schema_that_cannot_be_kept_binds_no_function_that_is_not_strict(replica):
    loose = {"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"a": {"unevaluatedItems": {"type": "null"}}}}}}
    call = create(replica, tools=[loose], tool_choice="required", max_tokens=400,
                  parallel_tool_calls=False).choices[0].message.tool_calls[0]
    assert call.function.name == "f" and call.function.arguments.startswith("{")


@pytest.fixture(scope="module")
def thinker(module_servers):
    """The same model, read as one that marks its reasoning."""
    text = ("models:\n  - name: smollm2\n    path: {model}\n    reasoning_parser: think\n")
    return module_servers[1](text)


def test_reasoning_comes_apart_from_the_answer(thinker):
    """The text is prescribed up to its words, so that it has reasoning to be found."""
    body = {"model": MODEL, "messages": ASK, "max_tokens": 60, "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "boolean"}}}}
    pulled = {**body, "logit_bias": {}}
    _, _, tokens = post(thinker, "/tokenize", {"model": MODEL, "prompt": "<think>", "add_special_tokens": False})
    _, _, end = post(thinker, "/tokenize", {"model": MODEL, "prompt": "</think>", "add_special_tokens": False})
    pulled["logit_bias"] = {str(t): 20 for t in tokens["tokens"][:1]}
    status, _, answer = post(thinker, "/v1/chat/completions", pulled)
    assert status == 200 and end["tokens"]
    message = answer["choices"][0]["message"]
    assert "<think>" not in (message["content"] or "")
    if "reasoning_content" in message:
        used = answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
        assert 0 < used <= answer["usage"]["completion_tokens"]


def test_a_prompt_that_opens_reasoning_is_continued_in_it(thinker):
    body = {"model": MODEL, "max_tokens": 12, "temperature": 0, "continue_final_message": True,
            "messages": [*ASK, {"role": "assistant", "content": "<think>"}]}
    status, _, answer = post(thinker, "/v1/chat/completions", body)
    message, usage = answer["choices"][0]["message"], answer["usage"]
    assert status == 200 and message["reasoning_content"] == message["reasoning"] != ""
    assert message["content"] == ""
    assert usage["completion_tokens_details"]["reasoning_tokens"] == usage["completion_tokens"] == 12
    stream = client_of(thinker).chat.completions.create(
        **{k: v for k, v in body.items() if k != "continue_final_message"},
        extra_body={"continue_final_message": True}, stream=True)
    pieces = [c.choices[0].delta.model_dump().get("reasoning_content") or "" for c in stream if c.choices]
    assert "".join(pieces) == message["reasoning_content"]

    _, _, hidden = post(thinker, "/v1/chat/completions", {**body, "include_reasoning": False})
    assert "reasoning_content" not in hidden["choices"][0]["message"] and hidden["choices"][0]["message"]["content"] == ""
    _, _, joined = post(thinker, "/v1/chat/completions", {**body, "separate_reasoning": False})
    assert joined["choices"][0]["message"]["content"].strip() == message["reasoning_content"]


def test_structure_begins_where_reasoning_ends(thinker):
    """After its reasoning the answer is what was asked for; the bias ends the reasoning soon."""
    body = {"model": MODEL, "max_tokens": 80, "continue_final_message": True,
            "messages": [*ASK, {"role": "assistant", "content": "<think>"}],
            "structured_outputs": {"choice": ["sunny", "rainy"]}}
    _, _, end = post(thinker, "/tokenize", {"model": MODEL, "prompt": "</think>", "add_special_tokens": False})
    body["logit_bias"] = {str(t): 12 for t in end["tokens"]}
    found = []
    for seed in range(6):
        status, _, answer = post(thinker, "/v1/chat/completions", {**body, "seed": seed})
        assert status == 200
        choice = answer["choices"][0]
        if choice["finish_reason"] == "stop":
            found.append(choice["message"]["content"])
    assert found and set(found) <= {"sunny", "rainy"}


OPENED = {"model": MODEL, "max_tokens": 40, "continue_final_message": True,
          "messages": [*ASK, {"role": "assistant", "content": "<think>"}]}


def reasoning_and_ids(server, **fields):
    status, headers, answer = post(server, "/v1/chat/completions", {**OPENED, "return_token_ids": True, **fields})
    assert status == 200 and "x-ignored-params" not in headers, answer
    return answer["choices"]


def test_reasoning_ends_where_its_budget_does(thinker):
    """Up to there it is what it is without a budget; then its end is written, and the answer goes on from there."""
    _, _, end = post(thinker, "/tokenize", {"model": MODEL, "prompt": "\n</think>\n\n", "add_special_tokens": False})
    end = end["tokens"]
    free = reasoning_and_ids(thinker, temperature=0)[0]["token_ids"]
    for budget in (0, 7, 20):
        choice = reasoning_and_ids(thinker, temperature=0, thinking_token_budget=budget)[0]
        ids, message = choice["token_ids"], choice["message"]
        assert ids[:budget] == free[:budget] and ids[budget:budget + len(end)] == end
        assert ("reasoning_content" in message) == (budget > 0) and len(ids) == 40 and "</think>" not in message["content"]
        # what follows is what follows such a prompt
        _, _, text = post(thinker, "/detokenize", {"model": MODEL, "tokens": free[:budget]})
        spelled = {**OPENED, "temperature": 0, "max_tokens": 4, "return_token_ids": True,
                   "messages": [*ASK, {"role": "assistant", "content": "<think>" + text["prompt"] + "\n</think>\n\n"}]}
        _, _, answer = post(thinker, "/v1/chat/completions", spelled)
        if answer["prompt_token_ids"][-len(end):] == end and budget > 0:
            assert answer["choices"][0]["token_ids"] == ids[budget + len(end):][:4]


def test_budgets_are_each_choices_own_and_have_many_names(thinker):
    choices = reasoning_and_ids(thinker, n=3, seed=5, thinking_budget=6)
    texts = [c["message"]["reasoning_content"] for c in choices]
    assert len(set(texts)) == 3 and all(c["message"]["content"] for c in choices)
    for name in ("thinking_token_budget", "max_thinking_tokens", "thinking_budget_tokens", "reasoning_budget"):
        assert [c["token_ids"] for c in reasoning_and_ids(thinker, n=3, seed=5, **{name: 6})] == \
               [c["token_ids"] for c in choices]
    assert [c["token_ids"] for c in reasoning_and_ids(thinker, n=3, seed=5, thinking_budget=-1)] == \
           [c["token_ids"] for c in reasoning_and_ids(thinker, n=3, seed=5)]
    logprobs = reasoning_and_ids(thinker, temperature=0, thinking_budget=6, logprobs=True)[0]["logprobs"]["content"]
    assert len(logprobs) == 40 and all(t["logprob"] <= 0 for t in logprobs)


def test_a_budget_goes_together_with_a_form(thinker):
    """The answer's form begins behind the reasoning, which ends in time for it."""
    body = {**OPENED, "max_tokens": 60, "thinking_budget": 9, "structured_outputs": {"choice": ["sunny", "rainy"]}}
    for seed in range(3):
        status, _, answer = post(thinker, "/v1/chat/completions", {**body, "seed": seed})
        choice = answer["choices"][0]
        assert status == 200 and choice["finish_reason"] == "stop"
        assert choice["message"]["content"] in ("sunny", "rainy") and choice["message"]["reasoning_content"]


def test_the_messages_api_has_budgets(thinker):
    status, headers, answer = post(thinker, "/v1/messages", {
        "model": MODEL, "max_tokens": 40, "temperature": 0, "thinking": {"type": "enabled", "budget_tokens": 7},
        "messages": [*ASK, {"role": "assistant", "content": "<think>"}]})
    assert status == 200 and "x-ignored-params" not in headers
    kinds = [block["type"] for block in answer["content"]]
    assert kinds == ["thinking", "text"], answer


def test_efforts_are_checked_and_budgets_that_are_not_kept_are_named(replica):
    status, headers, _ = post(replica, "/v1/chat/completions", {
        "model": MODEL, "messages": ASK, "max_tokens": 2, "reasoning_effort": "low", "thinking_token_budget": 5})
    assert status == 200 and headers["x-ignored-params"] == "thinking_token_budget"
    status, _, answer = post(replica, "/v1/chat/completions", {
        "model": MODEL, "messages": ASK, "reasoning_effort": "much"})
    assert status == 400 and answer["error"]["param"] == "reasoning_effort"


def test_a_model_without_a_parser_says_that_calls_stay_text(start_replica):
    server = start_replica("models:\n  - name: smollm2\n    path: {model}\n    tool_parser: none\n")
    status, headers, _ = post(server, "/v1/chat/completions", {**OPTIONS, "max_tokens": 2})
    assert status == 200 and headers["x-ignored-params"] == "tools"
    status, _, answer = post(server, "/v1/chat/completions", {**OPTIONS, "tool_choice": "required"})
    assert status == 400 and answer["error"]["param"] == "tool_choice"


def test_responses_call_functions(server):
    tools = [{"type": "function", "name": name, "parameters": schema, "strict": True} for name, schema in SCHEMAS.items()]
    client = client_of(server)
    options = dict(model=MODEL, input=ASK[0]["content"], tools=tools, parallel_tool_calls=False, max_output_tokens=200)
    answer = client.responses.create(**options, tool_choice="required")
    calls = [item for item in answer.output if item.type == "function_call"]
    assert len(calls) == 1 and answer.status == "completed"
    jsonschema.validate(json.loads(calls[0].arguments), SCHEMAS[calls[0].name])
    again = client.responses.create(model=MODEL, previous_response_id=answer.id, max_output_tokens=8, input=[
        {"type": "function_call_output", "call_id": calls[0].call_id, "output": "13:45"}])
    assert again.output_text
    with client.responses.stream(**options, tool_choice={"type": "function", "name": "clock"}) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds and "response.function_call_arguments.done" in kinds
    assert [item.type for item in final.output] == ["function_call"] and final.output[0].name == "clock"
    jsonschema.validate(json.loads(final.output[0].arguments), CLOCK)


def test_messages_use_tools(server):
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=120)
    tools = [{"name": name, "input_schema": schema} for name, schema in SCHEMAS.items()]
    options = dict(model=MODEL, max_tokens=200, messages=ASK, tools=tools)
    answer = client.messages.create(**options, tool_choice={"type": "any", "disable_parallel_tool_use": True})
    assert answer.stop_reason == "tool_use" and [block.type for block in answer.content] == ["tool_use"]
    jsonschema.validate(answer.content[0].input, SCHEMAS[answer.content[0].name])
    again = client.messages.create(model=MODEL, max_tokens=8, tools=tools, messages=[
        *ASK, {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": answer.content[0].id, "content": "13:45"}]}],
        tool_choice={"type": "none"})
    assert again.content[0].text
    with client.messages.stream(**options, tool_choice={"type": "tool", "name": "clock"}) as stream:
        for _ in stream:
            pass
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use" and final.content[0].name == "clock"
    jsonschema.validate(final.content[0].input, CLOCK)
    counted = client.messages.count_tokens(model=MODEL, messages=ASK, tools=tools)
    plain = client.messages.count_tokens(model=MODEL, messages=ASK)
    assert counted.input_tokens > plain.input_tokens + 50
