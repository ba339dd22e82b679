"""Structured output of the real server: what comes back keeps what was asked for, checked by others' packages."""
import asyncio
import concurrent.futures
import decimal
import enum
import json
import re
from typing import Literal

import jsonschema
import openai
import pydantic
import pytest

from replica_client import MODEL, async_client_of, client_of, post
from support import schema_generator, schema_suite

QUESTION = [{"role": "user", "content": "Fill in the form with short values."}]
PARALLEL = 32
# Signs that end strings, lists and objects: what the model likes less than we do.
CLOSING_BIAS = {"18": 4, "109": 5, "77": 5}  # ", } and ]


def ask(server, **fields):
    body = {"model": MODEL, "messages": QUESTION, "temperature": 1, "max_tokens": 200, **fields}
    return post(server, "/v1/chat/completions", body)


def answer(server, **fields):
    status, _, body = ask(server, **fields)
    assert status == 200, body
    return body["choices"][0]["message"]["content"], body["choices"][0]["finish_reason"]


def exact_multiple(validator, divisor, instance, schema):
    """In decimal: 1.5002 is a multiple of 0.0001, whatever binary division says."""
    is_number = isinstance(instance, (int, float)) and not isinstance(instance, bool)
    if is_number and decimal.Decimal(repr(instance)) % decimal.Decimal(repr(divisor)) != 0:
        yield jsonschema.ValidationError(f"{instance!r} is not a multiple of {divisor}")


def validator_of(schema):
    """With the formats that are kept; others are annotations."""
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    checker = jsonschema.FormatChecker(())
    checker.checkers = {name: check for name, check in kind.FORMAT_CHECKER.checkers.items() if name in schema_generator.FORMATS}
    return jsonschema.validators.extend(kind, {"multipleOf": exact_multiple})(schema, format_checker=checker)


def checked_answer(server, number, schema):
    """None: refused; "length": cut; else the text, which has been validated."""
    status, _, body = ask(server, guided_json=schema, seed=number, logit_bias=CLOSING_BIAS)
    if status == 400:
        assert body["error"]["code"] in ("invalid_value", "unsupported_value", "grammar_too_large"), body
        return None
    assert status == 200, (schema, body)
    choice = body["choices"][0]
    if choice["finish_reason"] == "length":
        return "length"
    text = choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    validator_of(schema).validate(json.loads(text))
    return text


def run_all(server, schemas):
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        results = list(pool.map(lambda job: checked_answer(server, *job), enumerate(schemas)))
    return [r for r in results if r is None], [r for r in results if r == "length"], [r for r in results if r not in (None, "length")]


def test_outputs_of_generated_schemas_and_those_of_tools_validate(replica):
    schemas = schema_generator.TOOLS * 4 + schema_generator.CLIENTS * 2 + schema_generator.generated(200)
    refused, cut, good = run_all(replica, schemas)
    assert len(cut) <= len(schemas) // 10
    assert len(refused) <= len(schemas) // 20  # patterns that no text of the wanted length has
    assert len(good) >= 230


def test_outputs_of_the_test_suites_schemas_validate(replica):
    schemas = [case["schema"] for case in schema_suite.cases()]
    refused, cut, good = run_all(replica, schemas)
    assert len(good) >= 120, (len(refused), len(cut))


class Colour(enum.Enum):
    red = "red"
    green = "green"


class Part(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=12)
    colour: Colour
    size: float | None


class Machine(pydantic.BaseModel):
    title: str = pydantic.Field(max_length=16)
    parts: list[Part] = pydantic.Field(max_length=2)


def test_the_official_client_parses_into_a_class(replica):
    completion = client_of(replica).chat.completions.parse(model=MODEL, messages=QUESTION, response_format=Machine, seed=3,
                                                           max_tokens=300, logit_bias=CLOSING_BIAS)
    parsed = completion.choices[0].message.parsed
    assert isinstance(parsed, Machine)
    assert completion.choices[0].finish_reason == "stop"


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = pydantic.Field(ge=1, le=9)


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: set[Literal["sit", "roll", "bark"]]


class Household(pydantic.BaseModel):
    pet: Cat | Dog = pydantic.Field(discriminator="kind")
    rooms: dict[Literal["kitchen", "hall"], bool]
    words: set[str] = pydantic.Field(max_length=2)


def test_a_discriminated_union_parses_into_its_class(replica):
    """The tag has a default, so JSON Schema does not require it; pydantic does."""
    schema = Household.model_json_schema()
    kinds = set()
    for seed in range(8):
        text, finish = answer(replica, guided_json=schema, seed=seed, max_tokens=300, logit_bias=CLOSING_BIAS)
        if finish == "length":
            continue
        jsonschema.validate(json.loads(text), schema)
        kinds.add(type(Household.model_validate_json(text).pet))
    assert kinds and kinds <= {Cat, Dog}


def test_a_streamed_answer_is_the_same_text(replica):
    schema = {"name": "tool", "strict": True, "schema": schema_generator.TOOLS[0]}
    fields = {"model": MODEL, "messages": QUESTION, "seed": 5, "max_tokens": 200,
              "response_format": {"type": "json_schema", "json_schema": schema}}
    client = client_of(replica)
    whole = client.chat.completions.create(**fields).choices[0].message.content
    pieces = [c.choices[0].delta.content or "" for c in client.chat.completions.create(stream=True, **fields) if c.choices]
    assert "".join(pieces) == whole
    validator_of(schema["schema"]).validate(json.loads(whole))


def test_a_json_object_is_one(replica):
    for seed in range(4):
        text, finish = answer(replica, response_format={"type": "json_object"}, seed=seed, max_tokens=300,
                              logit_bias=CLOSING_BIAS)
        if finish == "stop":
            assert isinstance(json.loads(text), dict)
        else:
            assert text.startswith("{")


@pytest.mark.parametrize("pattern", [r"[A-Z][a-z]{2,8}, \d{1,2}", r"(yes|no)( sir)?\.", r"\+49[ -]?\d{6,9}", "é+|日本"])
def test_a_regex_matches_the_whole_answer(replica, pattern):
    for seed in range(3):
        for fields in ({"guided_regex": pattern}, {"structured_outputs": {"regex": pattern}}):
            text, finish = answer(replica, seed=seed, **fields)
            assert finish == "length" or re.fullmatch(pattern, text), text


def test_a_choice_is_made(replica):
    choices = ["positive", "negative", "pos", "it is \"mixed\""]
    texts = {answer(replica, seed=seed, guided_choice=choices)[0] for seed in range(12)}
    assert texts <= set(choices) and len(texts) > 1


def test_a_grammar_of_rules_is_kept(replica):
    grammar = 'root ::= sum\nsum ::= sum [+-] digit | digit\ndigit ::= [0-9] | "(" sum ")"'
    text, finish = answer(replica, guided_grammar=grammar, max_tokens=60, seed=2, logit_bias={"2": 3})
    assert finish == "length" or eval(text) is not None  # only digits, signs and parentheses
    assert set(text) <= set("0123456789+-()")


def test_greedy_answers_and_penalties_keep_the_grammar(replica):
    pattern = "(ab|cd|ef){3,6}"
    for fields in ({"temperature": 0}, {"repetition_penalty": 1.8, "presence_penalty": 1, "logit_bias": {"81": -5}},
                   {"top_k": 3, "top_p": 0.5, "min_p": 0.1}, {"n": 3}):
        status, _, body = ask(replica, guided_regex=pattern, **fields)
        assert status == 200
        for choice in body["choices"]:
            assert re.fullmatch(pattern, choice["message"]["content"]), choice
            assert choice["finish_reason"] == "stop"


def test_log_probabilities_stay_those_of_the_model(replica):
    """The first token of a free answer with the same prompt has the same alternatives."""
    fields = {"temperature": 0, "logprobs": True, "top_logprobs": 5, "max_tokens": 1}
    free = ask(replica, **fields)[2]["choices"][0]["logprobs"]["content"][0]
    bound = ask(replica, guided_choice=["zebra", "quartz"], **fields)[2]["choices"][0]["logprobs"]["content"][0]
    assert bound["top_logprobs"] == free["top_logprobs"]
    assert bound["token"] != free["token"] and bound["logprob"] < free["logprob"]


def test_text_completions_have_the_fields_too(replica):
    client = client_of(replica)
    completion = client.completions.create(model=MODEL, prompt=["One", "Two"], max_tokens=20, extra_body={"guided_regex": "[a-c]{4}"})
    assert all(re.fullmatch("[a-c]{4}", choice.text) for choice in completion.choices)


@pytest.mark.parametrize("fields, param, word", [
    ({"guided_regex": "a{1000000000}"}, "guided_regex", "too large"),
    ({"guided_regex": "((a{1000}){1000}){1000}"}, "guided_regex", "too large"),
    ({"guided_regex": "(a"}, "guided_regex", "')'"),
    ({"guided_json": {"type": "string", "minLength": 10**12}}, "guided_json", "too large"),
    ({"guided_json": {"type": "array", "items": {"type": "array", "items": {"type": "string"}, "maxItems": 10**6},
                      "maxItems": 10**6}}, "guided_json", "too large"),
    ({"guided_json": {"properties": {"a": {"unevaluatedItems": {"type": "null"}}}}}, "guided_json", "/properties/a"),
    ({"guided_json": {"type": "integer", "oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}}, "guided_json", "multipleOf"),
    ({"guided_json": {"type": "array", "items": {"type": "object"}, "uniqueItems": True, "minItems": 2}}, "guided_json", "uniqueItems"),
    ({"guided_json": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}}, "guided_json", "circle"),
    ({"guided_grammar": "root ::= root"}, "guided_grammar", "no text"),
    ({"guided_choice": []}, "guided_choice", "empty"),
    ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice", "guided_regex"),
    ({"response_format": {"type": "json_object"}, "structured_outputs": {"json_object": True}},
     "structured_outputs.json_object", "response_format"),
])
def test_what_cannot_be_kept_is_a_400_that_says_why(replica, fields, param, word):
    status, _, body = ask(replica, **fields)
    assert status == 400 and body["error"]["param"] == param and word in body["error"]["message"], body


def test_nothing_left_to_choose_is_an_error(replica):
    letters = {str(token): -100 for token in range(49152) if token in (81, 82, 64, 65)}
    status, _, body = ask(replica, guided_regex="[ab]{2}", logit_bias={**letters, "2": 5}, min_tokens=1)
    assert status in (200, 400)
    assert status == 200 or "No token is left" in body["error"]["message"]


def test_a_bomb_does_not_hold_up_the_others(replica):
    """Compiling happens beside the answers that are running."""
    async def both():
        client = async_client_of(replica)
        stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True, max_tokens=60)
        bombs = [client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=5,
                                                extra_body={"guided_regex": f"(a?){{{n}}}(a|b|c){{1,{10**n}}}"}) for n in range(7, 11)]
        results, (text, reason) = await asyncio.gather(asyncio.gather(*bombs, return_exceptions=True), drain(stream))
        assert all(isinstance(r, openai.BadRequestError) for r in results)
        assert len(text) > 10 and reason in ("stop", "length")

    async def drain(stream):
        choices = [chunk.choices[0] async for chunk in stream if chunk.choices]
        return "".join(c.delta.content or "" for c in choices), choices[-1].finish_reason

    asyncio.run(both())
