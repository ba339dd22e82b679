"""Calls of tools through every API and its clients: with a required choice even a small model gives a valid one."""
import json
from typing import Literal

import agents
import anthropic
import jsonschema
import pytest
from replica_client import MODEL, async_client_of, client_of

SCHEMA = {"type": "object", "properties": {"town": {"type": "string", "maxLength": 12}, "days": {"enum": [1, 2, 3]}},
          "required": ["town", "days"], "additionalProperties": False}
QUESTION = "How will the weather be in Ulm tomorrow?"


@pytest.fixture(params=["replica", "gateway"])
def server(request):
    """Both roles speak them."""
    return request.getfixturevalue(request.param)


def test_messages_give_tool_use_whole_and_streamed(server):
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=120)
    options = dict(model=MODEL, max_tokens=80, messages=[{"role": "user", "content": QUESTION}],
                   extra_body={"temperature": 0}, tool_choice={"type": "tool", "name": "weather"},
                   tools=[{"name": "weather", "description": "A forecast.", "input_schema": SCHEMA}])
    whole = client.messages.create(**options)
    call = [block for block in whole.content if block.type == "tool_use"][0]
    assert whole.stop_reason == "tool_use" and call.name == "weather" and call.id.startswith("toolu_")
    jsonschema.validate(call.input, SCHEMA)
    with client.messages.stream(**options) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert [b.input for b in final.content if b.type == "tool_use"] == [call.input] and "input_json" in kinds
    following = client.messages.create(**{**options, "tool_choice": {"type": "none"}, "messages": [
        *options["messages"], {"role": "assistant", "content": whole.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}]})
    assert following.stop_reason != "tool_use"


def test_responses_give_function_calls_whole_and_streamed(server):
    client = client_of(server)
    options = dict(model=MODEL, input=QUESTION, temperature=0, max_output_tokens=120, tool_choice="required",
                   parallel_tool_calls=False,
                   tools=[{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}])
    whole = client.responses.create(**options)
    call = [item for item in whole.output if item.type == "function_call"][0]
    jsonschema.validate(json.loads(call.arguments), SCHEMA)
    events = list(client.responses.create(**options, stream=True))
    done = [event for event in events if event.type == "response.function_call_arguments.done"][0]
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert done.arguments == "".join(pieces) == call.arguments
    following = client.responses.create(
        model=MODEL, previous_response_id=whole.id, max_output_tokens=10, tools=options["tools"], tool_choice="none",
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}])
    assert following.output_text


@pytest.mark.parametrize("kind", [agents.OpenAIChatCompletionsModel, agents.OpenAIResponsesModel])
async def test_agents_call_python(gateway, kind):
    agents.set_tracing_disabled(True)
    asked = []

    @agents.function_tool
    def weather(days: Literal[1, 2, 3]) -> str:
        """The weather in so many days."""
        asked.append(days)
        return "sunny"

    client = async_client_of(gateway)
    agent = agents.Agent(name="forecaster", model=kind(model=MODEL, openai_client=client), tools=[weather],
                         model_settings=agents.ModelSettings(temperature=0, max_tokens=120, tool_choice="required",
                                                             parallel_tool_calls=False))
    answer = await agents.Runner.run(agent, QUESTION, max_turns=4)
    assert asked and answer.final_output
    await client.close()
