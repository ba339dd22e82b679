"""instructor against a server: instructor_client.py URL OUT. Writes what came back as one JSON document; test_other_clients.py
judges it."""
import asyncio
import json
import pathlib
import sys
from typing import Literal

import instructor
import openai
from pydantic import BaseModel, Field

MODES = {"tools": instructor.Mode.TOOLS, "json_schema": instructor.Mode.JSON_SCHEMA}
QUESTION = dict(model="smollm2", messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0,
                max_tokens=100)


class Town(BaseModel):
    """A town, as it is to be described."""

    name: str = Field(max_length=20)
    continent: Literal["Africa", "Asia", "Europe"]
    is_capital: bool


def ask(url, mode):
    """One object, the same built up as it streams, and a list."""
    client = instructor.from_openai(openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0), mode=mode)
    town, raw = client.chat.completions.create_with_completion(**QUESTION, response_model=Town, max_retries=0)
    partials = list(client.chat.completions.create_partial(**QUESTION, response_model=Town, max_retries=0))
    several = list(client.chat.completions.create_iterable(**{**QUESTION, "max_tokens": 200}, response_model=Town,
                                                           max_retries=0))
    return {"town": town.model_dump(), "finish_reason": raw.choices[0].finish_reason, "usage": raw.usage.total_tokens,
            "partials": [partial.model_dump() for partial in partials], "several": [one.model_dump() for one in several]}


def ask_again(url, mode):
    """An answer that is refused: the next request carries it and the reason, as instructor words them for this mode."""
    refused = []

    class Picky(Town):
        def model_post_init(self, context):
            if not refused:
                refused.append(self.name)
                raise ValueError("another town, please")

    client = instructor.from_openai(openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0), mode=mode)
    sent = []
    client.on("completion:kwargs", lambda *_, **options: sent.append(len(options["messages"])))
    town = client.chat.completions.create(**QUESTION, response_model=Picky, max_retries=2)
    return {"town": town.model_dump(), "messages": sent}


async def ask_together(url, mode):
    client = instructor.from_openai(openai.AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0), mode=mode)
    towns = await asyncio.gather(*(client.chat.completions.create(**QUESTION, response_model=Town, max_retries=0)
                                   for _ in range(3)))
    return [town.model_dump() for town in towns]


def main():
    url, out = sys.argv[1:]
    answer = {name: {**ask(url, mode), "again": ask_again(url, mode), "together": asyncio.run(ask_together(url, mode))}
               for name, mode in MODES.items()}
    pathlib.Path(out).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
