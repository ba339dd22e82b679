"""Keys in the state database, made and ended by `penstock keys` beside a running gateway."""
import hashlib
import json
import subprocess
import threading

import httpx
import openai
import pytest

from support.observe import wait_until

pytestmark = pytest.mark.edge

MESSAGES = [{"role": "user", "content": "Say a few words about rivers."}]
STATIC_KEY = "sk-static-0123456789abcdef0123456789abcdef"
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
auth:
  keys:
    - name: operator
      sha256: """ + hashlib.sha256(STATIC_KEY.encode()).hexdigest() + """
      scopes: [inference, admin]
      models: ["smol*"]
state:
  database: keys.db
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
  - name: other
    path: {model}
    max_model_len: 1024
"""


@pytest.fixture(scope="module")
def server(module_servers):
    return module_servers[0](CONFIG)


@pytest.fixture(scope="module")
def keys(penstock_binary, server):
    def run(action, *arguments):
        result = subprocess.run([penstock_binary, "keys", action, server.config, *arguments], capture_output=True, text=True,
                                timeout=60)
        return result
    return run


def client_of(server, key, **options):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0, **options)


def created(keys, *arguments):
    """(id, key) of a new key."""
    result = keys("create", *arguments)
    assert result.returncode == 0, result.stderr
    return tuple(line.split(": ")[1] for line in result.stdout.splitlines())


def is_known(server, key):
    return httpx.get(server.url + "/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_a_new_key_is_good_and_a_revoked_one_is_not(server, keys):
    id, key = created(keys, "--name", "short-lived")
    wait_until(lambda: is_known(server, key))
    assert client_of(server, key).chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=2).choices
    assert keys("revoke", "--id", id).returncode == 0
    wait_until(lambda: not is_known(server, key))
    with pytest.raises(openai.AuthenticationError) as error:
        client_of(server, key).chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=2)
    assert error.value.code == "invalid_api_key"
    assert not is_known(server, "sk-" + "0" * 48)
    assert httpx.get(server.url + "/v1/models").status_code == 401


def test_a_key_sees_and_uses_its_models_only(server, keys):
    _, key = created(keys, "--name", "one-model", "--models", "oth*")
    wait_until(lambda: is_known(server, key))
    client = client_of(server, key)
    assert [model.id for model in client.models.list()] == ["other"]
    assert client.chat.completions.create(model="other", messages=MESSAGES, max_tokens=2).choices
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("smollm2")
    with pytest.raises(openai.PermissionDeniedError) as error:
        client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=2)
    assert error.value.code == "model_not_found"
    assert [model.id for model in client_of(server, STATIC_KEY).models.list()] == ["smollm2"]


def test_a_key_opens_what_its_scopes_say(server, keys):
    _, key = created(keys, "--name", "vectors", "--scopes", "embeddings")
    wait_until(lambda: is_known(server, key))
    with pytest.raises(openai.PermissionDeniedError) as error:
        client_of(server, key).chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=2)
    assert error.value.code == "insufficient_permissions" and "'inference'" in error.value.message
    answer = httpx.post(server.url + "/v1/embeddings", headers={"authorization": f"Bearer {key}"},
                        json={"model": "smollm2", "input": "a"}, timeout=60)
    assert answer.status_code != 403, answer.text
    assert keys("create", "--name", "x", "--scopes", "everything").returncode == 2


def test_the_admin_listener_asks_for_the_scope(penstock_binary, start_gateway):
    server = start_gateway(CONFIG.replace("auth:", "auth:\n  admin: true"), wait=False)
    wait_until(lambda: "ready: every model" in server.log_text())
    result = subprocess.run([penstock_binary, "keys", "create", server.config, "--name", "no-admin"], capture_output=True,
                            text=True, timeout=60)
    key = result.stdout.splitlines()[1].split(": ")[1]
    wait_until(lambda: is_known(server, key))
    for shown, code in ((None, 401), (key, 403), (STATIC_KEY, 200)):
        headers = {"authorization": f"Bearer {shown}"} if shown else {}
        assert httpx.get(server.admin_url + "/admin/replicas", headers=headers).status_code == code
    assert httpx.get(server.admin_url + "/metrics").status_code == 200


def test_keys_are_listed_without_their_secrets(server, keys):
    id, key = created(keys, "--name", "listed", "--organisation", "acme", "--team", "red", "--days", "3")
    rows = {row["id"]: row for row in map(json.loads, keys("list").stdout.splitlines())}
    assert rows[id]["name"] == "listed" and rows[id]["organisation"] == "acme" and rows[id]["team"] == "red"
    assert rows[id]["state"] == "good" and rows[id]["secrets"] == 1 and "expires" in rows[id]
    assert key not in keys("list").stdout
    again = keys("create", "--name", "listed", "--organisation", "acme")
    assert again.returncode == 1 and "'listed' of acme" in again.stderr


def test_a_key_is_rotated_under_load_without_a_failed_request(server, keys):
    id, first = created(keys, "--name", "rotated")
    wait_until(lambda: is_known(server, first))
    current, answered, failures, stop = [first], [0], [], threading.Event()

    def load():
        with httpx.Client(timeout=60) as client:
            while not stop.is_set():
                answer = client.post(server.url + "/v1/completions", headers={"authorization": f"Bearer {current[0]}"},
                                     json={"model": "smollm2", "prompt": "a", "max_tokens": 1})
                answered[0] += 1
                if answer.status_code != 200:
                    failures.append(answer.text)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = answered[0]
        second = keys("rotate", "--id", id, "--overlap-hours", "1").stdout.splitlines()[1].split(": ")[1]
        wait_until(lambda: is_known(server, second))
        wait_until(lambda: answered[0] > before + 5)
        current[0] = second
        wait_until(lambda: answered[0] > before + 10)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert is_known(server, first)
    keys("rotate", "--id", id, "--overlap-hours", "0")
    wait_until(lambda: not is_known(server, current[0]))
    assert not is_known(server, first)


def test_keys_outlive_the_gateway(penstock_binary, start_gateway):
    server = start_gateway(CONFIG)
    result = subprocess.run([penstock_binary, "keys", "create", server.config, "--name", "kept"], capture_output=True,
                            text=True, timeout=60)
    key = result.stdout.splitlines()[1].split(": ")[1]
    wait_until(lambda: is_known(server, key))
    server.stop()
    assert is_known(start_gateway(CONFIG), key)


def test_a_config_without_a_database_keeps_no_keys(penstock_binary, gateway):
    result = subprocess.run([penstock_binary, "keys", "list", gateway.config], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "state.database" in result.stderr
