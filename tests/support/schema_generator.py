"""Schemas for tests: those that tools really use, and random ones with the keywords that a grammar can keep.

All describe short values, so that a small model comes to an end soon.
"""
import random

TOOLS = [
    {"type": "object", "properties": {"location": {"type": "string", "maxLength": 24, "description": "City, country"},
                                      "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
     "required": ["location", "unit"], "additionalProperties": False},
    {"type": "object", "properties": {"query": {"type": "string", "minLength": 1, "maxLength": 40},
                                      "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 10},
                                      "filters": {"type": "object", "properties": {
                                          "after": {"type": "string", "format": "date"},
                                          "tags": {"type": "array", "items": {"enum": ["news", "blog", "paper"]}, "maxItems": 2}}}},
     "required": ["query"]},
    {"type": "object", "properties": {"to": {"type": "array", "items": {"type": "string", "format": "email"}, "minItems": 1,
                                             "maxItems": 2},
                                      "subject": {"type": "string", "maxLength": 30}, "body": {"type": ["string", "null"], "maxLength": 30},
                                      "send_at": {"type": "string", "format": "date-time"}},
     "required": ["to", "subject", "body"], "additionalProperties": False},
    {"type": "object", "properties": {"steps": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/step"}},
                                      "final_answer": {"type": "string", "maxLength": 20}},
     "$defs": {"step": {"type": "object", "properties": {"explanation": {"type": "string", "maxLength": 20},
                                                         "output": {"type": "string", "maxLength": 20}},
                        "required": ["explanation", "output"], "additionalProperties": False}},
     "required": ["steps", "final_answer"], "additionalProperties": False},
    {"type": "object", "properties": {"item": {"anyOf": [
        {"type": "object", "properties": {"kind": {"const": "user"}, "name": {"type": "string", "maxLength": 12},
                                          "age": {"type": "integer", "minimum": 0, "maximum": 130}},
         "required": ["kind", "name", "age"], "additionalProperties": False},
        {"type": "object", "properties": {"kind": {"const": "address"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
         "required": ["kind", "zip"], "additionalProperties": False}]}},
     "required": ["item"], "additionalProperties": False},
    {"type": "object", "properties": {"op": {"oneOf": [{"const": "add"}, {"const": "remove"}]}, "path": {"type": "string", "pattern": "^/[a-z]{1,8}$"},
                                      "value": {"type": ["number", "boolean", "null"], "minimum": -10, "maximum": 10}},
     "required": ["op", "path", "value"]},
    {"type": "object", "properties": {"host": {"type": "string", "format": "ipv4"}, "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                                      "id": {"type": "string", "format": "uuid"}, "tls": {"type": "boolean"}},
     "required": ["host", "port", "id", "tls"]},
    {"type": "object", "properties": {"value": {"type": "string", "maxLength": 6}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
     "required": ["value", "next"], "additionalProperties": False},
    {"type": "object", "properties": {"price": {"type": "number", "exclusiveMinimum": 0, "maximum": 99.5, "multipleOf": 0.5},
                                      "currency": {"type": "string", "pattern": "^[A-Z]{3}$"}, "count": {"type": "integer", "multipleOf": 5,
                                                                                                      "minimum": 5, "maximum": 500}},
     "required": ["price", "currency", "count"]},
    {"type": "object", "properties": {"point": {"type": "array", "prefixItems": [{"type": "number", "minimum": -90, "maximum": 90},
                                                                                 {"type": "number", "minimum": -180, "maximum": 180}],
                                                "items": False, "minItems": 2}}, "required": ["point"]},
    {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 9}, "propertyNames": {"pattern": "^[a-z]{1,6}$"},
     "maxProperties": 3},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer", "maximum": 99}}, "required": ["a"]},
               {"properties": {"a": {"minimum": 10}, "b": {"type": "boolean"}}, "required": ["b"]}]},
]

PATTERNS = ["^[a-z]+$", "^\\d{3}-\\d{4}$", "^(foo|bar)baz?$", "^[^\"\\\\]{2,5}$", "a+b", "^x", "z$", "^\\w{1,8}( \\w{1,8})?$", "^$|^ok$"]
FORMATS = ["date", "time", "date-time", "email", "uuid", "ipv4", "ipv6", "hostname", "uri", "duration"]
WORDS = ["a", "ab", "name", "value", "id", "x y", "quote\"d", "back\\slash", "é", "日本", "line\nbreak", "long_property_name", "A"]


def _string(choose):
    kind = choose.randrange(5)
    if kind == 0:
        return {"type": "string", "pattern": choose.choice(PATTERNS), "maxLength": choose.randint(8, 14)}
    if kind == 1:
        return {"type": "string", "format": choose.choice(FORMATS)} | ({"maxLength": 40} if choose.random() < 0.5 else {})
    if kind == 2:
        return {"enum": choose.sample(WORDS, 3)}
    low = choose.randint(0, 6)
    return {"type": "string", "minLength": low, "maxLength": low + choose.randint(0, 8)}


def _number(choose):
    schema = {"type": choose.choice(["integer", "number"])}
    low, high = sorted([choose.uniform(-120, 120), choose.uniform(-120, 120)])
    scale = choose.choice([1, 10, 100])
    low, high = round(low * scale) / scale, round(high * scale) / scale + 2
    schema[choose.choice(["minimum", "exclusiveMinimum"])] = low
    schema[choose.choice(["maximum", "exclusiveMaximum"])] = high
    if schema["type"] == "integer" and choose.random() < 0.3:
        schema |= {"multipleOf": choose.choice([2, 3, 7]), "maximum": high + 20}
        schema.pop("exclusiveMaximum", None)
    return schema


def _array(choose, depth):
    schema = {"type": "array", "minItems": choose.randint(0, 2)}
    if choose.random() < 0.3:
        schema["prefixItems"] = [_schema(choose, depth - 1) for _ in range(choose.randint(1, 2))]
        schema["items"] = choose.choice([False, {"type": "boolean"}])
        schema["minItems"] = min(schema["minItems"], len(schema["prefixItems"]))
        schema["maxItems"] = len(schema["prefixItems"]) + 1
        return schema
    schema["items"] = _schema(choose, depth - 1)
    schema["maxItems"] = schema["minItems"] + choose.randint(0, 2)
    return schema


def _object(choose, depth):
    names = choose.sample(WORDS, choose.randint(1, 4))
    schema = {"type": "object", "properties": {name: _schema(choose, depth - 1) for name in names},
              "required": [name for name in names if choose.random() < 0.6]}
    extra = choose.random()
    if extra < 0.4:
        schema["additionalProperties"] = False
    elif extra < 0.5:
        schema["patternProperties"] = {"^p_[a-z]{1,4}$": {"type": "boolean"}}
        schema["additionalProperties"] = False
    return schema


def _schema(choose, depth):
    kinds = [_string, _string, _number, _number, lambda c: {"type": c.choice(["boolean", "null"])},
             lambda c: {"const": c.choice([1, 1.5, "x\"y", None, [1, {"a": 2}], True])}]
    if depth > 0:
        kinds += [lambda c: _array(c, depth), lambda c: _object(c, depth), lambda c: _object(c, depth),
                  lambda c: {"anyOf": [_schema(c, depth - 1) for _ in range(c.randint(2, 3))]},
                  lambda c: {"oneOf": [_number(c), _object(c, depth - 1), {"type": "null"}]},
                  lambda c: {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 9, "description": "a note"}]}]
    return choose.choice(kinds)(choose)


def generated(count, seed=1):
    """`count` random schemas; the same ones for the same seed."""
    choose = random.Random(seed)
    return [_schema(choose, 3) for _ in range(count)]
