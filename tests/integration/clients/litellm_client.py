"""litellm as a client of a server: litellm_client.py URL OUT. Writes what came back as one JSON document; test_other_clients.py
judges it."""
import asyncio
import json
import pathlib
import sys

import litellm  # LITELLM_LOCAL_MODEL_COST_MAP keeps it from asking the network for prices

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
SCHEMA = {"type": "object", "properties": {"town": {"type": "string", "maxLength": 12}, "days": {"enum": [1, 2, 3]}},
          "required": ["town", "days"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "description": "A forecast.", "parameters": SCHEMA}}


def chat(options):
    """Whole, streamed, and through the asynchronous call."""
    asked = dict(model="openai/smollm2", messages=MESSAGES, temperature=0, max_tokens=20, **options)
    whole = litellm.completion(**asked)
    chunks = list(litellm.completion(**asked, stream=True, stream_options={"include_usage": True}))
    later = asyncio.run(litellm.acompletion(**{**asked, "model": "hosted_vllm/smollm2"}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    usages = [chunk.usage.total_tokens for chunk in chunks if getattr(chunk, "usage", None)]
    return {"whole": whole.choices[0].message.content, "finish_reason": whole.choices[0].finish_reason,
            "usage": whole.usage.total_tokens, "pieces": pieces, "stream_usages": usages,
            "later": later.choices[0].message.content}


def tools(options):
    """A required call, streamed as well; then its result is sent, and an answer comes."""
    asked = dict(model="openai/smollm2", messages=MESSAGES, temperature=0, max_tokens=80, parallel_tool_calls=False, **options)
    forced = dict(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "weather"}})
    message = litellm.completion(**asked, **forced).choices[0].message
    call = message.tool_calls[0]
    built = litellm.stream_chunk_builder(list(litellm.completion(**asked, **forced, stream=True)))
    asked["messages"] = [*MESSAGES, message.model_dump(exclude_none=True),
                         {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    answer = litellm.completion(**asked, tools=[TOOL], tool_choice="none")
    return {"name": call.function.name, "arguments": call.function.arguments,
            "streamed_arguments": built.choices[0].message.tool_calls[0].function.arguments,
            "answer": answer.choices[0].message.content}


def other_calls(url, options):
    text = litellm.text_completion(model="text-completion-openai/smollm2", prompt=["One two three", "Four five six"],
                                   max_tokens=5, temperature=0, **options)
    embedded = litellm.embedding(model="openai/embed", input=["a town", "a river"], encoding_format="float", **options)
    response = litellm.responses(model="openai/smollm2", input="Hi", max_output_tokens=8, **options)
    message = asyncio.run(litellm.anthropic.messages.acreate(model="anthropic/smollm2", messages=MESSAGES, max_tokens=8,
                                                             api_base=url, api_key="none"))
    shaped = litellm.completion(model="openai/smollm2", messages=MESSAGES, temperature=0, max_tokens=80,
                                response_format={"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}},
                                **options)
    return {"texts": [choice.text for choice in text.choices], "vectors": [item["embedding"] for item in embedded.data],
            "response": response.output[0].content[0].text, "message": message["content"][0]["text"],
            "shaped": shaped.choices[0].message.content}


def errors(options):
    """The names of the classes that it makes of refusals."""
    names = []
    for body in ({"model": "openai/nobody", "messages": MESSAGES},
                 {"model": "openai/smollm2", "messages": [{"role": "user", "content": "one two " * 3000}]},
                 {"model": "openai/smollm2", "messages": MESSAGES, "temperature": 17}):
        try:
            litellm.completion(**body, **options)
            names.append(None)
        except Exception as error:  # the class is the answer
            names.append(type(error).__name__)
    return names


def main():
    url, out = sys.argv[1:]
    litellm.suppress_debug_info = True
    options = {"api_base": url + "/v1", "api_key": "none", "num_retries": 0}
    answer = {"chat": chat(options), "tools": tools(options), **other_calls(url, options), "errors": errors(options)}
    pathlib.Path(out).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
