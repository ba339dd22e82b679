"""The gateway as the official client sees it: answers, streams, errors, keys."""
import asyncio
import hashlib
import json

import httpx
import openai
import pytest

MESSAGES = [{"role": "user", "content": "Say a few words about rivers."}]
KEYS = {"team-a": "sk-a-0123456789abcdef0123456789abcdef", "team-b": "sk-b-0123456789abcdef0123456789abcdef"}

KEYS_CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
auth:
  keys:
""" + "".join(f"    - {{name: {name}, sha256: {hashlib.sha256(key.encode()).hexdigest()}}}\n" for name, key in KEYS.items()) + """
models:
  - name: smollm2
    path: {model}
    aliases: [gpt-small, org/smol]
    max_model_len: 1024
"""


def client_of(server, key="none", **options):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0, **options)


@pytest.fixture(scope="module")
def keyed(module_servers):
    return module_servers[0](KEYS_CONFIG)


def test_chat_answers(gateway):
    answer = client_of(gateway).chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=8)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens <= 8
    assert answer._request_id


def test_chat_streams(gateway):
    stream = client_of(gateway).chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=8, stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("length", "stop")


def test_stream_and_answer_say_the_same(gateway):
    client = client_of(gateway)
    options = dict(model="smollm2", messages=MESSAGES, max_tokens=12, temperature=0, seed=1)
    whole = client.chat.completions.create(**options).choices[0].message.content
    stream = client.chat.completions.create(**options, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == whole


async def test_async_client_streams_and_answers(gateway):
    async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0) as client:
        async def one():
            return await client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=4)

        async def streamed():
            stream = await client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=4, stream=True)
            return [chunk async for chunk in stream]

        results = await asyncio.gather(one(), streamed(), one(), streamed())
    assert results[0].choices[0].message.content
    assert len(results[1]) >= 2


def test_the_only_model_needs_no_name(gateway):
    answer = httpx.post(gateway.url + "/v1/completions", json={"prompt": "One two", "max_tokens": 2}, timeout=60)
    assert answer.status_code == 200, answer.text


def test_unknown_model_is_404_with_a_suggestion(gateway):
    with pytest.raises(openai.NotFoundError) as error:
        client_of(gateway).chat.completions.create(model="smolm2", messages=MESSAGES)
    assert error.value.code == "model_not_found"
    assert error.value.param == "model"
    assert "did you mean 'smollm2'?" in error.value.message


def test_models_are_listed_with_their_aliases(keyed):
    client = client_of(keyed, KEYS["team-a"])
    models = {model.id: model for model in client.models.list()}
    assert set(models) == {"smollm2", "gpt-small", "org/smol"}
    assert models["gpt-small"].root == "smollm2"
    assert client.models.retrieve("smollm2").id == "smollm2"
    assert client.models.retrieve("org/smol").root == "smollm2"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_an_alias_is_served(keyed):
    for name in ("gpt-small", "org/smol"):
        answer = client_of(keyed, KEYS["team-a"]).chat.completions.create(model=name, messages=MESSAGES, max_tokens=2)
        assert answer.choices


def test_keys_open_the_api(keyed):
    for key in KEYS.values():
        assert client_of(keyed, key).chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=2).choices
        answer = httpx.post(keyed.url + "/v1/completions", json={"prompt": "a", "max_tokens": 1, "model": "smollm2"},
                            headers={"x-api-key": key}, timeout=60)
        assert answer.status_code == 200


@pytest.mark.parametrize("headers", [
    {}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer"}, {"authorization": KEYS["team-a"]},
    {"authorization": f"Basic {KEYS['team-a']}"}, {"x-api-key": KEYS["team-a"][:-1]},
    {"x-api-key": hashlib.sha256(KEYS["team-a"].encode()).hexdigest()}, {"authorization": "Bearer " + "x" * 8000},
])
def test_anything_but_a_key_is_401(keyed, headers):
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("POST", "/tokenize")):
        answer = httpx.request(method, keyed.url + path, headers=headers)
        assert answer.status_code == 401
        error = answer.json()["error"]
        assert error["code"] == "invalid_api_key" and error["type"] == "invalid_request_error"
        assert "wrong" not in answer.text


def test_a_wrong_key_is_an_authentication_error_to_the_client(keyed):
    with pytest.raises(openai.AuthenticationError) as error:
        client_of(keyed, "sk-wrong").models.list()
    assert error.value.code == "invalid_api_key"


def test_health_needs_no_key(keyed):
    for path in ("/livez", "/readyz", "/health", "/version"):
        assert httpx.get(keyed.url + path).status_code == 200
    assert httpx.get(keyed.url + "/readyz").json()["models"]["smollm2"]["ready"] == 1


def test_metrics_and_admin_are_not_on_the_public_listener(keyed):
    for path in ("/metrics", "/admin/replicas", "/admin/config"):
        answer = httpx.get(keyed.url + path, headers={"x-api-key": KEYS["team-a"]})
        assert answer.status_code == 404


def test_the_config_is_shown_without_secrets(keyed):
    shown = httpx.get(keyed.admin_url + "/admin/config")
    assert shown.json()["models"][0]["name"] == "smollm2"
    assert [key["name"] for key in shown.json()["auth"]["keys"]] == list(KEYS)
    for key in KEYS.values():
        assert hashlib.sha256(key.encode()).hexdigest() not in shown.text


@pytest.mark.parametrize("body, text", [
    (b"", "JSON"), (b"[]", "JSON"), (b"{", "JSON"), (b'{"model":1}', "must be a string"), (b"\xff", "JSON"),
    (b'{"model":"smollm2","model":"smollm2"}', "JSON"), (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "JSON"),
    (b"\xef\xbb\xbf{}", "JSON"),
])
def test_broken_bodies_are_400_in_the_envelope(gateway, body, text):
    answer = httpx.post(gateway.url + "/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]
    assert answer.headers["x-request-id"]


def test_a_replicas_own_error_passes_unchanged(gateway):
    with pytest.raises(openai.BadRequestError) as error:
        client_of(gateway).chat.completions.create(model="smollm2", messages=MESSAGES, temperature=-3)
    assert error.value.param == "temperature"


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405), ("DELETE", "/v1/models", 405),
    ("GET", "/../etc/passwd", 404), ("POST", "/metrics", 404),
])
def test_unknown_paths_and_methods_are_told_apart(gateway, method, path, status):
    answer = httpx.request(method, gateway.url + path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_request_id_goes_all_the_way_and_back(gateway):
    answer = httpx.post(gateway.url + "/v1/completions", json={"prompt": "a", "max_tokens": 1},
                        headers={"x-request-id": "my-id.7"}, timeout=60)
    assert answer.headers["x-request-id"] == "my-id.7"
    assert answer.headers.get_list("x-request-id") == ["my-id.7"]


def test_a_body_over_the_limit_is_413(start_gateway):
    config = """
server: {listen: "127.0.0.1:{port}", admin_listen: "127.0.0.1:{admin_port}"}
limits: {body_size: 64KiB}
models:
  - {name: smollm2, path: "{model}", max_model_len: 512}
"""
    server = start_gateway(config)
    filler = {"prompt": "a", "max_tokens": 1, "user": ""}
    room = 64 * 1024 - len(json.dumps(filler))
    url = server.url + "/v1/completions"
    fits = httpx.post(url, content=json.dumps({**filler, "user": "x" * room}), timeout=60)
    assert fits.status_code in (200, 400)  # the replica may find the name too long; the size was accepted
    assert httpx.post(url, content=json.dumps({**filler, "user": "x" * (room + 1)}), timeout=60).status_code == 413
