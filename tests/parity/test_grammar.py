"""Texts of grammars against Python's re, json and jsonschema: the matcher behind grammar_texts takes a text if and only if they do,
but for what grammar.h says to be left out."""
import json
import random
import re
import subprocess

import jsonschema
import pytest

from support import schema_generator, schema_suite, tool_process


def ask(questions):
    """The answers of grammar_texts."""
    lines = "".join(json.dumps(q) + "\n" for q in questions)
    done = subprocess.run([str(tool_process.find_program("tests/parity/grammar_texts"))], input=lines, capture_output=True, text=True,
                          timeout=120, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def random_pattern(choose, depth):
    kind = choose.randrange(9 if depth > 0 else 3)
    if kind == 0:
        return choose.choice(["a", "b", "ab", "é", r"\.", r"\d", ""])
    if kind == 1:
        return choose.choice(["[ab]", "[^a]", r"[\w.]", "[a-c]", r"[^\s\d]", "[]a]"])
    if kind == 2:
        return choose.choice([".", r"\w", r"\s", "b"])
    inner = random_pattern(choose, depth - 1)
    if kind == 3:
        return inner + random_pattern(choose, depth - 1)
    if kind == 4:
        return f"({inner}|{random_pattern(choose, depth - 1)})"
    if kind == 5:
        return f"(?:{inner})" + choose.choice(["*", "+", "?", "*?", "{2}", "{1,}", "{0,2}"])
    if kind == 6:
        return choose.choice(["^", ""]) + inner + choose.choice(["$", ""])
    if kind == 7:
        return f"({inner})" + choose.choice(["*", "?"])
    return inner + inner


def random_text(choose):
    return "".join(choose.choice("aabbc.é1 \n_") for _ in range(choose.randrange(7)))


def matches(pattern, text, search):
    """re's answer with a dollar that means the end only."""
    compiled = re.compile(re.sub(r"(?<!\\)\$", r"\\Z", pattern), re.ASCII)
    return bool(compiled.search(text) if search else compiled.fullmatch(text))


def test_random_patterns_match_as_in_python():
    choose = random.Random(7)
    patterns = [random_pattern(choose, 4) for _ in range(1500)]
    # Texts where an end comes before a start, which only the empty one can have, are left out.
    patterns = [p for p in patterns if not ("^" in p.replace("[^", "") and re.search(r"\$.*[\^*+}]", p))]
    texts = [[random_text(choose) for _ in range(24)] for _ in patterns]
    whole = ask([{"kind": "regex", "text": p, "texts": t} for p, t in zip(patterns, texts)])
    inside = ask([{"kind": "schema", "text": json.dumps({"type": "string", "pattern": p}),
                   "texts": [json.dumps(x, ensure_ascii=False) for x in t]} for p, t in zip(patterns, texts)])
    accepted = 0
    searches = [False] * len(patterns) + [True] * len(patterns)
    for pattern, candidates, answers, search in zip(patterns * 2, texts * 2, whole + inside, searches):
        if "error" in answers:
            assert answers["message"] == "no text can match the grammar", (pattern, answers)
            answers = {"accepts": [False] * len(candidates)}
        for text, is_accepted in zip(candidates, answers["accepts"]):
            assert is_accepted == matches(pattern, text, search), (pattern, text, search)
            accepted += is_accepted
    assert accepted > 5000


def is_json(text):
    try:
        json.loads(text, parse_constant=lambda word: 1 / 0)
        return True
    except (ValueError, ZeroDivisionError):
        return False


def test_changed_json_is_taken_where_python_reads_it():
    choose = random.Random(3)
    good = ['{"a":1}', '{"a": [1, 2.5, -3e2, null, true, false], "b": {"c": "d\\n\\u00e9"}}', "{}", '{"x": ["", {}]}', '{"k": "é日本"}',
            '{\n  "a": [\n    1,\n    2\n  ]\n}']
    texts = list(good)
    for _ in range(4000):
        text = list(choose.choice(good))
        for _ in range(choose.randint(1, 2)):
            at = choose.randrange(len(text))
            change = choose.randrange(3)
            if change == 0:
                del text[at]
            elif change == 1:
                text.insert(at, choose.choice('{}[],:"0123.-eE\\untrl a'))
            else:
                text[at] = choose.choice('{}[],:"019.-e\\u ')
            if not text:
                text = ["{"]
        texts.append("".join(text))
    answers = ask([{"kind": "object", "texts": texts}])[0]["accepts"]
    assert all(answers[:len(good)])
    for text, is_accepted in zip(texts, answers):
        # Whitespace is bounded, so what is refused may still be JSON; what is taken must be.
        assert not is_accepted or is_json(text) and isinstance(json.loads(text), dict), text
        if not is_accepted and is_json(text) and isinstance(json.loads(text), dict):
            assert re.search(r'[ \n][:,]|  |^ | $|: \n|\{ | \}|\[ | \]|,\n| "|\\ud[89a-f]', text), text


def test_the_suites_instances_are_taken_only_where_valid():
    cases = [case for draft in ("draft4", "draft7", "draft2020-12") for case in schema_suite.cases(draft)]
    answers = ask([{"kind": "schema", "text": json.dumps(case["schema"]),
                    "texts": [json.dumps(test["data"], ensure_ascii=False) for test in case["tests"]]} for case in cases])
    taken = missed = compiled = 0
    for case, answer in zip(cases, answers):
        if "error" in answer:
            assert answer["error"] in ("unsupported", "invalid"), (case["schema"], answer)
            continue
        compiled += 1
        for test, is_accepted in zip(case["tests"], answer["accepts"]):
            assert test["valid"] or not is_accepted, (case["schema"], test)
            taken += is_accepted
            missed += test["valid"] and not is_accepted
    # Schemas without a type mean the type that their keywords speak of, and objects with properties have no others: the suite tests
    # much of what that leaves out.
    assert compiled >= 500 and taken > 2 * missed


def instance(choose, schema):
    """Some value, often a valid one."""
    if choose.random() < 0.1:
        return choose.choice([None, True, 0, -7, 2.5, "", "ab", [], {}])
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return instance(choose, choose.choice(schema[keyword]))
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return choose.choice(schema["enum"])
    kind = schema.get("type")
    if kind == "integer":
        return choose.randint(-130, 150)
    if kind == "number":
        return round(choose.uniform(-130, 130), choose.randint(0, 3))
    if kind == "string":
        return choose.choice(["ok", "foo", "barbaz", "123-4567", "2024-02-29", "xab", "z", "a+b", "aab", "10.0.0.1", "ab cd", "é\"q\\"])
    if kind == "array":
        items = schema.get("prefixItems", []) + [schema["items"] if isinstance(schema["items"], dict) else {"type": "null"}] * 3
        return [instance(choose, item) for item in items[:choose.randint(0, 4)]]
    if kind == "object":
        return {name: instance(choose, sub) for name, sub in schema["properties"].items()
                if name in schema["required"] or choose.random() < 0.5}
    return {"boolean": choose.random() < 0.5, "null": None}.get(kind)


def closed(schema):
    """The schema with the closed objects that grammar.h speaks of."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) if key not in ("enum", "const") else value for key, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        result.setdefault("additionalProperties", False)
    return result


def test_values_of_generated_schemas_are_taken_if_and_only_if_valid():
    choose = random.Random(11)
    schemas = schema_generator.generated(600, seed=5)
    values = [[instance(choose, schema) for _ in range(30)] for schema in schemas]
    answers = ask([{"kind": "schema", "text": json.dumps(schema), "texts": [json.dumps(v, ensure_ascii=False) for v in some]}
                   for schema, some in zip(schemas, values)])
    taken = 0
    for schema, some, answer in zip(schemas, values, answers):
        if "error" in answer:
            assert answer["message"] == "no text can match the grammar", (schema, answer)
            answer = {"accepts": [False] * len(some)}
        validator = jsonschema.Draft202012Validator(closed(schema), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
        for value, is_accepted in zip(some, answer["accepts"]):
            is_valid = validator.is_valid(value)
            assert is_valid or not is_accepted, (schema, value)
            if is_valid and not is_accepted:
                # Formats are kept more narrowly, and an integer is never written as 2.0.
                assert '"format"' in json.dumps(schema) or ".0" in json.dumps(value), (schema, value)
            taken += is_accepted
    assert taken > 4000


def test_values_of_schemas_of_schemas_are_taken_only_where_valid():
    choose = random.Random(2)
    schemas = schema_generator.combined(700, seed=3) + schema_generator.CLIENTS
    values = [[schema_generator.any_value(choose) for _ in range(40)] for _ in schemas]
    answers = ask([{"kind": "schema", "text": json.dumps(schema), "texts": [json.dumps(v) for v in some]} for schema, some in zip(schemas, values)])
    taken = missed = compiled = 0
    for schema, some, answer in zip(schemas, values, answers):
        if "error" in answer:
            assert "no text" in answer["message"] or answer["error"] in ("unsupported", "too_large"), (schema, answer)
            continue
        compiled += 1
        validator = jsonschema.Draft202012Validator(schema)
        for value, is_accepted in zip(some, answer["accepts"]):
            is_valid = validator.is_valid(value)
            assert is_valid or not is_accepted, (schema, value)
            taken += is_accepted
            missed += is_valid and not is_accepted
    assert compiled > 400 and taken > 4 * missed


@pytest.mark.parametrize("schema, good, bad", [
    ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, [1.5, -3.25], [1, 0, -2]),
    ({"oneOf": [{"type": "integer", "minimum": 2}, {"type": "integer", "maximum": 5}]}, [1, 6, -7], [2, 3, 5]),
    ({"oneOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}, ["a", "c"], ["b"]),
    ({"oneOf": [{"enum": ["a", "bb"]}, {"type": "string", "minLength": 2}]}, ["a", "cc"], ["bb", "c"]),
    (schema_generator.CLIENTS[0], [{"pet": {"kind": "cat", "lives": 9}}, {"pet": {"kind": "dog", "name": "x"}}],
     [{"pet": {"name": "x"}}, {"pet": {"kind": "dog", "lives": 9}}]),
    (schema_generator.CLIENTS[1], [{"shape": {"radius": 1}}, {"shape": {"side": 1}}], [{"shape": {"radius": 1, "side": 1}}, {"shape": {}}]),
    (schema_generator.CLIENTS[5], [{"country": "US", "zip": "12345"}, {"country": "NL", "zip": "1234 AB"}],
     [{"country": "US", "zip": "1234 AB"}, {"country": "NL", "zip": "12345"}]),
    (schema_generator.CLIENTS[6], [{"kind": "a", "x": True}, {"kind": "b", "x": True, "y": False}, {"kind": "c"}],
     [{"kind": "a"}, {"kind": "b", "x": True}, {"kind": "c", "x": True}]),
    (schema_generator.CLIENTS[7], [{"name": "n"}, {"address": "x", "name": "n"}, {"card": 1, "address": "x", "name": "n"}], [{"card": 1, "name": "n"}]),
    (schema_generator.CLIENTS[8], [{}, {"card": True, "code": 3}], [{"card": True}, {"card": True, "code": 10}]),
    (schema_generator.CLIENTS[10], [{}, {"red": 1}, {"red": 1, "green": 2}], [{"blue": 1}, {"red": 256}]),
    (schema_generator.CLIENTS[11], [{"name": "rooted", "code": 3, "path": "a"}],
     [{"name": "root", "code": 3, "path": "a"}, {"name": "a", "code": 4, "path": "a"}, {"name": "a", "code": 3, "path": "a.b"}]),
    ({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True}, [[], ["c"], ["b", "a"], ["c", "a", "b"]], [["a", "a"], ["a", "b", "a"]]),
    ({"type": "array", "items": {"enum": list("abcdefghij")}, "uniqueItems": True, "minItems": 2}, [["a", "j"], list("abcdefghij")], [["a"], ["b", "b"]]),
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, [[], ["b"], ["a", "b", "c"]], [["a", "a"]]),
    ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 2}, [[1, 2], [1, 20, 300]], [[1], [1, 1]]),
    (schema_generator.CLIENTS[12], [[7], [1, 7], [1, 2, 7], [7, 7]], [[], [1, 2], [1, 2, 3]]),
    (schema_generator.CLIENTS[13], [{"a": True}, {"a": True, "b": False}], [{}, {"a": True, "c": 1}]),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "not": {"required": ["a", "b"]}}, [{}, {"a": 1}, {"b": 1}], [{"a": 1, "b": 2}]),
    ({"not": {"type": ["null", "integer"]}}, [1.5, "x", [], {}, True], [None, 1]),
    ({"type": "number", "minimum": 0, "not": {"enum": [1.5, 2]}}, [1.25, 0, 15], [1.5, 2]),
])
def test_schemas_of_schemas_have_the_values_they_should(schema, good, bad):
    answers = ask([{"kind": "schema", "text": json.dumps(schema), "texts": [json.dumps(value) for value in good + bad]}])[0]
    assert answers["accepts"] == [True] * len(good) + [False] * len(bad)


@pytest.mark.parametrize("low, high, step", [(-5, 17, None), (0, 0, None), (-120, -99, None), (3, 1200, 7), (-30, 30, 4), (None, -8, None),
                                             (99, None, None), (None, None, 12)])
def test_integers_in_bounds_are_just_those(low, high, step):
    schema = {"type": "integer"}
    schema |= {} if low is None else {"minimum": low}
    schema |= {} if high is None else {"maximum": high}
    schema |= {} if step is None else {"multipleOf": step}
    numbers = list(range(-1300, 1301))
    answers = ask([{"kind": "schema", "text": json.dumps(schema), "texts": [str(n) for n in numbers]}])[0]["accepts"]
    assert answers == [jsonschema.Draft202012Validator(schema).is_valid(n) for n in numbers]


@pytest.mark.parametrize("bounds", [{"minimum": -2.5, "maximum": 2.25}, {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
                                    {"minimum": 0.001, "maximum": 0.002}, {"exclusiveMinimum": -1.05, "maximum": -1},
                                    {"minimum": 10, "exclusiveMaximum": 10.5}])
def test_decimals_in_bounds_are_just_those(bounds):
    texts = [f"{sign}{whole}{fraction}" for sign in ("", "-") for whole in ("0", "1", "2", "9", "10", "11")
             for fraction in ("", ".0", ".00", ".001", ".0015", ".002", ".05", ".04", ".06", ".25", ".250", ".251", ".3", ".5", ".50", ".49")]
    answers = ask([{"kind": "schema", "text": json.dumps({"type": "number", **bounds}), "texts": texts}])[0]["accepts"]
    for text, is_accepted in zip(texts, answers):
        is_valid = jsonschema.Draft202012Validator(bounds).is_valid(json.loads(text))
        assert is_accepted == (is_valid and not (text[0] == "-" and float(text) == 0)), text
