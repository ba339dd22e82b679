"""The alert rules that ship, by `promtool test rules`: in health none fires; each fault fires its own alerts and no others."""
import json
import pathlib
import shutil
import subprocess

import pytest
import yaml

RULES = pathlib.Path(__file__).resolve().parents[2] / "configs/prometheus"
FILES = ["penstock_recording.yaml", "penstock_alerts.yaml"]
GATEWAY = 'job="penstock-gateway",instance="gateway:8081"'
REPLICA = 'job="penstock-replica",instance="replica:8082",model_name="m",engine="0"'

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")


def g(name, labels="", model=True):
    """A series of the gateway."""
    return f"{name}{{{GATEWAY}{',model=' + chr(34) + 'm' + chr(34) if model else ''}{',' + labels if labels else ''}}}"


def r(name, labels=""):
    """A series of the replica."""
    return f"{name}{{{REPLICA}{',' + labels if labels else ''}}}"


TTFT, GAP = "penstock_time_to_first_token_seconds", "penstock_inter_token_seconds"
DEVICE = 'gpu="0",device="nvidia0",UUID="GPU-1",Hostname="h"'
LOOP = "penstock_http_loop_delay_seconds"
OK = g("penstock_requests_total", 'route="/v1/completions",code="200"')
FAILED = g("penstock_requests_total", 'route="/v1/completions",code="500"')

# Series in health: what each gains a minute ("+n", counters), or what it is (gauges).
HEALTH = {
    OK: "+600", FAILED: "+0",
    g(TTFT + "_bucket", 'le="2.5"'): "+300", g(TTFT + "_count"): "+300", g(TTFT + "_sum"): "+60",
    g(GAP + "_bucket", 'le="0.1"'): "+9000", g(GAP + "_count"): "+9000", g(GAP + "_sum"): "+270",
    g("penstock_queue_refusals_total", 'reason="full"'): "+1",
    g("penstock_queue_slots"): "64", g("penstock_queue_slots_used"): "40", g("penstock_queue_requests", 'band="0"'): "0",
    g("penstock_autoscaler_needed_replicas"): "1.4", g("penstock_autoscaler_desired_replicas"): "2",
    g("penstock_placement_waiting", 'reason="no_room"', False): "0",
    g("penstock_http_connections_refused_total", "", False): "+0",
    g("penstock_upstream_retries_refused_total"): "+0",
    r("vllm:kv_cache_usage_perc"): "0.7", r("vllm:num_preemptions_total"): "+1", r("vllm:request_success_total", 'finished_reason="stop"'): "+300",
    r("vllm:num_requests_waiting_by_reason", 'reason="capacity"'): "0",
    r("vllm:spec_decode_num_accepted_tokens_total"): "+700", r("vllm:spec_decode_num_draft_tokens_total"): "+1000",
    g("penstock_replicas", 'state="ready"'): "2", g("penstock_replicas", 'state="starting"'): "0",
    g("penstock_replicas", 'state="backing_off"'): "0", g("penstock_replicas", 'state="failed"'): "0",
    g("penstock_replica_restarts_total"): "+0", g("penstock_replicas_distrusted"): "0", g("penstock_quarantine_refusals_total"): "+0",
    g("penstock_rollouts_total", 'result="errors"'): "+0", g("penstock_rollouts_total", 'result="done"'): "+1",
    g("penstock_pool_slices", 'member="local",state="ok"', False): "8", g("penstock_pool_slices", 'member="local",state="bad"', False): "0",
    g("penstock_pool_member_state", 'member="local",state="synced"', False): "1", g("penstock_pool_member_state", 'member="local",state="lost"', False): "0",
    g("penstock_pool_stranded_share", "", False): "0.1",
    g(LOOP + "_bucket", 'le="0.005"', False): "+1180", g(LOOP + "_bucket", 'le="0.5"', False): "+1200",
    g(LOOP + "_bucket", 'le="+Inf"', False): "+1200", g(LOOP + "_count", "", False): "+1200", g(LOOP + "_sum", "", False): "+1.2",
    g("penstock_config_reloads_total", 'result="failure"', False): "+0",
    g("penstock_records_failing", 'stream="ledger"', False): "0", g("penstock_records_dropped_total", 'stream="ledger"', False): "+0",
    g("penstock_state_away", 'store="redis"', False): "0", g("penstock_auth_failures_total", "", False): "+6",
    g("penstock_http_loop_silence_seconds", 'loop="0"', False): "0.05", g("penstock_http_loop_silence_seconds", 'loop="1"', False): "0.05",
    g("penstock_control_silence_seconds", "", False): "0.1",
    g("DCGM_FI_DEV_XID_ERRORS", DEVICE, False): "0", g("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", DEVICE, False): "+0", g("DCGM_FI_DEV_GPU_TEMP", DEVICE, False): "60",
    g("penstock_budget", 'tenant="t"', False): "100", g("penstock_budget_remaining", 'tenant="t"', False): "60",
    g("penstock_limit_refusals_total", 'tenant="t",reason="budget"', False): "+0", g("penstock_anomaly", 'signal="ttft"'): "0",
    r("vllm:engine_healthy"): "1", g("penstock_replica_step_age_seconds", 'replica="0"'): "0.05", g("penstock_replica_requests_running", 'replica="0"'): "3",
    f"up{{{GATEWAY}}}": "1", 'up{job="penstock-replica",instance="replica:8082"}': "1",
}


def fault(*alerts, series, after=0, minutes=40):
    return {"alerts": set(alerts), "after": after, "minutes": minutes, "series": series}


BURNS = ("PenstockErrorBudgetBurnsFast",)
# name: the alerts, and the series that differ for so many minutes; `after`: minutes of health before.
FAULTS = {
    "slow first tokens": fault(*BURNS, after=100, minutes=30, series={g(TTFT + "_bucket", 'le="2.5"'): "+150"}),
    "slow streams": fault(*BURNS, after=100, minutes=30, series={g(GAP + "_bucket", 'le="0.1"'): "+6000"}),
    "errors": fault(*BURNS, after=100, minutes=30, series={OK: "+500", FAILED: "+100"}),
    "three per cent are slow for hours": fault("PenstockErrorBudgetBurnsSlowly", minutes=90, series={g(TTFT + "_bucket", 'le="2.5"'): "+288"}),
    "refusals": fault("PenstockRequestsRefused", series={g("penstock_queue_refusals_total", 'reason="full"'): "+60"}),
    "all slots taken": fault("PenstockSlotsFull", series={g("penstock_queue_slots_used"): "64", g("penstock_queue_requests", 'band="0"'): "9"}),
    "too few replicas allowed": fault("PenstockReplicasShort", series={g("penstock_autoscaler_needed_replicas"): "3.2"}),
    "no slice": fault("PenstockPlacementWaits", series={g("penstock_placement_waiting", 'reason="no_room"', False): "1"}),
    "no slice, but pieces": fault("PenstockPlacementWaits", "PenstockPoolStranded", series={
        g("penstock_placement_waiting", 'reason="no_room"', False): "1", g("penstock_pool_stranded_share", "", False): "0.4"}),
    "connection flood": fault("PenstockConnectionsRefused", series={g("penstock_http_connections_refused_total", "", False): "+5"}),
    "replicas fail together": fault("PenstockRetryBudgetSpent", series={g("penstock_upstream_retries_refused_total"): "+5"}),
    "cache full": fault("PenstockKvCacheFull", "PenstockWaitsForKv", series={
        r("vllm:kv_cache_usage_perc"): "0.99", r("vllm:num_requests_waiting_by_reason", 'reason="capacity"'): "4"}),
    "preemptions": fault("PenstockPreemptions", series={r("vllm:num_preemptions_total"): "+90"}),
    "no replica": fault("PenstockModelDown", "PenstockReplicaFailed", series={
        g("penstock_replicas", 'state="ready"'): "0", g("penstock_replicas", 'state="failed"'): "2"}),
    "crash loop": fault("PenstockReplicaCrashLoop", series={g("penstock_replica_restarts_total"): "+0.4"}),
    "a hanging replica": fault("PenstockReplicasDistrusted", series={g("penstock_replicas_distrusted"): "1"}),
    "a deadly request": fault("PenstockRequestsQuarantined", series={g("penstock_quarantine_refusals_total"): "+1"}),
    "a bad version": fault("PenstockRolloutFailed", series={g("penstock_rollouts_total", 'result="errors"'): "+1"}),
    "a broken device": fault("PenstockSliceBroken", series={g("penstock_pool_slices", 'member="local",state="bad"', False): "1"}),
    "a lost member": fault("PenstockMemberAway", series={g("penstock_pool_member_state", 'member="local",state="lost"', False): "1"}),
    "slow loops": fault("PenstockLoopSlow", series={g(LOOP + "_bucket", 'le="0.005"', False): "+100", g(LOOP + "_sum", "", False): "+500"}),
    "a loop stands still": fault("PenstockLoopStuck", series={g("penstock_http_loop_silence_seconds", 'loop="1"', False): "60"}),
    "the control thread stands still": fault("PenstockLoopStuck", series={g("penstock_control_silence_seconds", "", False): "60"}),
    "an Xid": fault("PenstockDeviceFault", series={g("DCGM_FI_DEV_XID_ERRORS", DEVICE, False): "79"}),
    "memory errors": fault("PenstockDeviceFault", series={g("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", DEVICE, False): "+1"}),
    "a hot device": fault("PenstockDeviceHot", series={g("DCGM_FI_DEV_GPU_TEMP", DEVICE, False): "93"}),
    "little budget left": fault("PenstockBudgetNearlySpent", series={g("penstock_budget_remaining", 'tenant="t"', False): "5"}),
    "no budget left": fault("PenstockBudgetNearlySpent", "PenstockBudgetSpent", series={
        g("penstock_budget_remaining", 'tenant="t"', False): "0", g("penstock_limit_refusals_total", 'tenant="t",reason="budget"', False): "+30"}),
    "an unusual hour": fault("PenstockAnomaly", series={g("penstock_anomaly", 'signal="ttft"'): "1"}),
    "a broken engine": fault("PenstockEngineUnhealthy", series={r("vllm:engine_healthy"): "0"}),
    "a stalled replica": fault("PenstockReplicaStalled", series={g("penstock_replica_step_age_seconds", 'replica="0"'): "100"}),
    "a wrong config": fault("PenstockConfigNotLoaded", series={g("penstock_config_reloads_total", 'result="failure"', False): "+1"}),
    "disk full": fault("PenstockRecordsFail", "PenstockRecordsDropped", series={
        g("penstock_records_failing", 'stream="ledger"', False): "1", g("penstock_records_dropped_total", 'stream="ledger"', False): "+10"}),
    "redis away": fault("PenstockStateAway", series={g("penstock_state_away", 'store="redis"', False): "1"}),
    "keys are guessed": fault("PenstockAuthFailures", series={g("penstock_auth_failures_total", "", False): "+6000"}),
    "gateway away": fault("PenstockTargetDown", after=30, series={f"up{{{GATEWAY}}}": "0"}),
    "no gateway in the config": fault("PenstockUnseen", series={f"up{{{GATEWAY}}}": None}),
    "every third scrape fails": fault("PenstockScrapeGaps", series={f"up{{{GATEWAY}}}": "1 1 0"}),
}
# The same, a week of health later, in steps of half an hour: with the rules that look back, and those that they need.
WEEK_FAULTS = {
    "less traffic, and slower, than last week": fault("PenstockTrafficFell", "PenstockSlowerThanLastWeek", series={OK: "+6", g(TTFT + "_sum"): "+200"}),
    "more errors, stutter and refused drafts than last week": fault(
        "PenstockErrorsAboveLastWeek", "PenstockSlowerThanLastWeek", "PenstockDraftsAcceptedLess", series={
            FAILED: "+5", g(GAP + "_sum"): "+540", r("vllm:spec_decode_num_accepted_tokens_total"): "+200"}),
}
WEEK_RULES = {"penstock-traffic", "penstock-burn-rates", "penstock-anomalies"}
WEEK_STEP_MINUTES = 30
WEEK_STEPS = 2 * 24 * 7
WEEK_FAULT_MINUTES = 150


def values(value, before, steps, scale):
    """promtool's notation: `before` steps of health, then the other value."""
    def part(text, count, last):
        if text.startswith("+"):
            gain = float(text[1:]) * scale
            return f"{last + gain:g}+{gain:g}x{count - 1}", last + gain * count
        if " " in text:
            return " ".join((text.split() * count)[:count]), 0
        return f"{text}x{count - 1}", 0
    healthy, changed = value
    text, last = ("", 0) if before == 0 else part(healthy, before, 0)
    if changed is not None:
        text += " " + part(changed, steps, last)[0]
    return text.strip()


def group(name, expected, changed, before, minutes, step=1):
    """One test: which alerts fire at the end."""
    steps = minutes // step + 1
    series = []
    for key in {**HEALTH, **changed}:
        healthy = HEALTH[key]
        text = values((healthy, changed.get(key, healthy)), before, steps, step)
        if text:
            series.append({"series": key, "values": text})
    return {"name": name, "interval": f"{step}m", "input_series": series, "promql_expr_test": [{
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"}) * 0', "eval_time": f"{(before + steps - 1) * step}m",
        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 0} for alert in sorted(expected)]}]}


def promtool(folder, files, groups, step):
    test = folder / "rules_test.yaml"
    order = [group_["name"] for file in files for group_ in yaml.safe_load(file.read_text())["groups"]]  # what is read is recorded first
    test.write_text(json.dumps({"rule_files": [str(file) for file in files], "evaluation_interval": f"{step}m", "group_eval_order": order, "tests": groups}))
    result = subprocess.run(["promtool", "test", "rules", test], capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stdout + result.stderr


def alert_names():
    rules = yaml.safe_load((RULES / "penstock_alerts.yaml").read_text())
    return {rule["alert"] for group_ in rules["groups"] for rule in group_["rules"]}


def test_every_alert_has_its_fault():
    tested = set().union(*(case["alerts"] for case in [*FAULTS.values(), *WEEK_FAULTS.values()]))
    assert tested == alert_names()


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    rules = yaml.safe_load((RULES / "penstock_alerts.yaml").read_text())
    for rule in (rule for group_ in rules["groups"] for rule in group_["rules"]):
        assert rule["labels"]["severity"] in ("page", "ticket") and set(rule["annotations"]) == {"summary", "action"}, rule["alert"]


def test_faults_fire_their_alerts_and_no_others(tmp_path):
    groups = [group("health", set(), {}, 0, 90)]
    groups += [group(name, case["alerts"], case["series"], case["after"], case["minutes"]) for name, case in FAULTS.items()]
    promtool(tmp_path, [RULES / name for name in FILES], groups, 2)


def test_weeks_are_compared(tmp_path):
    chosen = []
    for name in FILES:
        rules = yaml.safe_load((RULES / name).read_text())
        rules["groups"] = [group_ for group_ in rules["groups"] if group_["name"] in WEEK_RULES]
        chosen.append(tmp_path / name)
        chosen[-1].write_text(yaml.safe_dump(rules))
    cases = {"health": fault(series={}), **WEEK_FAULTS}
    groups = [group(name, case["alerts"], case["series"], WEEK_STEPS, WEEK_FAULT_MINUTES, WEEK_STEP_MINUTES) for name, case in cases.items()]
    promtool(tmp_path, chosen, groups, WEEK_STEP_MINUTES)


def test_promtool_takes_the_example_config():
    result = subprocess.run(["promtool", "check", "config", RULES / "prometheus.yaml"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
