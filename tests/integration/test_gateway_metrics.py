"""The gateway's metrics, read by the parsers that operators use."""
import pathlib
import secrets
import shutil
import socket
import subprocess

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from support.observe import metric_of, wait_until

NAMES = {
    "penstock_requests", "penstock_request_duration_seconds", "penstock_time_to_first_token_seconds",
    "penstock_inter_token_seconds", "penstock_upstream_retries", "penstock_replicas", "penstock_replica_restarts",
    "penstock_requests_in_flight", "penstock_auth_failures", "penstock_config_reloads", "penstock_build_info",
    "penstock_queue_requests", "penstock_queue_wait_seconds", "penstock_queue_tokens", "penstock_queue_slots",
    "penstock_upstream_retries_refused", "penstock_quarantine_refusals", "penstock_replicas_distrusted",
    "penstock_queue_slots_used", "penstock_queue_refusals", "penstock_class_requests", "penstock_tenant_requests",
    "penstock_tenant_tokens", "penstock_tenant_cost", "penstock_tokens", "penstock_wasted_tokens",
    "penstock_added_latency_seconds", "penstock_routing_decisions", "penstock_routing_prompt_tokens",
    "penstock_routing_matched_tokens", "penstock_upstream_attempts", "penstock_breaker_changes", "penstock_replica_ejections",
    "penstock_replicas_wanted", "penstock_replica_outstanding", "penstock_replica_requests_running",
    "penstock_replica_requests_waiting", "penstock_replica_kv_usage_ratio", "penstock_replica_step_seconds",
    "penstock_replica_step_age_seconds", "penstock_replica_busy_seconds", "penstock_replica_prefill_tokens",
    "penstock_http_loop_delay_seconds", "penstock_http_loop_silence_seconds", "penstock_control_silence_seconds",
}
# What Prometheus 2.42 sends.
ACCEPT = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
          "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")


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


def listed():
    """{section: {family: (type, labels, meaning)}} of configs/prometheus/metrics.md."""
    sections = {}
    for line in (pathlib.Path(__file__).parents[2] / "configs/prometheus/metrics.md").read_text().splitlines():
        if line.startswith("## "):
            rows = sections.setdefault(line[3:], {})
        elif line.startswith("| `"):
            name, kind, labels, meaning = (cell.strip() for cell in line.strip("|").split("|"))
            rows[name.strip("`")] = (kind, set(filter(None, labels.split(", "))), meaning)
    return sections


def test_every_family_is_listed_with_its_meaning(gateway, exposition):
    sections = listed()
    own, device = sections["The gateway"], sections["Devices of this machine"]
    http = {name: row for name, row in own.items() if name.startswith("penstock_http_")}
    pages = ((exposition, {**own, **device}),
             (httpx.get(gateway.admin_url + "/metrics/replicas/smollm2/0").text, {**sections["Replicas"], **http}))
    for page, rows in pages:
        for family in text_string_to_metric_families(page):
            name = family.name + ("_total" if family.type == "counter" else "")
            kind, labels, meaning = rows[name]
            assert (family.type, family.documentation.replace("|", "/")) == (kind, meaning), name
            assert {label for sample in family.samples for label in sample.labels} - {"le"} <= labels, name


def test_openmetrics_says_the_same(gateway):
    """Its own parser is strict: names, units, order, the end."""
    answer = httpx.get(gateway.admin_url + "/metrics", headers={"accept": ACCEPT})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = list(openmetrics.text_string_to_metric_families(answer.text))
    text = list(text_string_to_metric_families(httpx.get(gateway.admin_url + "/metrics").text))
    assert {(family.name, family.type) for family in families} == {(family.name, family.type) for family in text}
    assert [set(map(lambda sample: (sample.name, tuple(sample.labels.items())), family.samples)) for family in families] == \
        [set(map(lambda sample: (sample.name, tuple(sample.labels.items())), family.samples)) for family in text]
    assert next(family.unit for family in families if family.name == "penstock_added_latency_seconds") == "seconds"


def test_histograms_name_a_trace_for_each_bucket(gateway):
    trace = secrets.token_hex(16)
    with httpx.stream("POST", gateway.url + "/v1/completions", timeout=60, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
                      json={"model": "smollm2", "prompt": "Seven eight", "max_tokens": 4, "ignore_eos": True, "stream": True}) as answer:
        answer.read()

    def traced():
        text = httpx.get(gateway.admin_url + "/metrics", headers={"accept": ACCEPT}).text
        return {family.name for family in openmetrics.text_string_to_metric_families(text) for sample in family.samples
                if sample.exemplar and sample.exemplar.labels == {"trace_id": trace} and float(sample.exemplar.timestamp) > 1.6e9}

    wait_until(lambda: traced() == {"penstock_time_to_first_token_seconds", "penstock_inter_token_seconds",
                                    "penstock_request_duration_seconds"})
    assert trace not in httpx.get(gateway.admin_url + "/metrics").text


def test_a_client_that_goes_before_its_page_harms_nobody(gateway):
    """The page comes from a thread of its own, and finds nobody, or too many."""
    for _ in range(30):
        client = socket.create_connection(("127.0.0.1", int(gateway.admin_url.rsplit(":", 1)[1])))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        client.close()
    assert wait_until(lambda: httpx.get(gateway.admin_url + "/metrics", timeout=60).status_code == 200)


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


def test_tokens_are_counted_by_model_and_organisation(gateway):
    before = {kind: metric_of(gateway, "penstock_tokens_total", model="smollm2", kind=kind) for kind in ("prompt", "cached", "completion")}
    tenant = metric_of(gateway, "penstock_tenant_tokens_total", tenant="", kind="completion")
    ended = metric_of(gateway, "penstock_tenant_requests_total", tenant="", code="2xx")
    usage = httpx.post(gateway.url + "/v1/completions", timeout=60, json={
        "model": "smollm2", "prompt": "Four five six", "max_tokens": 5, "ignore_eos": True}).json()["usage"]
    wait_until(lambda: metric_of(gateway, "penstock_tenant_requests_total", tenant="", code="2xx") == ended + 1)
    after = {kind: metric_of(gateway, "penstock_tokens_total", model="smollm2", kind=kind) for kind in before}
    cached = usage["prompt_tokens_details"]["cached_tokens"] if usage.get("prompt_tokens_details") else 0
    assert after["completion"] - before["completion"] == usage["completion_tokens"] == 5
    assert after["cached"] - before["cached"] == cached
    assert after["prompt"] - before["prompt"] == usage["prompt_tokens"] - cached
    assert metric_of(gateway, "penstock_tenant_tokens_total", tenant="", kind="completion") - tenant == 5


def test_the_gateways_own_share_is_less_than_the_whole(exposition):
    (own,) = samples(exposition, "penstock_added_latency_seconds_sum")
    (count,) = samples(exposition, "penstock_added_latency_seconds_count")
    whole = sum(s.value for s in samples(exposition, "penstock_request_duration_seconds_sum")
                if s.labels["model"] == "smollm2" and s.labels["route"] != "admin")
    assert count.value >= 2 and 0 < own.value < whole


def test_a_request_to_the_only_replica_is_routed_there(gateway):
    before = metric_of(gateway, "penstock_routing_decisions_total", model="smollm2", reason="only_one")
    good = metric_of(gateway, "penstock_upstream_attempts_total", model="smollm2", result="good")
    assert httpx.post(gateway.url + "/v1/completions", json={"model": "smollm2", "prompt": "a", "max_tokens": 1},
                      timeout=60).status_code == 200
    assert metric_of(gateway, "penstock_routing_decisions_total", model="smollm2", reason="only_one") > before
    wait_until(lambda: metric_of(gateway, "penstock_upstream_attempts_total", model="smollm2", result="good") > good)


def test_a_client_that_goes_has_wasted_what_was_made(gateway):
    wasted = metric_of(gateway, "penstock_wasted_tokens_total", model="smollm2", reason="client_gone")
    with httpx.stream("POST", gateway.url + "/v1/completions", timeout=60, json={
            "model": "smollm2", "prompt": "Tell", "max_tokens": 400, "ignore_eos": True, "stream": True}) as answer:
        lines = answer.iter_lines()
        for _ in range(6):
            next(lines)
    wait_until(lambda: metric_of(gateway, "penstock_wasted_tokens_total", model="smollm2", reason="client_gone") > wasted)


def test_each_replica_says_how_it_is(gateway):
    labels = {"model": "smollm2", "replica": "0"}
    assert metric_of(gateway, "penstock_replica_busy_seconds_total", **labels) > 0
    assert 0 < metric_of(gateway, "penstock_replica_step_seconds", **labels) < 60
    assert 0 <= metric_of(gateway, "penstock_replica_kv_usage_ratio", **labels) <= 1
    assert metric_of(gateway, "penstock_replicas_wanted", model="smollm2") == 1


def test_prometheus_finds_the_replicas_own_metrics(gateway):
    """As http_sd_configs reads it: an address, and by its labels a path and an instance."""
    (target,) = httpx.get(gateway.admin_url + "/metrics/replicas").json()
    assert target["targets"] == [gateway.admin_url.removeprefix("http://")]
    labels = target["labels"]
    assert labels["penstock_model"] == "smollm2" and labels["penstock_replica"] == "0" and labels["instance"] == "smollm2/0"
    page = httpx.get(f"http://{target['targets'][0]}{labels['__metrics_path__']}")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(page.text)}
    assert families["vllm:engine_healthy"].samples[0].value == 1
    assert families["vllm:generation_tokens"].samples[0].value > 0
    assert {"vllm:kv_block_lifetime_seconds", "vllm:kv_block_idle_before_evict_seconds", "vllm:kv_block_reuse_gap_seconds"} <= set(families)
    assert {sample.labels["reason"] for sample in families["penstock_wasted_tokens"].samples} == {"preempted", "rejected_draft", "abandoned"}


@pytest.mark.parametrize("name", ["smollm2/1", "smollm2", "smollm2/", "none/0", "0", "/0", "smollm2/99999999"])
def test_a_replica_that_is_not_there_is_not_found(gateway, name):
    assert httpx.get(f"{gateway.admin_url}/metrics/replicas/{name}").status_code == 404


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
