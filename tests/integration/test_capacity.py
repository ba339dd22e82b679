"""Capacity: what the gateway and `penstock check` predict from measured steps, beside what is measured."""
import json
import subprocess

import httpx
import pytest

from support.observe import wait_until

CALIBRATION = {"models": [{"name": "smollm2", "calibration": {"fixed_ns": 10e6, "prefill_token_ns": 1e5, "kv_token_ns": 1e3}}]}
TENANTS = """
auth:
  keys:
    - {name: one, organisation: first, sha256: %s}
    - {name: two, organisation: second, sha256: %s}
tenants:
  limits:
    - {per: organisation, tokens_per_minute: %d}
"""


def model(gateway):
    (one,) = httpx.get(gateway.admin_url + "/admin/capacity", timeout=30).json()["models"]
    return one


def test_a_gateway_shows_predicted_beside_measured(penstock_binary, start_gateway):
    gateway = start_gateway()
    before = model(gateway)
    assert before["calibration"] is None and before["predicted"] is None and before["replicas_ready"] == 1 and before["overcommitted"] == []
    load = subprocess.Popen([penstock_binary, "bench", gateway.url, "--rate", "3", "--requests", "100000", "--seconds", "120",
                             "--prompt-tokens", "40", "--output-tokens", "16"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        shown = wait_until(lambda: (lambda one: one["predicted"] and one["measured"]["inter_token_seconds"] and one)(model(gateway)), 100, "a prediction")
    finally:
        load.kill()
        load.wait(10)
    assert shown["load"]["output_tokens"] > 1 and shown["load"]["requests_per_second"] > 0 and shown["kv_tokens"] >= 2048
    assert shown["calibration"]["fixed_ns"] > 0
    predicted, measured = shown["predicted"], shown["measured"]
    assert 0 < predicted["utilisation"] and predicted["requests_per_second_max"] > 0
    assert 0 < measured["ttft_seconds"] and 0 < measured["inter_token_seconds"]


def check(binary, folder, model_path, *words, calibration=CALIBRATION, more=""):
    config = folder / "check.yaml"
    config.write_text(f"models:\n  - {{name: smollm2, path: {model_path}, max_model_len: 2048, max_num_seqs: 32, replicas: 2}}\n{more}")
    (folder / "calibration.json").write_text(calibration if isinstance(calibration, str) else json.dumps(calibration))
    result = subprocess.run([binary, "check", config, "--calibration", folder / "calibration.json", *map(str, words)], capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout, result.stderr


def test_check_predicts_from_a_calibration(penstock_binary, model_path, tmp_path):
    """By hand: 100 + 50 tokens; a stream holds 125 tokens, 0.125 ms a step; prompts cost 10 ms. At 2 a second on each of two replicas prompts leave 0.98 of the
    time, and b = 2 x 50 x 10.125 ms / (0.98 - 0.0125); a step takes (10 + 0.125 (1 + b)) / 0.98."""
    b = 2 * 50 * 0.010125 / (1 - 2 * (0.010 + 50 * 0.000125))
    step = (10 + 0.125 * (1 + b)) / 0.98
    code, out, error = check(penstock_binary, tmp_path, model_path, "--rate", 4, "--prompt-tokens", 100, "--output-tokens", 50)
    assert code == 0, error
    (line,) = [line for line in out.splitlines() if "a second: first token" in line]
    assert f"one every {step:.1f} ms; {b:.1f} answers" in line
    assert "with 2 replicas" in out


def test_check_refuses_more_load_than_the_replicas_carry(penstock_binary, model_path, tmp_path):
    code, out, error = check(penstock_binary, tmp_path, model_path, "--rate", 100000)
    assert code == 1 and "more than its replicas carry" in error
    code, out, _ = check(penstock_binary, tmp_path, model_path)
    assert code == 0 and out.count("first token after") == 3


@pytest.mark.parametrize("tokens, is_too_much", [(1000, False), (10_000_000, True)])
def test_check_tells_of_limits_that_promise_too_much(penstock_binary, model_path, tmp_path, tokens, is_too_much):
    code, out, error = check(penstock_binary, tmp_path, model_path, more=TENANTS % ("1" * 64, "2" * 64, tokens))
    assert code == 0, error
    assert ("over-committed: limits of 2 organisations allow 20000000 tokens a minute" in out) == is_too_much


@pytest.mark.parametrize("calibration, told", [("{", "calibration.json"), ('{"models": [{"name": "smollm2", "calibration": {"fixed_ns": -1}}]}', "fixed_ns")])
def test_wrong_calibrations_are_explained(penstock_binary, model_path, tmp_path, calibration, told):
    code, _, error = check(penstock_binary, tmp_path, model_path, calibration=calibration)
    assert code == 1 and told in error


def test_other_models_calibrations_do_not_count(penstock_binary, model_path, tmp_path):
    code, out, _ = check(penstock_binary, tmp_path, model_path, calibration={"models": []})
    assert code == 0 and "has nothing of this model" in out


def test_bench_calibrates_for_check(penstock_binary, model_path, tmp_path, gateway):
    result = subprocess.run([penstock_binary, "bench", gateway.url, "--calibrate", "--concurrency", "2"], capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    cost = json.loads(result.stdout)["models"][0]["calibration"]
    assert cost["fixed_ns"] > 1e5 and cost["prefill_token_ns"] > 0  # a step of 135 million parameters is no faster anywhere
    code, out, error = check(penstock_binary, tmp_path, model_path, calibration=result.stdout)
    assert code == 0 and "requests a second of 128 + 64 tokens" in out, error
