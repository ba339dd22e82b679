"""Microseconds a mask and milliseconds to compile, ours and llguidance's, on the same schemas, texts and vocabulary.

    pip install llguidance numpy
    python bench/grammar/peers.py build/release/grammar_bench MODEL.gguf

Each engine goes along the same tokens: at each place a mask of the whole vocabulary, then the token. Ours makes masks for some time after
it has compiled, as the server does: that counts as compiling. Cold is the first pass after compiling, warm the best of five later
ones. llguidance keeps nothing between passes but its lexer's states, so its passes are those of one matcher that starts anew each
time.
"""
import json
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests"))
from support import schema_generator  # noqa: E402

PASSES = 5
LONG = {"type": "object", "properties": {"title": {"type": "string"}, "text": {"type": "string", "maxLength": 500},
                                         "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["title", "text", "tags"], "additionalProperties": False}
OPTIONAL = {"type": "object", "properties": {f"field_{i}": {"type": ["string", "integer", "boolean"]} for i in range(40)},
            "additionalProperties": False}


def tasks():
    tools = schema_generator.TOOLS
    schemas = [
        ("tool, flat", tools[0], '{"location": "Paris, France", "unit": "celsius"}'),
        ("tool, nested", tools[1], '{"query": "news on rivers", "limit": 12, "filters": {"after": "2024-02-29", "tags": ["news"]}}'),
        ("formats", tools[2], '{"to": ["ann.lee@example.com"], "subject": "Hello", "body": null, "send_at": "2025-01-31T10:00:00Z"}'),
        ("recursive", tools[7], '{"value": "a", "next": {"value": "b", "next": null}}'),
        ("string of 500", LONG, json.dumps({"title": "On water", "text": "A penstock leads water to turbines. " * 12, "tags": ["gate"]})),
        ("40 optional", OPTIONAL, json.dumps({"field_3": "abc", "field_17": 5, "field_39": True})),
    ]
    return [{"name": name, "kind": "schema", "text": json.dumps(schema), "texts": [text]} for name, schema, text in schemas]


def ours(program, model, work):
    lines = "".join(json.dumps(task) + "\n" for task in work)
    done = subprocess.run([program, model], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Vocabulary:
    """What llguidance wants to know of a tokenizer; texts are cut greedily, which its masks do not depend on."""

    def __init__(self, program, model):
        found = json.loads(subprocess.run([program, model, "--vocabulary"], capture_output=True, text=True, check=True).stdout)
        self.tokens = [bytes.fromhex(piece) or b"\xff<%d>" % i for i, piece in enumerate(found["pieces"])]
        self.eos_token_id, self.bos_token_id = found["end"][0], None
        self.special_token_ids = [i for i, piece in enumerate(found["pieces"]) if not piece]
        self.by_bytes = {token: i for i, token in enumerate(self.tokens)}

    def __call__(self, text):
        data = text.encode() if isinstance(text, str) else bytes(text)
        result = []
        while data:
            end = next(n for n in range(min(len(data), 32), 0, -1) if data[:n] in self.by_bytes)
            result.append(self.by_bytes[data[:end]])
            data = data[end:]
        return result


def llguidance_run(vocabulary, work):
    import llguidance
    import llguidance.numpy
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(vocabulary))
    mask = llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab_size)
    for task in work:
        start = time.perf_counter()
        grammar = llguidance.LLMatcher.grammar_from_json_schema(task["text"])
        matcher = llguidance.LLMatcher(tokenizer, grammar)
        compile_ms = (time.perf_counter() - start) * 1e3
        assert not matcher.get_error(), matcher.get_error()
        passes = []
        for _ in range(1 + PASSES):
            times = []
            for token in vocabulary(task["texts"][0]):
                begin = time.perf_counter()
                llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
                times.append((time.perf_counter() - begin) * 1e6)
                assert matcher.consume_token(token), task["name"]
            matcher.reset()
            passes.append(times)
        yield {"name": task["name"], "compile_ms": compile_ms, "cold_us": passes[0], "warm_us": min(passes[1:], key=sum)}


def row(name, result):
    cold, warm = result["cold_us"], result["warm_us"]
    return (f"| {result['name']} | {name} | {result['compile_ms']:.2f} | {statistics.mean(cold):.1f} | {max(cold):.0f} | "
            f"{statistics.median(warm):.2f} | {statistics.mean(warm):.2f} | {max(warm):.1f} |")


def main():
    program, model = sys.argv[1:3]
    work = tasks()
    print("| schema | engine | compile, ms | cold mean, us | cold max | warm median, us | warm mean | warm max |\n|---|---|---|---|---|---|---|---|")
    for mine, theirs in zip(ours(program, model, work), llguidance_run(Vocabulary(program, model), work)):
        print(row("penstock", mine))
        print(row("llguidance", theirs))


if __name__ == "__main__":
    main()
