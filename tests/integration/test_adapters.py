"""LoRA adapters by name: of the config, of clients at run time, and of a reload, with the official clients."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import signal
import subprocess

import anthropic
import httpx
import openai
import pytest
from replica_client import MODEL, QUESTION, client_of, metric, post
from support.observe import wait_until

from support.lora_folder import write_lora

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
models:
  - name: smollm2
    path: {model}
    max_model_len: 512
    max_loras: 3
    allow_runtime_lora_updating: true
    adapters:
      - {name: first, path: FIRST}
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return {name: write_lora(folder / name, seed) for seed, name in enumerate(("first", "second", "third"), 1)}


def config_of(folders):
    return CONFIG.replace("FIRST", str(folders["first"]))


def say(server, model, max_tokens=24, **fields):
    answer = client_of(server).chat.completions.create(model=model, messages=QUESTION, max_tokens=max_tokens, temperature=0,
                                                       extra_body={"ignore_eos": True}, **fields)
    assert answer.model == model
    return answer.choices[0].message.content


def load(server, name, folder):
    return httpx.post(server.url + "/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)}, timeout=60)


def unload(server, name):
    return httpx.post(server.url + "/v1/unload_lora_adapter", json={"lora_name": name}, timeout=60)


def names(server):
    return [model.id for model in client_of(server).models.list().data]


def test_an_adapter_is_loaded_used_beside_the_model_and_unloaded(start_replica, folders):
    server = start_replica(config_of(folders))
    answer = load(server, "second", folders["second"])
    assert (answer.status_code, answer.text) == (200, "Success: LoRA adapter 'second' added successfully.")
    models = {model.id: model for model in client_of(server).models.list().data}
    assert list(models) == [MODEL, "first", "second"]
    extra = models["second"].model_extra
    assert extra["root"] == str(folders["second"]) and extra["parent"] == MODEL and extra["max_model_len"] == 512
    assert client_of(server).models.retrieve("second") == models["second"]
    assert models[MODEL].model_extra["parent"] is None

    alone = {model: say(server, model) for model in models}
    assert len(set(alone.values())) == 3, alone
    wanted = list(models) * 4
    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        together = list(pool.map(lambda model: say(server, model), wanted))
    assert together == [alone[model] for model in wanted]

    answer = unload(server, "second")
    assert (answer.status_code, answer.text) == (200, "Success: LoRA adapter 'second' removed successfully.")
    assert names(server) == [MODEL, "first"]
    with pytest.raises(openai.NotFoundError, match="'second' does not exist"):
        say(server, "second")
    assert say(server, "first") == alone["first"] and say(server, MODEL) == alone[MODEL]

    assert load(server, "second", folders["third"]).status_code == 200  # another one of that name
    assert say(server, "second") not in alone.values()


# The float path rounds keys and values to f16 only; the others compute with activations of 8 bits, as llama.cpp does
# (parity_test.c derives both), and what adapters add in float. Measured: 0.0004 and 0.006; 0.064 and 1.2.
@pytest.mark.parametrize("backend, median, largest", [("reference", 0.002, 0.05), ("auto", 0.15, 3.0)])
def test_adapters_and_none_in_one_batch_say_what_transformers_says(start_replica, folders, backend, median, largest):
    """Reference: tests/parity/make_adapter_reference.py, which adds the change to the weights."""
    reference = json.loads((DATA / "adapter_reference.json").read_text())
    server = start_replica(config_of(folders).replace("max_loras: 3", f"backend: {backend}\n    max_loras: 3"))
    assert load(server, "second", folders["second"]).status_code == 200
    wanted = [(model, ids, expected) for voice, rows in reference["logprobs"].items()
              for model in [MODEL if voice == "none" else voice] for ids, expected in zip(reference["ids"], rows)]

    def differences(item):
        model, ids, expected = item
        answer = client_of(server).completions.create(model=model, prompt=[ids], max_tokens=1, echo=True, logprobs=0)
        found = answer.choices[0].logprobs.token_logprobs[1:len(ids)]
        assert len(found) == len(expected)
        return [abs(ours - theirs) for ours, theirs in zip(found, expected)]

    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        found = sorted(difference for row in pool.map(differences, wanted) for difference in row)
    assert found[len(found) // 2] < median and found[-1] < largest


DEVICE = CONFIG.replace("max_model_len: 512", """backend: BACKEND
    max_model_len: 64
    kv_cache_memory: 16MiB
    max_num_seqs: 6
    max_num_batched_tokens: 32
    max_lora_rank: 8""")


def test_a_device_says_what_the_cpu_says_with_each_adapter(start_replica, penstock_binary, folders):
    """On an emulated one: both adapters and none in one batch; one of them is loaded beside requests, and unloaded. Both compute with
    activations of 8 bits, rounded in other groups: as many tokens are asked for as are likelier than others by more than that."""
    if not (pathlib.Path(penstock_binary).parent / "libpenstock-cuda-emulated.so").exists():
        pytest.skip("the emulated device is not built")
    wanted, said = [("first", 2), (MODEL, 2), ("third", 1)], []

    def answer(server, model, count):
        body = {"model": model, "prompt": "The capital of France is", "temperature": 0, "max_tokens": count, "return_token_ids": True,
                "logprobs": 0}
        status, _, answer = post(server, "/v1/completions", body)
        assert status == 200, answer
        return answer["choices"][0]["token_ids"], answer["choices"][0]["logprobs"]["token_logprobs"][0]

    for backend in ("cpu", "cuda-emulated"):
        server = start_replica(DEVICE.replace("FIRST", str(folders["first"])).replace("BACKEND", backend),
                               environment={"PENSTOCK_EMULATOR_CHECKS": "off"})
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            beside = pool.submit(answer, server, *wanted[0])
            assert load(server, "third", folders["third"]).status_code == 200
            said.append(list(pool.map(lambda row: answer(server, *row), wanted)))
            assert beside.result()[0] == said[-1][0][0]
        assert unload(server, "third").status_code == 200
        assert server.stop() == 0
    for ours, theirs in zip(*said):
        assert ours[0] == theirs[0] and abs(ours[1] - theirs[1]) < 0.15
    (first, _), (plain, of_plain), (_, of_third) = said[1]
    assert first != plain and abs(of_third - of_plain) > 0.2


def test_every_api_knows_an_adapters_name(start_replica, folders):
    server = start_replica(config_of(folders))
    client = client_of(server)
    texts = {}
    for model in (MODEL, "first"):
        text = client.completions.create(model=model, prompt="Once upon a time", max_tokens=12, temperature=0)
        response = client.responses.create(model=model, input="Say something.", max_output_tokens=16, temperature=0)
        message = anthropic.Anthropic(base_url=server.url, api_key="none").messages.create(
            model=model, messages=[{"role": "user", "content": "Say something."}], max_tokens=12, extra_body={"temperature": 0})
        stream = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=12, temperature=0, stream=True)
        assert text.model == response.model == message.model == model
        texts[model] = [text.choices[0].text, response.output_text, message.content[0].text,
                        "".join(chunk.choices[0].delta.content or "" for chunk in stream)]
    assert all(plain != adapted for plain, adapted in zip(texts[MODEL], texts["first"])), texts
    for path, body in (("/tokenize", {"prompt": "x"}), ("/detokenize", {"tokens": [5]}),
                       ("/v1/messages/count_tokens", {"messages": QUESTION}), ("/v1/responses/input_tokens", {"input": "x"})):
        assert post(server, path, {"model": "first", **body})[0] == 200
        assert post(server, path, {"model": "fifth", **body})[0] == 404


def test_a_running_request_keeps_its_adapter(start_replica, folders):
    """The request is so long that it certainly runs meanwhile; its first tokens are compared, then the client leaves."""
    server = start_replica(config_of(folders).replace("max_model_len: 512", "max_model_len: 8192"))
    whole = say(server, "first", 200)
    stream = client_of(server).chat.completions.create(model="first", messages=QUESTION, max_tokens=8000, temperature=0, stream=True,
                                                       extra_body={"ignore_eos": True})
    text = next(stream).choices[0].delta.content or ""
    assert metric(server, "vllm:lora_requests_info", max_lora="3", running_lora_adapters="first") > 1.6e9
    assert unload(server, "first").status_code == 200
    assert post(server, "/v1/chat/completions", {"model": "first", "messages": QUESTION})[0] == 404
    while len(text) < len(whole):
        text += next(stream).choices[0].delta.content or ""
    stream.close()
    assert text.startswith(whole)


@pytest.mark.parametrize("path, body, status, words", [
    ("load", {"lora_name": "x"}, 400, "lora_path"),
    ("load", {"lora_path": "/x"}, 400, "lora_name"),
    ("load", {"lora_name": "a b", "lora_path": "/x"}, 400, "letters, digits"),
    ("load", {"lora_name": "x", "lora_path": "/nowhere"}, 404, "/nowhere/adapter_config.json"),
    ("load", {"lora_name": "first", "lora_path": "FIRST"}, 400, "'first' already"),
    ("load", {"lora_name": MODEL, "lora_path": "FIRST"}, 400, "the model itself"),
    ("load", {"lora_name": "wide", "lora_path": "WIDE"}, 400, "has rank 17; 16 is possible"),
    ("unload", {"lora_name": "x"}, 404, "The lora adapter 'x' cannot be found."),
    ("unload", {}, 400, "lora_name"),
])
def test_what_is_wrong_with_a_change_is_told(adapted_replica, folders, tmp_path, path, body, status, words):
    replaced = {"FIRST": str(folders["first"]), "WIDE": str(tmp_path / "wide")}
    if "WIDE" in body.values():
        write_lora(tmp_path / "wide", 9, rank=17)
    answer = post(adapted_replica, f"/v1/{path}_lora_adapter", {key: replaced.get(value, value) for key, value in body.items()})
    assert answer[0] == status and words in answer[2]["error"]["message"], answer
    assert names(adapted_replica) == [MODEL, "first"]


@pytest.fixture(scope="module")
def adapted_replica(module_servers, folders):
    return module_servers[1](config_of(folders))


def test_no_more_adapters_than_there_is_room_for(adapted_replica, folders):
    assert load(adapted_replica, "second", folders["second"]).status_code == 200
    assert load(adapted_replica, "third", folders["third"]).status_code == 200
    refused = load(adapted_replica, "fourth", folders["first"])
    assert refused.status_code == 400 and "3 adapters are loaded" in refused.json()["error"]["message"]
    assert unload(adapted_replica, "second").status_code == unload(adapted_replica, "third").status_code == 200


def test_adapters_stay_as_they_are_where_the_config_does_not_let_clients_change_them(replica, folders):
    for answer in (load(replica, "first", folders["first"]), unload(replica, "first")):
        assert answer.status_code == 404 and "allow_runtime_lora_updating" in answer.json()["error"]["message"]


def test_the_gateway_lists_and_routes_adapters_and_a_reload_changes_them(start_gateway, folders):
    server = start_gateway(config_of(folders))
    alone = {model: say(server, model) for model in (MODEL, "first")}
    assert alone[MODEL] != alone["first"] and names(server) == [MODEL, "first"]
    assert client_of(server).models.retrieve("first").model_extra["parent"] == MODEL
    with pytest.raises(openai.NotFoundError, match="did you mean 'first'"):
        say(server, "firts")

    text = server.config.read_text()
    server.config.write_text(text.replace("name: first", "name: second").replace(str(folders["first"]), str(folders["second"])))
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "adapter second: loaded" in server.log_text(), 60, "the adapter")
    assert names(server) == [MODEL, "second"]
    assert say(server, "second") not in alone.values() and say(server, MODEL) == alone[MODEL]
    with pytest.raises(openai.NotFoundError):
        say(server, "first")

    rows = "".join(f"      - {{name: v{i}, path: {folders['first']}}}\n" for i in range(4))
    server.config.write_text(text.split("    adapters:")[0].replace("max_loras: 3", "max_loras: 4") + "    adapters:\n" + rows)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "more need replicas with a higher max_loras first" in server.log_text(), 60, "the refusal")
    assert names(server) == [MODEL, "second"]


def replicas(server):
    return httpx.get(server.admin_url + "/admin/replicas", timeout=10).json()["replicas"]


def wait_for_replicas(server, count):
    wait_until(lambda: [row["state"] for row in replicas(server)] == ["ready"] * count, 90, "the replicas")


def test_what_a_client_loads_at_the_gateway_reaches_every_replica_and_outlives_them(start_gateway, folders):
    server = start_gateway(config_of(folders).replace("max_loras: 3", "replicas: 2\n    max_loras: 2"))
    wait_for_replicas(server, 2)
    answer = load(server, "second", folders["second"])
    assert (answer.status_code, answer.text) == (200, "Success: LoRA adapter 'second' added successfully.")
    models = {model.id: model for model in client_of(server).models.list().data}
    assert list(models) == [MODEL, "first", "second"] and models["second"].model_extra["parent"] == MODEL
    alone = {model: say(server, model) for model in models}
    assert len(set(alone.values())) == 3, alone

    for index in range(2):  # each replica dies; those that come back have it
        row = replicas(server)[index]
        os.kill(row["pid"], signal.SIGKILL)
        wait_until(lambda: replicas(server)[index]["restarts"] > row["restarts"], 60, "the restart")
        wait_for_replicas(server, 2)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: say(server, "second"), range(8))) == {alone["second"]}

    server.process.send_signal(signal.SIGHUP)  # nor does a reload take it away
    wait_until(lambda: "reload: done" in server.log_text(), 60, "the reload")
    assert names(server) == [MODEL, "first", "second"] and say(server, "second") == alone["second"]

    refused = load(server, "third", folders["third"])  # by the replicas: there is no room
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "too_many_adapters"
    assert names(server) == [MODEL, "first", "second"]
    answer = unload(server, "second")
    assert (answer.status_code, answer.text) == (200, "Success: LoRA adapter 'second' removed successfully.")
    with pytest.raises(openai.NotFoundError):
        say(server, "second")
    assert load(server, "third", folders["third"]).status_code == 200
    assert say(server, "third") not in alone.values() and say(server, "first") == alone["first"]


@pytest.fixture(scope="module")
def adapted_gateway(module_servers, folders):
    server = module_servers[0](config_of(folders))
    wait_for_replicas(server, 1)
    return server


@pytest.mark.parametrize("path, body, status, words", [
    ("load", {"lora_path": "/x"}, 400, "lora_name"),
    ("load", {"lora_name": "x", "lora_path": "/nowhere"}, 404, "/nowhere/adapter_config.json"),
    ("load", {"lora_name": "x", "lora_path": "a\nb"}, 400, "line break"),
    ("load", {"lora_name": "x", "lora_path": "/x", "model": "y"}, 404, "'y' does not exist"),
    ("load", {"lora_name": "first", "lora_path": "/x"}, 400, "'first' already"),
    ("load", {"lora_name": MODEL, "lora_path": "/x"}, 400, f"'{MODEL}' already"),
    ("unload", {"lora_name": "first"}, 400, "goes with a reload"),
    ("unload", {"lora_name": "x"}, 404, "The lora adapter 'x' cannot be found."),
])
def test_what_is_wrong_with_a_change_is_told_by_the_gateway_too(adapted_gateway, path, body, status, words):
    answer = post(adapted_gateway, f"/v1/{path}_lora_adapter", body)
    assert answer[0] == status and words in answer[2]["error"]["message"], answer
    assert names(adapted_gateway) == [MODEL, "first"]


def test_where_keys_are_asked_for_only_an_admin_changes_adapters(start_gateway, folders):
    keys = {"user": "sk-user-0123456789abcdef", "admin": "sk-admin-0123456789abcdef"}
    rows = "".join(f"    - {{name: {name}, sha256: {hashlib.sha256(key.encode()).hexdigest()}, scopes: [{scope}]}}\n"
                   for (name, key), scope in zip(keys.items(), ("inference", "inference, admin")))
    server = start_gateway(config_of(folders) + "auth:\n  keys:\n" + rows)
    wait_for_replicas(server, 1)
    codes = [httpx.post(server.url + "/v1/load_lora_adapter", headers={"x-api-key": key}, timeout=60,
                        json={"lora_name": "second", "lora_path": str(folders["second"])}).status_code
             for key in ("wrong", keys["user"], keys["admin"])]
    assert codes == [401, 403, 200]


def test_a_config_whose_adapter_is_not_there_is_refused_with_its_place(penstock_binary, model_path, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"models:\n  - name: m\n    path: {model_path}\n    adapters:\n      - {{name: a, path: /nowhere}}\n")
    done = subprocess.run([penstock_binary, "check", path], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and ":5:25: " in done.stdout + done.stderr and "adapter_config.json" in done.stdout + done.stderr
