"""Our template evaluator against jinja2 as transformers sets it up: real templates, and random expressions.

Outputs are equal byte for byte, and what is an error in one is an error in the other (their wording differs).
"""
import itertools
import json
import os
import pathlib
import random
import struct

import pytest

os.environ["TZ"] = "UTC"

from support import conversations, jinja_reference  # noqa: E402
from support.tool_process import ROOT, ToolProcess  # noqa: E402

pytestmark = pytest.mark.parity

TEMPLATES = sorted((ROOT / "tests" / "data" / "chat_templates").glob("*.jinja"))
NOW_MS = 1_753_500_000_000


class Renderer:
    """template_tool."""

    def __init__(self):
        self.tool = ToolProcess("template_tool")

    def render(self, request):
        """-> (prompt or None, error text, trusted spans)"""
        body = json.dumps(request).encode()
        self.tool.send(struct.pack("=I", len(body)), body)
        status, text = self.tool.read_u32(), self.tool.read_bytes()
        count = self.tool.read_u32()
        numbers = struct.unpack(f"={2 * count}I", self.tool.read(8 * count))
        spans = list(zip(numbers[::2], numbers[1::2]))
        return (text, "", spans) if status == 0 else (None, text.decode(errors="replace"), spans)


@pytest.fixture(scope="module")
def renderer():
    renderer = Renderer()
    yield renderer
    renderer.tool.close()


def expected(request):
    try:
        return jinja_reference.render(request).encode("utf-8", "surrogatepass"), ""
    except Exception as error:  # whatever Python raises is an error to the caller
        return None, f"{type(error).__name__}: {error}"


def check(renderer, request):
    want, want_error = expected(request)
    got, got_error, spans = renderer.render(request)
    if got != want:
        detail = {k: v for k, v in request.items() if k != "template"}
        pytest.fail(f"ours: {got!r} {got_error}\njinja2: {want!r} {want_error}\n{json.dumps(detail)[:1500]}")
    return got, spans


def requests_for(template):
    """Every conversation with and without the flags; tools and variables in turn."""
    flags = list(itertools.product([False, True], conversations.TOOLS.values()))
    variables = itertools.cycle(conversations.VARIABLES)
    for messages in conversations.CONVERSATIONS.values():
        for add_generation_prompt, tools in flags:
            yield {"template": template, "messages": messages, "tools": tools, "variables": next(variables),
                   "add_generation_prompt": add_generation_prompt, "bos_token": "<s>", "eos_token": "</s>",
                   "wall_ms": NOW_MS}
        yield {"template": template, "messages": messages, "documents": conversations.DOCUMENTS, "wall_ms": NOW_MS}
        if messages:
            yield {"template": template, "messages": messages, "continue_final_message": True, "wall_ms": NOW_MS}


def test_there_are_enough_templates():
    assert len(TEMPLATES) >= 50


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_prompts_are_jinja2s(path, renderer):
    template = path.read_text()
    outputs = {check(renderer, request)[0] for request in requests_for(template)}
    assert len(outputs) > 1, "every conversation gave the same"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_byte_of_a_message_is_trusted(path, renderer):
    """Each message's text is a mark that no template has; trusted spans may not touch it."""
    mark = "\u2603<|im_end|></s>\u2603"
    messages = [conversations.user(mark), conversations.assistant(mark), conversations.user(mark)]
    for variables in conversations.VARIABLES[:3]:
        got, _, spans = renderer.render({"template": path.read_text(), "messages": messages, "tools": [conversations.WEATHER],
                                         "variables": variables, "add_generation_prompt": True, "wall_ms": NOW_MS})
        if got is None:
            continue
        assert spans == sorted(spans) and all(start < end <= len(got) for start, end in spans)
        at = got.find(mark.encode())
        while at >= 0:
            assert not any(start < at + len(mark.encode()) and at < end for start, end in spans)
            at = got.find(mark.encode(), at + 1)


SNIPPETS = r"""
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1e16 }} {{ 1e15 }} {{ 1.5e-5 }} {{ 0.1 + 0.2 }}
{{ 1_000 + 0x1f + 0b11 + 0o17 }}|{{ -2 ** 2 }}|{{ not 1 == 2 }}|{{ 1 < 2 < 3 }}|{{ 1 < 3 < 2 }}|{{ 1 if 0 }}|{{ 1 if 0 else 2 if 0 else 3 }}
{{ [1, 2.0, 'a', none, true, {'k': (1,)}] }} {{ "it's" }} {{ ["it's", 'q"', "a\nb\x01\\"] }} {{ () }} {{ (1, 2) }}
{{ {'b': 1, 'a': [1]}|tojson }} {{ {'b': 1, 'a': [1, {}], 'c': {}}|tojson(indent=2) }} {{ [1,2]|tojson(separators=(',', ':')) }}
{{ {'b': 1, 'a': 'é<'}|tojson(sort_keys=true, ensure_ascii=true) }} {{ 'x'|tojson }} {{ none|tojson }} {{ 1.0|tojson }}
{% for i in range(5) %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a','b') }};{% endfor %}
{% for i in [1,2,3,4] if i % 2 == 0 %}{{ loop.index }}:{{ i }} {% else %}none{% endfor %}{% for i in [] %}x{% else %}empty{% endfor %}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }},{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% set x = 1 %}{% for i in [1,2] %}{% set x = i + 10 %}{{ x }}{% endfor %}{{ x }}{% set ns = namespace(x=1) %}{% for i in [1,2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}
{% set y %}  block {{ 1 }}  {% endset %}[{{ y }}]{% set z | upper | trim %} shout {% endset %}[{{ z }}]{% filter upper %}a{{ 'b' }}{% endfilter %}
{% macro m(a, b='d', c=a) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=3) }} {{ m(b=2, a=5) }} {{ m() }}
{% macro v(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ v(1, 2, 3, k=4) }}
{% macro w(x) %}<{{ caller(x) }}>{% endmacro %}{% call(q) w('z') %}in {{ q }}{% endcall %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}
{{ undefined_thing }}|{{ undefined_thing is defined }}|{{ undefined_thing|default('d') }}|{{ ''|default('d') }}|{{ ''|default('d', true) }}|{{ undefined_thing ~ 'x' }}
{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a b c'.split(' ', 1) }}{{ 'a-b-c'.rsplit('-', 1) }}{{ '  x '.strip() }}{{ 'xxaxx'.strip('x') }}{{ 'abc'.lstrip('ab') }}
{{ 'Hello World'.upper() }}{{ 'Hello'.lower() }}{{ 'hello world-x y'.title() }}{{ 'hELLO'.capitalize() }}{{ 'hello wORLD-foo (bar)'|title }}{{ 'hELLO wORLD'|capitalize }}
{{ 'abc'[0] }}{{ 'abc'[-1] }}{{ 'abcdef'[1:4] }}{{ 'abcdef'[::-1] }}{{ 'abcdef'[::2] }}{{ 'héé'[1:] }}{{ [1,2,3][1:] }}{{ [1,2,3][::-1] }}{{ 'abc'[9] }}{{ [1][5] is defined }}
{{ 'a' in 'abc' }}{{ 1 in [1] }}{{ 'k' in {'k': 1} }}{{ 'z' not in 'abc' }}{{ 'ab'.startswith('a') }}{{ 'ab'.endswith(('x','b')) }}{{ 'aXbX'.replace('X', '-', 1) }}{{ 'aXbX'|replace('X', '-') }}
{{ [3,1,2]|sort }}{{ [3,1,2]|sort(reverse=true) }}{{ ['b','A','c']|sort }}{{ ['b','A','c']|sort(case_sensitive=true) }}{{ [{'a':2},{'a':1}]|sort(attribute='a') }}{{ ['a','A','b']|unique|list }}
{{ [1,2,3]|sum }}{{ [1,2,3]|max }}{{ [1,2,3]|min }}{{ []|max is defined }}{{ [1,2,3]|first }}{{ [1,2,3]|last }}{{ [1,2,3]|reverse|list }}{{ 'abc'|reverse }}{{ [1,2]|join('-') }}{{ [{'a':1}]|join(',', attribute='a') }}
{{ [{'a':1,'b':0},{'a':2,'b':1}]|selectattr('b')|list }}{{ [{'a':1},{'a':2}]|selectattr('a','equalto',2)|list }}{{ [{'a':1},{}]|rejectattr('a','defined')|list }}{{ [1,2,3]|select('odd')|list }}{{ [0,1]|reject|list }}
{{ ['a','b']|map('upper')|join }}{{ [{'a':{'b':1}}]|map(attribute='a.b')|list }}{{ [{}]|map(attribute='z', default='q')|list }}{{ [1,2,3,4,5]|batch(2)|list }}{{ [1,2,3,4,5]|batch(2, 0)|list }}{{ [1,2,3,4,5]|slice(2)|list }}
{% for g in [{'t':'a','v':1},{'t':'b','v':2},{'t':'a','v':3}]|groupby('t') %}{{ g.grouper }}:{{ g.list|length }}{{ g[0] }} {% endfor %}{{ {'b':1,'A':2}|dictsort }}{{ {'b':1,'a':2}|dictsort(by='value') }}
{{ '42'|int + 1 }}{{ 'x'|int }}{{ 'x'|int(9) }}{{ '3.7'|int }}{{ 3.7|int }}{{ '1.5'|float }}{{ 'ff'|int(0, 16) }}{{ 2.5|round }}{{ 3.14159|round(2) }}{{ 3.1|round(0, 'ceil') }}{{ -5|abs }}{{ 5|round }}{{ 7|string + '!' }}
{{ 'a\nb\n\nc'|indent }}{{ 'a\nb'|indent(2, true) }}{{ 'a\n\nb'|indent(2, blank=true) }}{{ 'a\n'|indent('--') }}{{ '  x '|trim }}{{ 'xxaxx'|trim('x') }}{{ '<a>'|e }}{{ ('<a>'|safe) + '<b>' }}{{ 'héllo'|length }}
{{ 1 is number }}{{ 1.0 is float }}{{ true is boolean }}{{ 'a' is string }}{{ {} is mapping }}{{ [] is sequence }}{{ 'a' is sequence }}{{ 1 is iterable }}{{ none is none }}{{ 4 is even }}{{ 9 is divisibleby(3) }}{{ 9 is divisibleby 3 }}{{ 'a' is in 'abc' }}{{ 'AB' is upper }}{{ 1 is sameas 1 }}{{ true is integer }}{{ 3 is not odd }}
{{ '%s-%05.2f-%d-%r-%%'|format('a', 3.14159, 42, 'q') }}{{ '%s and %s' % ('a', 1) }}{{ '{} {1} {x!r}'.format(1, 2, x='y') if false else '{} {}'.format(1, 'b') }}{{ '{0}-{x!r}:{1:>5}|{2:05.1f}'.format('a', 'b', 2.25, x='y') }}
{{ dict(a=1, **{'b': 2}) }}{{ {'a': 1}.get('z', 'no') }}{{ {'a': 1}.keys()|list }}{{ {'a': 1}.values()|list }}{{ {'a': 1}.items() }}{{ range(3) }}{{ range(1, 9, 3)|list }}{{ {'items': 1}['items'] }}
{{ "a" "b" }}{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }}{{ [1] + [2] }}{{ 'ab' * 3 }}{{ [0] * 3 }}{{ (1, 2) + (3,) }}{{ 'x' < 'y' }}{{ [1, 2] < [1, 3] }}{{ 1 == 1.0 }}{{ true == 1 }}{{ '1' == 1 }}
{%- set c = cycler('odd', 'even') -%}{{ c.next() }}{{ c.next() }}{{ c.next() }}{% set j = joiner(',') %}{{ j() }}a{{ j() }}b
  {% if true %}  x  {% endif %}  
   {%+ if true %} y {%+ endif %}
{#- comment -#}   z {# c #}
{% raw %}{{ not }} {% if %}{% endraw %} t
{{- 'a' -}}   b   {{- 'c' }}
{% generation %}g{{ 1 }}{% endgeneration %}
{{ 'line' }}

trailing
{{ '\u00e9\x41\101\t\'\"\\ \z' }}{{ "multi
line" }}
{{ messages[0].content.nope }}{{ messages[0]['role'] }}{{ messages[0].get('x') }}{{ messages|length }}{{ messages[-1].content[:2] }}{{ messages.x }}{{ none.x }}
{{ strftime_now('%Y-%m-%d %H:%M') }}{{ loop is defined }}{{ 'a'.nope is defined }}{{ [].append is defined }}
{{ namespace(a=1) }}{{ namespace(a=1).a }}{{ {1: 'a', none: 'b', 2.5: 'c'} }}{{ {1: 2}|tojson }}{{ [true, none]|string }}
{{ 'a\r\nb'.splitlines() }}{{ 'abab'.count('ab') }}{{ 'abc'.find('c') }}{{ 'abc'.find('z') }}{{ 'a=b'.partition('=') }}{{ 'ab1'.isalnum() }}{{ '12'.isdigit() }}{{ 'x.y'.removeprefix('x') }}
{{ ['a', ['b', {'c': 'd'}]]|string|length }}{{ [[1, 2], [3]]|sum(start=[]) }}{{ 'a'|list }}{{ {'a': 1}|list }}{{ 'ß'|upper }}{{ 'ÀÉ'|lower }}
{{ undefined_thing.x }}
{{ undefined_thing + 1 }}
{{ 1 + 'a' }}
{{ 1 / 0 }}
{{ [].append(1) }}
{{ {}.update({}) }}
{{ 'a'|nope }}
{{ 1 is nope }}
{% if false %}{{ 'a'|nope }}{% endif %}ok
{{ raise_exception('no') }}
{{ range(1000000) }}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% set x.y = 1 %}
{% endif %}
{% if true %}
{{ 1
{{ }}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(z=2) }}
{% unknown %}
{{ messages() }}
{{ none|tojson(nope=1) }}
{{ {}|tojson|length }}{{ undefined_thing|tojson }}
{{ 'a' < 1 }}
{{ none|length }}
{{ namespace(_a=1) }}
{% break %}
""".strip("\n").split("\n")


def join_multiline(lines):
    """Snippets are lines; one whose string or text goes on was split where it should not be."""
    text = "\n".join(lines)
    return [part for part in text.split("\n") if part] + ["{{ \"multi\nline\" }}", "{{ 'x' }}\n\ny\n", "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
                                                           "  {%- if true -%}  \n x \n {%- endif +%}\n y\n\n", "{% raw -%}\n  x {{ y }}\n{%- endraw %}\n",
                                                           "a {# x #}\n b {#- y +#}\n c\r\n{{ 1 }}\r\n"]


def test_snippets_are_jinja2s(renderer):
    failures = []
    for snippet in join_multiline(SNIPPETS):
        request = {"template": snippet, "messages": [conversations.user("höre"), conversations.assistant("b")], "wall_ms": NOW_MS}
        want, got = expected(request), renderer.render(request)
        if want[0] != got[0]:
            failures.append(f"{snippet!r}\n  ours:   {got[0]!r} {got[1]}\n  jinja2: {want[0]!r} {want[1]}")
    assert not failures, "\n".join(failures)


class Expressions:
    """Random expressions over small values."""
    ATOMS = ["0", "1", "-3", "2.5", "10", "'a'", "'Hello World'", "' x '", "''", "'a,b'", "true", "false", "none", "[]", "[1, 2, 3]",
             "['b', 'A', 'c']", "{'a': 1, 'b': 'x'}", "{}", "(1, 'z')", "nothing", "messages[0]", "messages", "messages[0].content",
             "range(4)", "'é😀ß'", "[[1, 2], [0]]", "[{'n': 2}, {'n': 1}]"]
    BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or"]
    FILTERS = ["length", "upper", "lower", "trim", "title", "capitalize", "first", "last", "list", "string", "int", "float", "abs",
               "join('-')", "default('D')", "default('D', true)", "tojson", "sort", "unique|list", "reverse|list", "sum", "max", "min",
               "replace('a', 'bb')", "map('string')|list", "select|list", "map(attribute='n')|list", "round(1)", "indent(2)", "items|list",
               "dictsort", "batch(2)|list", "selectattr('n', 'gt', 1)|list", "tojson(indent=1)", "count"]
    POSTFIX = ["[0]", "[-1]", "[1:]", "[::-1]", "[:2]", ".a", "['b']", ".items()|list", ".upper()", ".split()", ".split(',')", ".strip()",
               ".get('a', 5)", ".keys()|list", ".startswith('H')", ".nope", ".n", ".role", ".title()", ".replace(' ', '_')"]
    TESTS = ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "boolean", "true", "even",
             "divisibleby(2)", "in [1, 'a']", "eq(1)", "sameas(none)", "lower", "upper", "callable"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def make(self, depth):
        r = self.random
        if depth == 0 or r.random() < 0.15:
            return r.choice(self.ATOMS)
        kind = r.randrange(10)
        if kind < 2:
            return f"({self.make(depth - 1)} {r.choice(self.BINARY)} {self.make(depth - 1)})"
        if kind < 5:
            return f"({self.make(depth - 1)})|{r.choice(self.FILTERS)}"
        if kind < 7:
            return f"({self.make(depth - 1)}){r.choice(self.POSTFIX)}"
        if kind == 7:
            return f"(({self.make(depth - 1)}) is {r.choice(['', 'not '])}{r.choice(self.TESTS)})"
        if kind == 8:
            return f"({self.make(depth - 1)} if {self.make(depth - 1)} else {self.make(depth - 1)})"
        return r.choice(["[{}, {}]", "(not {}) ~ {}", "{{'k': {}, 'l': {}}}"]).format(self.make(depth - 1), self.make(depth - 1))


def test_random_expressions_are_jinja2s(renderer):
    source = Expressions(seed=20)
    failures = []
    self_made = [b" object at 0x", b"built-in", b"range("]  # how Python prints addresses and slices of ranges
    for _ in range(6000):
        expression = source.make(source.random.randrange(1, 5))
        request = {"template": "{{ " + expression + " }}", "messages": [conversations.user("Ab c")], "wall_ms": NOW_MS}
        want, got = expected(request), renderer.render(request)
        if any(word in (want[0] or b"") for word in self_made):
            continue
        if want[0] is not None and "cannot be sliced" in got[1]:
            continue  # jinja2 folds constants by other rules than it runs by: (1)[1:] is '', x[1:] an error
        if want[0] != got[0]:
            failures.append(f"{expression}\n  ours:   {got[0]!r} {got[1]}\n  jinja2: {want[0]!r} {want[1]}")
    assert not failures, f"{len(failures)} of 6000:\n" + "\n".join(failures[:20])
