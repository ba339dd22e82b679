"""What requests to servers that are not ours have used: told by the server, asked for where it has to be, estimated where it is
not told; and paid once."""
import contextlib
import hashlib
import http.server
import json
import sqlite3
import threading

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support import llama_server
from support.observe import wait_until

pytestmark = pytest.mark.edge

SERVER_KEY = "sk-upstream-0123456789abcdef0123456789"
KEY = "sk-usage-0123456789abcdef0123456789abcdef"
HEADERS = {"authorization": f"Bearer {KEY}"}
MESSAGES = [{"role": "user", "content": "Say a few words about rivers."}]
INPUT, OUTPUT = 2000, 6000  # thousand-millionths a token
HERE = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
state:
  database: FOLDER/state.db
records:
  access_log: FOLDER/access.log
  interval: 10ms
auth:
  keys:
    - {name: tenant, organisation: acme, sha256: SHA}
tenants:
  budgets:
    - {organisation: acme, amount: 1000}
models:
  - name: far
    upstream: {url: URL, health_interval: 200ms, api_key_env: SERVER_KEY}
    price: {input: 2, output: 6}
""".replace("SHA", hashlib.sha256(KEY.encode()).hexdigest())


@pytest.fixture
def start(start_gateway, tmp_path):
    def run(url, more=""):
        text = HERE.replace("FOLDER", str(tmp_path)).replace("URL", url) + more
        server = start_gateway(text, environment={"SERVER_KEY": SERVER_KEY})
        wait_until(lambda: server.replicas()[0]["state"] == "ready")
        return server
    return run


def rows_of(folder):
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM requests ORDER BY ended_ms, id")]


def newest(folder, count):
    return wait_until(lambda: (rows := rows_of(folder)) and len(rows) == count and rows)[-1]


def spent(folder):
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True)) as database:
        return sum(row[0] for row in database.execute("SELECT nano FROM spent WHERE subject = 'organisation acme'"))


def stream_lines(server, path, body, until=None):
    """The data lines of a stream; with `until` the client leaves after so many events with text."""
    lines = []
    with httpx.stream("POST", server.url + path, headers=HEADERS, json={"model": "far", "stream": True, **body}, timeout=120) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("data: "):
                lines.append(line.removeprefix("data: "))
                if until is not None and len(lines) >= until:
                    break
    return lines


@pytest.fixture(scope="module")
def llama(model_path, tmp_path_factory):
    if not llama_server.PATH.exists():
        pytest.skip("there is no llama-server; PENSTOCK_TEST_LLAMA_SERVER names one")
    with llama_server.running(model_path, tmp_path_factory.mktemp("llama"), SERVER_KEY) as (process, url):
        wait_until(lambda: process.poll() is None and is_healthy(url))
        yield url


def is_healthy(url):
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url + "/health", timeout=5).status_code == 200
    return False


def llama_counts(url):
    """What the server itself has counted: tokens of prompts that it read, cached ones apart, and of answers."""
    text = httpx.get(url + "/metrics", headers={"authorization": f"Bearer {SERVER_KEY}"}, timeout=30).text
    values = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    return int(values["llamacpp:tokens_predicted_total"])


def direct(url):
    return openai.OpenAI(base_url=url + "/v1", api_key=SERVER_KEY, max_retries=0)


def test_a_llama_servers_usage_is_what_is_paid(start, llama, tmp_path):
    server = start(llama + "/v1")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0)
    options = dict(model="far", messages=MESSAGES, max_tokens=9, temperature=0)
    known = direct(llama).chat.completions.create(**options).usage
    generated = llama_counts(llama)
    expected = 0

    def check(count, usage):
        nonlocal expected
        row = newest(tmp_path, count)
        assert (row["prompt_tokens"], row["completion_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
        assert row["is_known"] == 1 and row["is_estimated"] == 0 and row["busy_ns"] == 0
        assert row["cost_nano"] == usage.prompt_tokens * INPUT + usage.completion_tokens * OUTPUT
        expected += row["cost_nano"]
        wait_until(lambda: spent(tmp_path) == expected)

    whole = client.chat.completions.create(**options).usage
    assert (whole.prompt_tokens, whole.completion_tokens) == (known.prompt_tokens, known.completion_tokens)
    check(1, known)
    # A stream whose client has not asked: it gets no usage, and pays.
    chunks = list(client.chat.completions.create(**options, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    check(2, known)
    # One that has: the last chunk is its own.
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == known.completion_tokens
    check(3, known)
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": False}))
    assert all(chunk.choices for chunk in chunks)
    check(4, known)
    text = client.completions.create(model="far", prompt="The river", max_tokens=7, temperature=0)
    check(5, text.usage)
    lines = stream_lines(server, "/v1/completions", {"prompt": "The river", "max_tokens": 7, "temperature": 0})
    assert lines[-1] == "[DONE]" and all(json.loads(line).get("choices") for line in lines[:-1])
    check(6, text.usage)
    # What the server has counted of answers is what the ledger has.
    assert sum(row["completion_tokens"] for row in rows_of(tmp_path)) == llama_counts(llama) - generated


def test_a_stream_that_its_client_leaves_is_estimated(start, llama, tmp_path):
    server = start(llama)
    lines = stream_lines(server, "/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 500, "temperature": 1}, until=12)
    row = newest(tmp_path, 1)
    assert row["is_known"] == 1 and row["is_estimated"] == 1 and row["status"] in (200, 499)
    # At least what the client has had, and not much more: the server sends an event for each token.
    assert len(lines) <= row["completion_tokens"] < 500 and row["prompt_tokens"] > 0
    assert row["cost_nano"] == row["prompt_tokens"] * INPUT + row["completion_tokens"] * OUTPUT
    wait_until(lambda: spent(tmp_path) == row["cost_nano"])
    (line,) = [json.loads(text) for text in (tmp_path / "access.log").read_text().splitlines() if "/v1/chat" in text]
    assert line["usage_estimated"] is True


class Silent(http.server.BaseHTTPRequestHandler):
    """A server that tells no usage, whatever it is asked."""

    protocol_version = "HTTP/1.1"
    seen = []

    def log_message(self, *_):
        pass

    def answer(self, body, content_type="application/json"):
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        # Not a server's to say to a gateway that is not its own.
        self.send_header("x-penstock-usage", "1000000 0 1000000 0 0 stop")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/metrics":
            self.send_error(404)
        else:
            self.answer(b'{"object": "list", "data": []}')

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(request)
        text = "eight words are in this text of it"
        if not request.get("stream"):
            self.answer(json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).encode())
            return
        events = [b":u 1000000 0 1000000 0 0 stop\n"] + [
            b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": word}}]}).encode() + b"\n\n"
            for word in text.split()] + [b"data: [DONE]\n\n"]
        self.answer(b"".join(events), "text/event-stream")


@pytest.fixture
def silent():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Silent.seen.clear()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_server_that_tells_nothing_is_estimated_and_not_believed_otherwise(start, silent, tmp_path):
    server = start(silent)
    body = {"messages": MESSAGES, "max_tokens": 20}
    answer = httpx.post(server.url + "/v1/chat/completions", headers=HEADERS, json={"model": "far", **body}, timeout=60)
    assert answer.status_code == 200 and "x-penstock-usage" not in answer.headers
    row = newest(tmp_path, 1)
    assert row["is_estimated"] == 1 and row["completion_tokens"] == 9  # 34 bytes, four to a token
    assert 10 < row["prompt_tokens"] < 60 and row["finish"] == "" and row["busy_ns"] == 0
    stream_lines(server, "/v1/chat/completions", body)
    row = newest(tmp_path, 2)
    assert row["is_estimated"] == 1 and row["completion_tokens"] == 9  # eight events with words, and the last
    assert Silent.seen[0] == {"model": "far", **body}
    assert Silent.seen[1] == {"model": "far", "stream": True, **body, "stream_options": {"include_usage": True}}


def test_limits_count_what_servers_elsewhere_have_used(start, silent, tmp_path):
    server = start(silent)
    text = server.config.read_text()
    server.config.write_text(text.replace("tenants:\n", "tenants:\n  expected_output_tokens: 10\n  limits:\n"
                                          "    - {per: key, tokens_per_day: 10000}\n"))
    server.process.send_signal(1)
    wait_until(lambda: "reload: done" in server.log_text())
    body = {"model": "far", "messages": MESSAGES, "max_tokens": 1000}

    def ask():
        return httpx.post(server.url + "/v1/chat/completions", headers=HEADERS, json=body, timeout=60)

    first = ask()
    assert first.status_code == 200
    used = newest(tmp_path, 1)
    # What was taken for a thousand tokens has come back, but for what was used.
    left = int(ask().headers["x-ratelimit-remaining-tokens"])
    reserved = used["prompt_tokens"] + 1000
    used_tokens = used["prompt_tokens"] + used["completion_tokens"]
    assert 10000 - used_tokens - reserved <= left <= 10000 - used_tokens - reserved + 200


def test_copies_for_a_shadow_are_not_paid(start, silent, start_gateway, tmp_path):
    server = start(silent, more=f"""
  - name: near
    upstream: {{url: {silent}, health_interval: 200ms}}
    price: {{input: 2, output: 6}}
    shadow: {{model: far, share: 1}}
""")
    wait_until(lambda: all(each["state"] == "ready" for each in server.replicas()))
    answer = httpx.post(server.url + "/v1/chat/completions", headers=HEADERS, json={"model": "near", "messages": MESSAGES}, timeout=60)
    assert answer.status_code == 200
    wait_until(lambda: len(Silent.seen) == 2)
    row = newest(tmp_path, 1)
    wait_until(lambda: spent(tmp_path) == row["cost_nano"])
    server.stop()  # which writes whatever there is
    assert len(rows_of(tmp_path)) == 1 and row["model"] == "near" and spent(tmp_path) == row["cost_nano"]
