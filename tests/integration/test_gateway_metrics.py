"""The gateway's metrics, read by the parsers that operators use."""
import shutil
import subprocess

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

NAMES = {
    "penstock_requests", "penstock_request_duration_seconds", "penstock_time_to_first_token_seconds",
    "penstock_inter_token_seconds", "penstock_upstream_retries", "penstock_replicas", "penstock_replica_restarts",
    "penstock_requests_in_flight", "penstock_auth_failures", "penstock_config_reloads", "penstock_build_info",
    "penstock_queue_requests", "penstock_queue_wait_seconds", "penstock_queue_tokens", "penstock_queue_slots",
    "penstock_upstream_retries_refused", "penstock_quarantine_refusals", "penstock_replicas_distrusted",
    "penstock_queue_slots_used", "penstock_queue_refusals",
}


@pytest.fixture(scope="module")
def exposition(gateway):
    body = {"model": "smollm2", "prompt": "One two three", "max_tokens": 4}
    for stream in (False, True):
        assert httpx.post(gateway.url + "/v1/completions", json={**body, "stream": stream}, timeout=60).status_code == 200
    assert httpx.post(gateway.url + "/v1/completions", json={**body, "model": "none"}).status_code == 404
    answer = httpx.get(gateway.admin_url + "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def samples(exposition, name):
    return [sample for family in text_string_to_metric_families(exposition) for sample in family.samples
            if sample.name == name]


def test_every_family_is_there(exposition):
    assert NAMES <= {family.name for family in text_string_to_metric_families(exposition)}


def test_promtool_finds_nothing(exposition):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    result = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and not result.stderr and not result.stdout, result.stderr + result.stdout


def test_requests_are_counted_by_route_model_and_code(exposition):
    counts = {(s.labels["route"], s.labels["model"], s.labels["code"]): s.value
              for s in samples(exposition, "penstock_requests_total")}
    assert counts["/v1/completions", "smollm2", "200"] >= 2
    assert counts["/v1/completions", "", "404"] >= 1


def test_streams_are_timed(exposition):
    (first,) = samples(exposition, "penstock_time_to_first_token_seconds_count")
    assert first.labels == {"model": "smollm2"} and first.value >= 1
    (total,) = samples(exposition, "penstock_time_to_first_token_seconds_sum")
    assert 0 < total.value < 60 * first.value


def test_replicas_are_shown_by_state(exposition):
    states = {s.labels["state"]: s.value for s in samples(exposition, "penstock_replicas")}
    assert states["ready"] == 1 and sum(states.values()) == 1


def test_strangers_cannot_make_series(gateway):
    before = httpx.get(gateway.admin_url + "/metrics").text.count("\n")
    for number in range(50):
        httpx.post(gateway.url + "/v1/completions", json={"model": f"m{number}"})
        httpx.get(f"{gateway.url}/path{number}")
        httpx.request(f"METHOD{number}", gateway.url + "/v1/models")
    assert httpx.get(gateway.admin_url + "/metrics").text.count("\n") <= before + 60
