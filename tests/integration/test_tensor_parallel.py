"""A replica whose model is shared out over ranks."""
import concurrent.futures
import pathlib
import subprocess

import pytest
from replica_client import MODEL, QUESTION, post

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
    kv_cache_memory: 64MiB
    weight_cache: off
    tensor_parallel: 3
"""


def answer(server, max_tokens=12):
    body = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": max_tokens, "ignore_eos": True,
            "return_token_ids": True}
    status, _, parsed = post(server, "/v1/chat/completions", body)
    assert status == 200, parsed
    return parsed["choices"][0]["token_ids"]


def test_three_ranks_say_the_same_alone_and_in_a_batch(start_replica):
    server = start_replica(CONFIG)
    alone = answer(server)
    assert len(alone) == 12
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: answer(server), range(4)))
    assert together == [alone] * 4
    assert server.stop() == 0


DEVICES = CONFIG.replace("max_model_len: 1024", "max_model_len: 64").replace("64MiB", "16MiB") + """    backend: cuda-emulated
    max_num_seqs: 2
    max_num_batched_tokens: 16
"""


def test_three_devices_say_what_one_says(start_replica, penstock_binary):
    """Emulated ones: each rank queues the step on its own device, and what they exchange goes through the host."""
    if not (pathlib.Path(penstock_binary).parent / "libpenstock-cuda-emulated.so").exists():
        pytest.skip("the emulated device is not built")
    environment = {"PENSTOCK_FAKE_DEVICE": "devices=3", "PENSTOCK_EMULATOR_CHECKS": "off"}
    body = {"model": MODEL, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 3, "return_token_ids": True}
    tokens = []
    for ranks in (1, 3):
        server = start_replica(DEVICES.replace("tensor_parallel: 3", f"tensor_parallel: {ranks}"), environment=environment)
        status, _, parsed = post(server, "/v1/completions", body)
        assert status == 200, parsed
        tokens.append(parsed["choices"][0]["token_ids"])
        assert server.stop() == 0
    assert tokens[0] == tokens[1] and len(tokens[0]) == 3


def check(binary, folder, model, config):
    path = folder / "ranks.yaml"
    path.write_text(config.replace("{port}", "8000").replace("{admin_port}", "8001").replace("{model}", str(model)))
    return subprocess.run([binary, "check", path], capture_output=True, text=True, timeout=60)


def test_check_tells_what_a_rank_has_and_what_cannot_be_shared(penstock_binary, model_path, tmp_path):
    result = check(penstock_binary, tmp_path, model_path, CONFIG)
    assert result.returncode == 0, result.stderr
    assert "ranks      3 share each replica: weights " in result.stdout
    result = check(penstock_binary, tmp_path, model_path, CONFIG.replace("tensor_parallel: 3", "tensor_parallel: 4"))
    assert result.returncode == 1
    assert "4 ranks cannot share 9 attention heads: choose a number of ranks that divides them" in result.stderr
