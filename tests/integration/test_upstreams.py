"""Models that are not here: servers elsewhere over http and https, versions of a model, and where a request goes when one fails."""
import hashlib
import http.server
import os
import pathlib
import signal
import subprocess
import threading

import httpx
import openai
import pytest

from support import llama_server
from support.observe import metric_of, wait_until

SERVER_KEY = "sk-upstream-0123456789abcdef0123456789"
CLIENT_KEY = "sk-client-0123456789abcdef012345678901"
MESSAGES = [{"role": "user", "content": "Say a few words about rivers."}]
TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Current weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]

# What plays the server elsewhere: a gateway of ours that wants a key, with and without TLS on its port.
ELSEWHERE = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  tls_certificate: FOLDER/server.pem
  tls_key: FOLDER/server.key
auth:
  keys:
    - {name: gateway, sha256: SHA}
models:
  - name: there
    path: {model}
    max_model_len: 1024
""".replace("SHA", hashlib.sha256(SERVER_KEY.encode()).hexdigest())

HERE = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
upstream:
  retries: 1
  ready_timeout: 20s
models:
"""
LOCAL = """
  - name: local
    path: {model}
    max_model_len: 1024
    kv_cache_memory: 64MiB
"""


def make_certificates(folder):
    """An authority, and a certificate of it for localhost."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost",
            "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "server.pem")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    make_certificates(folder)
    (folder / "key").write_text(SERVER_KEY + "\n")
    return folder


@pytest.fixture(scope="module")
def elsewhere(module_servers, folder):
    return module_servers[0](ELSEWHERE.replace("FOLDER", str(folder)))


def upstream(name, url, extra="", **fields):
    inside = "".join(f"\n      {key}: {value}" for key, value in {"health_interval": "200ms", **fields}.items())
    return f"\n  - name: {name}\n    upstream:\n      url: {url}{inside}\n{extra}"


def wait_for_state(server, model, state):
    wait_until(lambda: next(each for each in server.replicas() if each["model"] == model)["state"] == state)


def client_of(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=CLIENT_KEY, max_retries=0)


def chat(server, model, headers=None, **fields):
    body = {"model": model, "messages": MESSAGES, "max_tokens": 4, "temperature": 0, **fields}
    return httpx.post(server.url + "/v1/chat/completions", json=body, headers=headers, timeout=60)


@pytest.fixture(scope="module", params=["http", "https"])
def beside(request, module_servers, elsewhere, folder):
    """A gateway with one model, which is elsewhere."""
    port = elsewhere.url.rsplit(":", 1)[1]
    url = f"http://127.0.0.1:{port}/" if request.param == "http" else f"https://localhost:{port}/v1"
    fields = {"model": "there", "api_key_file": folder / "key"}
    if request.param == "https":
        fields["ca_file"] = folder / "ca.pem"
    server = module_servers[0](HERE + upstream("far", url, **fields))
    wait_for_state(server, "far", "ready")
    yield server
    server.stop()


def test_the_official_client_talks_to_a_server_elsewhere(beside, elsewhere):
    client = client_of(beside)
    whole = client.chat.completions.create(model="far", messages=MESSAGES, max_tokens=8, temperature=0)
    assert whole.model == "there" and whole.choices[0].message.content
    streamed = client.chat.completions.create(model="far", messages=MESSAGES, max_tokens=8, temperature=0, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert text == whole.choices[0].message.content
    direct = openai.OpenAI(base_url=elsewhere.url + "/v1", api_key=SERVER_KEY)
    assert direct.chat.completions.create(model="there", messages=MESSAGES, max_tokens=8,
                                          temperature=0).choices[0].message.content == text


def test_tools_go_through(beside):
    client = client_of(beside)
    answer = client.chat.completions.create(model="far", messages=MESSAGES, tools=TOOLS, tool_choice="required", max_tokens=60,
                                            temperature=0)
    calls = answer.choices[0].message.tool_calls
    assert calls and calls[0].function.name == "get_weather"


def test_errors_are_told_as_the_client_knows_them(beside):
    client = client_of(beside)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="far", messages=MESSAGES, temperature=-5)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nowhere", messages=MESSAGES)


def test_neither_key_is_seen_where_it_is_not_meant_for(beside, elsewhere):
    chat(beside, "far", headers={"authorization": f"Bearer {CLIENT_KEY}"}).raise_for_status()
    seen = [beside.log_text(), httpx.get(beside.admin_url + "/admin/config", timeout=10).text,
            httpx.get(beside.admin_url + "/metrics", timeout=10).text, httpx.get(beside.admin_url + "/admin/replicas",
                                                                                 timeout=10).text,
            pathlib.Path(f"/proc/{beside.pid}/cmdline").read_text(), elsewhere.log_text()]
    for text in seen:
        assert SERVER_KEY not in text and CLIENT_KEY not in text
    answer = chat(beside, "far")
    assert SERVER_KEY not in answer.text and not any(SERVER_KEY in value for value in answer.headers.values())


def test_a_wrong_key_is_the_gateways_affair(start_gateway, elsewhere, tmp_path):
    """The server refuses the gateway, not the client: no 401 comes out."""
    (tmp_path / "wrong").write_text("sk-wrong")
    server = start_gateway(HERE + upstream("far", elsewhere.url, model="there", api_key_file=tmp_path / "wrong") +
                           "    fallbacks: [local]\n" + LOCAL)
    wait_for_state(server, "far", "backing_off")
    answer = chat(server, "far")
    assert answer.status_code == 200 and answer.json()["model"] == "local"


def test_a_certificate_of_an_unknown_authority_is_refused(start_gateway, elsewhere, folder):
    port = elsewhere.url.rsplit(":", 1)[1]
    server = start_gateway(HERE + upstream("far", f"https://localhost:{port}", model="there", api_key_file=folder / "key") +
                           "    fallbacks: [local]\n" + LOCAL)
    wait_for_state(server, "far", "backing_off")
    assert chat(server, "far").json()["model"] == "local"
    assert "certificate" in server.log_text()


def test_a_server_that_dies_is_noticed_and_its_models_fallback_answers(start_gateway):
    """First the connection that breaks, later the health check: neither is seen by the client."""
    other = start_gateway(HERE + LOCAL)
    server = start_gateway(HERE + upstream("far", other.url, model="local") + "    fallbacks: [local]\n" + LOCAL)
    wait_for_state(server, "far", "ready")
    assert chat(server, "far").json()["model"] == "local"
    before = metric_of(server, "penstock_model_fallbacks_total", model="far")
    os.killpg(other.pid, signal.SIGKILL)
    answer = chat(server, "far")
    assert answer.status_code == 200, answer.text
    assert metric_of(server, "penstock_model_fallbacks_total", model="far") == before + 1
    wait_for_state(server, "far", "backing_off")
    client = client_of(server)
    stream = client.chat.completions.create(model="far", messages=MESSAGES, max_tokens=4, stream=True)
    assert [chunk for chunk in stream][-1].model == "local"


SEVERAL = HERE.replace("retries: 1", "retries: 2") + """
  - name: far
    upstream:
      url: [{first}, {second}]
      model: local
      health_interval: 200ms
"""


@pytest.fixture
def two_servers(start_gateway):
    first, second = start_gateway(HERE + LOCAL), start_gateway(HERE + LOCAL)
    server = start_gateway(SEVERAL.replace("{first}", first.url).replace("{second}", second.url))
    wait_until(lambda: all(each["state"] == "ready" for each in server.replicas()))
    return server, first, second


def requests_of(server):
    return metric_of(server, "penstock_requests_total", model="local")


def test_conversations_stay_with_the_server_that_has_read_them(two_servers):
    server, first, second = two_servers
    conversations = [[{"role": "user", "content": f"Story {i}. " + f"The {name} went down to the river again. " * 30}]
                     for i, name in enumerate(("fox", "heron", "miller", "ferryman", "child", "goat"))]
    for turn in range(3):
        for messages in conversations:
            answer = chat(server, "far", messages=messages, max_tokens=4).json()
            cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            assert turn == 0 or cached > 200, (turn, answer["usage"])
            messages.append({"role": "assistant", "content": answer["choices"][0]["message"]["content"]})
            messages.append({"role": "user", "content": "Go on."})
    assert requests_of(first) >= 3 and requests_of(second) >= 3


def test_when_one_of_several_servers_dies_the_others_answer(two_servers):
    server, first, second = two_servers
    os.killpg(first.pid, signal.SIGKILL)
    for _ in range(6):
        answer = chat(server, "far", max_tokens=2)
        assert answer.status_code == 200, answer.text
    wait_until(lambda: sorted(each["state"] for each in server.replicas()) == ["backing_off", "ready"])
    assert requests_of(second) >= 6


class BusyServer(http.server.BaseHTTPRequestHandler):
    """Tells that others have filled it, in vLLM's words; answers all the same."""
    chats = 0

    def do_GET(self):
        metrics = 'vllm:num_requests_running{model_name="local"} 40.0\nvllm:num_requests_waiting{model_name="local"} 60.0\n'
        self.answer("text/plain", metrics) if self.path == "/metrics" else self.answer("application/json", '{"data": []}')

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        type(self).chats += 1
        self.answer("application/json", '{"model": "local", "choices": []}')

    def answer(self, content_type, text):
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("policy", ["predicted_ttft", "least_load"])
def test_a_server_that_others_fill_is_left_alone(start_gateway, policy):
    BusyServer.chats = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), BusyServer) as busy:
        threading.Thread(target=busy.serve_forever, daemon=True).start()
        idle = start_gateway(HERE + LOCAL)
        config = SEVERAL.replace("{first}", f"http://127.0.0.1:{busy.server_port}").replace("{second}", idle.url)
        server = start_gateway(config.replace("models:", f"routing: {{policy: {policy}}}\nmodels:", 1))
        wait_until(lambda: all(each["state"] == "ready" for each in server.replicas()))
        wait_until(lambda: explained(server)[0]["outstanding"] == 100)
        for _ in range(4):
            assert chat(server, "far", max_tokens=2).status_code == 200
        assert BusyServer.chats == 0 and requests_of(idle) == 4
        busy.shutdown()


def explained(server):
    body = {"model": "far", "messages": MESSAGES}
    return httpx.post(server.admin_url + "/admin/route", json=body, timeout=10).json()["candidates"]


VERSIONS = HERE + LOCAL.replace("name: local", "name: first") + LOCAL.replace("name: local", "name: second") + """
  - name: chat
    aliases: [chat-latest]
    versions:
      - {model: first, weight: 3}
      - {model: second, weight: 1}
  - name: short
    path: {model}
    max_model_len: 64
    kv_cache_memory: 32MiB
    fallbacks: [chat]
    fallback_on: [context_length]
  - name: hasty
    path: {model}
    max_model_len: 1024
    kv_cache_memory: 64MiB
    first_byte_timeout: 300ms
    fallbacks: [second]
"""


@pytest.fixture(scope="module")
def versions(module_servers):
    server = module_servers[0](VERSIONS)
    yield server
    server.stop()


def test_versions_get_their_shares_and_sessions_stay(versions):
    seen = {}
    for i in range(40):
        answer = chat(versions, "chat" if i % 2 else "chat-latest", headers={"x-session-id": f"s{i % 20}"}, max_tokens=1)
        assert answer.status_code == 200, answer.text
        seen.setdefault(i % 20, set()).add(answer.json()["model"])
    assert all(len(models) == 1 for models in seen.values())
    first = sum(models == {"first"} for models in seen.values())
    assert 8 <= first <= 19  # of twenty sessions with three quarters: far from it only once in ten thousand draws, and these are fixed
    assert {"chat", "first", "second"} <= {each["id"] for each in httpx.get(versions.url + "/v1/models", timeout=10).json()["data"]}


def test_a_prompt_that_is_too_long_goes_to_a_model_with_room(versions):
    long_prompt = [{"role": "user", "content": "river " * 120}]
    answer = chat(versions, "short", messages=long_prompt)
    assert answer.status_code == 200 and answer.json()["model"] in ("first", "second")
    assert chat(versions, "short", messages=[{"role": "user", "content": "Hi"}], max_tokens=2).json()["model"] == "short"


def test_a_route_has_its_own_patience(versions):
    """400 tokens take longer than 300 ms before the first byte of an answer that is not streamed."""
    answer = chat(versions, "hasty", max_tokens=400, ignore_eos=True)
    assert answer.status_code == 200 and answer.json()["model"] == "second"


def test_weights_change_with_a_reload(versions):
    text = versions.config.read_text()
    versions.config.write_text(text.replace("weight: 3", "weight: 0"))
    versions.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload: done" in versions.log_text())
    assert {chat(versions, "chat", headers={"x-session-id": f"s{i}"}, max_tokens=1).json()["model"] for i in range(8)} == {"second"}


SHADOWS = HERE + LOCAL.replace("name: local", "name: first") + """
    shadow: {model: second, share: 1}
""" + LOCAL.replace("name: local", "name: second") + """
    shadow: {model: gone, share: 1}
""" + upstream("gone", "http://127.0.0.1:9")


def test_shadows_are_compared_and_nothing_of_them_is_seen(start_gateway):
    server = start_gateway(SHADOWS)

    def counted(model, result):
        return metric_of(server, "penstock_shadow_requests_total", model=model, result=result)

    for stream in (False, True):  # equal weights, greedy: equal answers
        assert chat(server, "first", stream=stream, max_tokens=12).status_code == 200
    wait_until(lambda: counted("first", "same") == 2)
    tokens = metric_of(server, "penstock_shadow_tokens_total", model="first")
    assert tokens > 4 and metric_of(server, "penstock_shadow_equal_tokens_total", model="first") == tokens
    for seed in range(6):  # the copy draws with another seed than the request, which has none
        assert chat(server, "first", temperature=1.5, max_tokens=24).status_code == 200
    wait_until(lambda: counted("first", "same") + counted("first", "different") == 8)
    assert counted("first", "different") >= 1
    assert metric_of(server, "penstock_shadow_equal_tokens_total", model="first") < metric_of(
        server, "penstock_shadow_tokens_total", model="first")
    assert "before the first difference" in server.log_text()
    assert chat(server, "second").status_code == 200  # its shadow is nowhere
    wait_until(lambda: counted("second", "failed") == 1)


@llama_server.needed
def test_a_llama_server_is_an_upstream(start_gateway, model_path, tmp_path):
    with llama_server.running(model_path, tmp_path, SERVER_KEY) as (process, url):
        server = start_gateway(HERE + upstream("llama", url + "/v1", api_key_env="LLAMA_KEY"), environment={"LLAMA_KEY": SERVER_KEY})
        wait_for_state(server, "llama", "ready")
        client = client_of(server)
        answer = client.chat.completions.create(model="llama", messages=MESSAGES, max_tokens=8, temperature=0)
        assert answer.choices[0].message.content
        stream = client.chat.completions.create(model="llama", messages=MESSAGES, max_tokens=8, temperature=0, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert text == answer.choices[0].message.content
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="llama", messages="none")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        wait_for_state(server, "llama", "backing_off")
        assert chat(server, "llama").status_code == 503
