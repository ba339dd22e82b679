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


# What clients' classes become: pydantic's discriminated unions, sets and typed dictionaries, zod's unions and records, and conditions as
# they are written by hand.
CLIENTS = [
    {"$defs": {"Cat": {"properties": {"kind": {"const": "cat", "type": "string"}, "lives": {"type": "integer", "minimum": 1, "maximum": 9}},
                       "required": ["kind", "lives"], "type": "object"},
               "Dog": {"properties": {"kind": {"const": "dog", "default": "dog", "type": "string"}, "name": {"type": "string", "maxLength": 8}},
                       "required": ["name"], "type": "object"}},
     "properties": {"pet": {"discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}, "propertyName": "kind"},
                            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}}, "required": ["pet"], "type": "object"},
    {"type": "object", "properties": {"shape": {"oneOf": [
        {"type": "object", "properties": {"radius": {"type": "integer", "minimum": 1, "maximum": 99}}, "required": ["radius"]},
        {"type": "object", "properties": {"side": {"type": "integer", "minimum": 1, "maximum": 99}}, "required": ["side"]}]}},
     "required": ["shape"]},
    {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": False, "required": ["event"],
     "properties": {"event": {"oneOf": [
         {"type": "object", "properties": {"type": {"type": "string", "const": "click"}, "x": {"type": "integer", "minimum": 0, "maximum": 99}},
          "required": ["type", "x"], "additionalProperties": False},
         {"type": "object", "properties": {"type": {"type": "string", "enum": ["key", "text"]}, "value": {"type": "string", "maxLength": 4}},
          "required": ["type", "value"], "additionalProperties": False}]}}},
    {"oneOf": [{"type": "integer", "minimum": 2, "maximum": 50}, {"type": "integer", "minimum": -9, "maximum": 20}, {"type": "string", "maxLength": 4}]},
    {"oneOf": [{"enum": ["low", "mid"]}, {"enum": ["mid", "high"]}, {"type": "null"}]},
    {"type": "object", "properties": {"country": {"enum": ["US", "NL"]}, "zip": {"type": "string", "maxLength": 8}}, "required": ["country", "zip"],
     "if": {"properties": {"country": {"const": "US"}}, "required": ["country"]},
     "then": {"properties": {"zip": {"pattern": "^[0-9]{5}$"}}}, "else": {"properties": {"zip": {"pattern": "^[0-9]{4} [A-Z]{2}$"}}}},
    {"type": "object", "properties": {"kind": {"enum": ["a", "b", "c"]}, "x": {"type": "boolean"}, "y": {"type": "boolean"}}, "required": ["kind"],
     "allOf": [{"if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["x"]}},
               {"if": {"properties": {"kind": {"const": "b"}}}, "then": {"required": ["y"]}},
               {"if": {"properties": {"kind": {"const": "c"}}}, "then": {"not": {"required": ["x"]}}}]},
    {"type": "object", "properties": {"card": {"type": "integer", "minimum": 0, "maximum": 999}, "address": {"type": "string", "maxLength": 8},
                                      "name": {"type": "string", "maxLength": 8}},
     "dependentRequired": {"card": ["address"]}, "required": ["name"]},
    {"type": "object", "properties": {"card": {"type": "boolean"}}, "dependentSchemas": {"card": {"properties": {"code": {"type": "integer", "maximum": 9,
                                                                                                                     "minimum": 0}},
                                                                                             "required": ["code"]}}},
    {"type": "object", "properties": {"modes": {"type": "array", "items": {"enum": ["r", "w", "x"]}, "uniqueItems": True, "minItems": 2},
                                      "tags": {"type": "array", "items": {"type": "string", "maxLength": 6}, "uniqueItems": True, "maxItems": 3},
                                      "ports": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 99}, "uniqueItems": True,
                                                "maxItems": 3}},
     "required": ["modes", "tags", "ports"], "additionalProperties": False},
    {"type": "object", "propertyNames": {"enum": ["red", "green"]}, "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 255}},
    {"type": "object", "properties": {"name": {"type": "string", "maxLength": 6, "not": {"enum": ["root", "admin"]}},
                                      "code": {"type": "integer", "minimum": 0, "maximum": 9, "not": {"const": 4}},
                                      "path": {"type": "string", "maxLength": 6, "not": {"pattern": "[./]"}}}, "required": ["name", "code", "path"]},
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "contains": {"const": 7}, "maxItems": 3},
    {"type": "object", "allOf": [{"properties": {"a": {"type": "boolean"}}, "required": ["a"]}, {"properties": {"b": {"type": "boolean"}}}],
     "unevaluatedProperties": False},
]


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


# --- schemas that combine others ---

CONSTANTS = [1, 2, 1.5, 0, "a", "b", "ab", "", None, True, False, [], {}, [1], {"a": 1}]


def _leaf(choose):
    return choose.choice([
        {"type": choose.choice(["string", "integer", "number", "boolean", "null", "object", "array"])}, {"const": choose.choice(CONSTANTS)},
        {"enum": choose.sample(CONSTANTS[:11], choose.randint(1, 4))}, {"type": "string", choose.choice(["minLength", "maxLength"]): choose.randint(0, 3)},
        {"type": "integer", choose.choice(["minimum", "maximum", "exclusiveMinimum"]): choose.randint(-1, 3)},
        {"type": "string", "pattern": choose.choice(["^a", "b$", "a", "^[ab]*$"])}, {"type": ["string", "null"]}, True, {},
        {"type": "number", "multipleOf": choose.choice([2, 0.5])}])


def _parts(choose, depth):
    kind = choose.randrange(3)
    if kind == 0:
        return {"type": "array", "items": _combined(choose, depth - 1), **choose.choice([
            {}, {"uniqueItems": True}, {"contains": _leaf(choose)}, {"minItems": 1, "maxItems": 2}, {"contains": _leaf(choose), "maxContains": 1}])}
    schema = {"type": "object", "properties": {name: _combined(choose, depth - 1) for name in choose.sample("abc", choose.randint(1, 3))},
              "required": choose.sample("abc", choose.randint(0, 2))}
    return schema | choose.choice([{}, {}, {"additionalProperties": False}, {"unevaluatedProperties": False}, {"patternProperties": {"^[ab]": _leaf(choose)}},
                                   {"propertyNames": {"enum": ["a", "b", "d"]}}, {"propertyNames": {"not": {"const": "b"}}}])


def _combined(choose, depth):
    if depth <= 0:
        return _leaf(choose)
    schema = _parts(choose, depth) if choose.random() < 0.5 else {}
    kind = choose.randrange(7)
    if kind == 0:
        schema["oneOf"] = [_combined(choose, depth - 1) for _ in range(choose.randint(2, 3))]
    elif kind == 1:
        schema["not"] = _combined(choose, depth - 1)
    elif kind == 2:
        schema |= {word: _combined(choose, depth - 1) for word in ("if", *choose.choice([["then"], ["else"], ["then", "else"]]))}
    elif kind == 3:
        schema[choose.choice(["anyOf", "allOf"])] = [_combined(choose, depth - 1) for _ in range(2)]
    elif kind == 4:
        schema["dependentRequired"] = {choose.choice("abc"): choose.sample("abc", choose.randint(1, 2))}
    elif kind == 5:
        schema["dependentSchemas"] = {choose.choice("abc"): _parts(choose, depth - 1)}
    return schema


def combined(count, seed=1):
    """Random schemas of schemas, far from anything that a person means; the same ones for the same seed."""
    choose = random.Random(seed)
    return [_combined(choose, 2) for _ in range(count)]


def any_value(choose, depth=2):
    """A value that such a schema may speak of."""
    kind = choose.randrange(8 if depth > 0 else 5)
    if kind < 5:
        return choose.choice(CONSTANTS)
    if kind < 7:
        return {name: any_value(choose, depth - 1) for name in choose.sample("abcd", choose.randint(0, 3))}
    return [any_value(choose, depth - 1) for _ in range(choose.randint(0, 3))]
