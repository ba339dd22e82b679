"""/openapi.json holds: schemathesis makes requests from it, and the answers are what it says; every route is in it."""
import json
import pathlib
import re
import subprocess
import sys

import httpx
import pytest
from replica_client import MODEL, client_of, post

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = {"replica": "gateway/serving/routes.c", "gateway": "gateway/edge/routes.c"}
# Answers of the right status, type and shape, and no failure of the server.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture(params=ROLES)
def role(request):
    return request.param, request.getfixturevalue(request.param)


def document(server):
    status, body = server.get("/openapi.json")
    assert status == 200
    return json.loads(body)


def test_every_route_is_in_the_document_and_the_other_way_round(role):
    name, server = role
    source = (ROOT / ROLES[name]).read_text().split("admin_routes[]")[0]
    routes = {(method.lower(), path.rstrip("*")) for method, path in re.findall(r'\{"(GET|POST|DELETE)",\s*"([^"]+)"', source)}
    described = {(method, path.split("{")[0]) for path, methods in document(server)["paths"].items() for method in methods}
    assert routes == described


def test_a_field_is_what_the_document_says_it_is(replica):
    fields = document(replica)["components"]["schemas"]["TextRequest"]["properties"]
    fates = {fate: sorted(name for name, field in fields.items() if field["x-penstock"] == fate)
             for fate in ("honoured", "ignored", "refused")}
    assert "temperature" in fates["honoured"] and len(fates["ignored"]) > 5
    plain = {"model": MODEL, "prompt": "x", "max_tokens": 1}
    for name in fates["ignored"]:
        status, headers, _ = post(replica, "/v1/completions", {**plain, name: {"a": [1]}})
        assert status == 200 and headers["x-ignored-params"] == name
    for name in fates["refused"]:
        status, _, answer = post(replica, "/v1/completions", {**plain, name: {"a": [1]}})
        assert status == 400 and answer["error"]["param"] == name


def run_schemathesis(server, folder, *arguments):
    command = [pathlib.Path(sys.executable).parent / "st", "run", server.url + "/openapi.json", "--url", server.url,
               "--checks", CHECKS, "--seed", "20261121", "--generation-deterministic", "--suppress-health-check", "all",
               "--no-color", "--request-timeout", "60", "--workers", "4", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("phases", ["examples,coverage", "fuzzing"])
def test_schemathesis_finds_no_answer_that_the_document_does_not_describe(start_replica, tmp_path, phases):
    """A context of 96 tokens keeps the valid ones among its requests short."""
    server = start_replica("models:\n  - name: smollm2\n    path: {model}\n    max_model_len: 96\n")
    report = run_schemathesis(server, tmp_path, "--phases", phases, "--max-examples", "12")
    assert re.search(r"[1-9]\d+ generated", report), report[-3000:]


# Not there unless the config lets clients change adapters; test_adapters.py gets them answered.
ADAPTER_PATHS = {"/v1/load_lora_adapter", "/v1/unload_lora_adapter"}


def test_the_documents_examples_are_answered(role):
    _, server = role
    for path, methods in document(server)["paths"].items():
        for media in methods.get("post", {}).get("requestBody", {}).get("content", {}).values():
            assert media["examples"]
            for example in media["examples"].values():
                answer = httpx.post(server.url + path, json=example["value"], timeout=60)
                expected = 404 if path in ADAPTER_PATHS else 200
                assert answer.status_code == expected, (path, example, answer.text)


def test_models_say_what_they_can(role):
    _, server = role
    models = client_of(server).models.list().data
    assert [model.id for model in models] == [MODEL]
    model = client_of(server).models.retrieve(MODEL)
    assert model == models[0] and model.owned_by == "penstock" and model.created > 1_700_000_000
    extra = model.model_extra
    assert extra["max_model_len"] == extra["context_length"] > 1000 and extra["root"] == MODEL and extra["parent"] is None
    assert {"chat", "completions", "tools", "structured_output"} <= set(extra["capabilities"])


def test_the_tokenizer_is_described_as_remote_tokenizers_want_it(role):
    """vLLM's /tokenizer_info, /tokenize and /detokenize, which lm-eval's remote tokenizer reads."""
    _, server = role
    status, body = server.get("/tokenizer_info")
    info = json.loads(body)
    assert status == 200 and info["bos_token"] == "<|im_start|>" and info["eos_token"] == "<|im_end|>"
    assert "<|im_start|>" in info["chat_template"] and info["vocab_size"] == 49152 and info["model_max_length"] > 1000
    tokens = post(server, "/tokenize", {"model": MODEL, "prompt": "Tokens there", "return_token_strs": True})[2]
    assert tokens["count"] == len(tokens["tokens"]) == len(tokens["token_strs"])
    assert post(server, "/detokenize", {"model": MODEL, "tokens": tokens["tokens"]})[2] == {"prompt": "Tokens there"}
