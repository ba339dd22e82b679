"""Clients that people use, unchanged but for the address: each does what it is used for, against the gateway."""
from typing import Literal

import agents
import pydantic_ai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from replica_client import MODEL, async_client_of, client_of

CAPITAL = "What is the capital of France?"


class Town(BaseModel):
    """A town, as it is to be described."""

    name: str = Field(max_length=20)
    continent: Literal["Africa", "Asia", "Europe"]
    is_capital: bool


@pytest.fixture
def base_url(gateway):
    return gateway.url + "/v1"


# --- openai ---

def test_openai_parses_a_chat_answer_into_a_type(gateway):
    answer = client_of(gateway).chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": CAPITAL}], response_format=Town, temperature=0, max_tokens=80)
    assert isinstance(answer.choices[0].message.parsed, Town)


def test_openais_chat_stream_helper_ends_with_the_parsed_answer(gateway):
    with client_of(gateway).chat.completions.stream(
            model=MODEL, messages=[{"role": "user", "content": CAPITAL}], response_format=Town, temperature=0,
            max_tokens=80) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Town)
    assert {"chunk", "content.delta", "content.done"} <= kinds


def test_openai_parses_a_response_into_a_type(gateway):
    answer = client_of(gateway).responses.parse(model=MODEL, input=CAPITAL, text_format=Town, temperature=0,
                                                max_output_tokens=80)
    assert isinstance(answer.output_parsed, Town) and answer.text.format.type == "json_schema"


async def test_openais_async_response_stream_parses_too(gateway):
    client = async_client_of(gateway)
    async with client.responses.stream(model=MODEL, input=CAPITAL, text_format=Town, temperature=0,
                                       max_output_tokens=80) as stream:
        done = [event async for event in stream if event.type == "response.output_text.done"]
        final = await stream.get_final_response()
    assert isinstance(final.output_parsed, Town) and done[0].parsed == final.output_parsed
    await client.close()


# --- langchain ---

def langchain(base_url, with_responses):
    return ChatOpenAI(model=MODEL, base_url=base_url, api_key="none", temperature=0, max_tokens=80, max_retries=0,
                      use_responses_api=with_responses, stream_usage=True)


@pytest.mark.parametrize("with_responses", [False, True])
def test_langchain_invokes_and_streams(base_url, with_responses):
    client = langchain(base_url, with_responses)
    messages = [SystemMessage("Be brief."), HumanMessage(CAPITAL)]
    whole = client.invoke(messages)
    assert "Paris" in whole.text and whole.usage_metadata["output_tokens"] > 0
    chunks = list(client.stream(messages))
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 0


async def test_langchain_batches_and_fills_types(base_url):
    for with_responses in (False, True):  # in one event loop: langchain keeps its connections beyond a client
        structured = langchain(base_url, with_responses).with_structured_output(Town, method="json_schema")
        towns = await structured.abatch([CAPITAL, "What is the capital of Egypt?"])
        assert all(isinstance(town, Town) for town in towns)


# --- pydantic-ai ---

def openai_provider(base_url):
    return OpenAIProvider(base_url=base_url, api_key="none")


@pytest.fixture(params=["chat", "responses", "messages"])
def pydantic_model(request, gateway, base_url):
    if request.param == "messages":
        return AnthropicModel(MODEL, provider=AnthropicProvider(base_url=gateway.url, api_key="none"))
    kind = OpenAIChatModel if request.param == "chat" else OpenAIResponsesModel
    return kind(MODEL, provider=openai_provider(base_url))


async def test_pydantic_ai_holds_a_conversation(pydantic_model):
    agent = pydantic_ai.Agent(pydantic_model, instructions="Be brief.", model_settings={"max_tokens": 40})
    first = await agent.run(CAPITAL)
    second = await agent.run("And of Egypt?", message_history=first.all_messages())
    assert first.output and second.output
    assert second.usage.input_tokens > first.usage.input_tokens
    async with agent.run_stream(CAPITAL) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True)]
    assert "".join(pieces)


@pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])
async def test_pydantic_ai_fills_types(kind, base_url):
    agent = pydantic_ai.Agent(kind(MODEL, provider=openai_provider(base_url)), output_type=pydantic_ai.NativeOutput(Town),
                              model_settings={"max_tokens": 80, "temperature": 0})
    assert isinstance((await agent.run(CAPITAL)).output, Town)


# --- openai-agents ---

@pytest.fixture(params=["chat", "responses"])
async def agents_model(request, gateway):
    agents.set_tracing_disabled(True)
    client = async_client_of(gateway)
    kind = agents.OpenAIChatCompletionsModel if request.param == "chat" else agents.OpenAIResponsesModel
    yield kind(model=MODEL, openai_client=client)
    await client.close()


async def test_agents_run_and_stream(agents_model):
    agent = agents.Agent(name="geographer", instructions="Be brief.", model=agents_model,
                         model_settings=agents.ModelSettings(temperature=0, max_tokens=40))
    whole = await agents.Runner.run(agent, CAPITAL)
    assert "Paris" in whole.final_output
    streamed = agents.Runner.run_streamed(agent, CAPITAL)
    kinds = {event.type async for event in streamed.stream_events()}
    assert streamed.final_output == whole.final_output and "raw_response_event" in kinds
    following = await agents.Runner.run(agent, [*whole.to_input_list(), {"role": "user", "content": "And of Egypt?"}])
    assert following.final_output


async def test_agents_fill_types(agents_model):
    agent = agents.Agent(name="geographer", model=agents_model, output_type=Town,
                         model_settings=agents.ModelSettings(temperature=0, max_tokens=80))
    assert isinstance((await agents.Runner.run(agent, CAPITAL)).final_output, Town)
