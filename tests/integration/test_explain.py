"""Where replicas are and why: the admin API's pool and placements, and `penstock explain`, of a gateway with its own machine as its pool."""
import json
import os
import subprocess

import httpx
import pytest

from support.observe import wait_until

pytestmark = pytest.mark.edge

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
models:
  - name: team/smollm2
    path: {model}
    max_model_len: 1024
    kv_cache_memory: 64MiB
"""
MODEL_PATH = "/admin/placement/team%2Fsmollm2"


@pytest.fixture
def gateway(start_gateway):
    server = start_gateway(CONFIG)
    server.wait_for_replicas()
    return server


def explain(binary, *arguments, environment=None):
    return subprocess.run([str(binary), "explain", *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **(environment or {})})


def test_the_pool_and_its_slices_are_told(gateway):
    pool = httpx.get(gateway.admin_url + "/admin/pool", timeout=60).json()
    member = pool["members"][0]
    assert len(pool["members"]) == 1 and member["state"] == "synced" and member["trouble"] == ""
    assert pool["replicas"] == {"reserved": 0, "committed": 1, "draining": 0} and pool["waiting"] == 0
    assert pool["capacity"]["devices"] > 0 and pool["quotas"] == []
    slices = httpx.get(gateway.admin_url + "/admin/pool/slices?limit=1000", timeout=60).json()
    assert slices["next"] is None
    booked = [(row, replica) for row in slices["slices"] for replica in row["replicas"]]
    assert [replica["model"] for _, replica in booked] == ["team/smollm2"]
    assert booked[0][0]["member"] == member["name"] and booked[0][0]["devices_booked"] > 0


def test_the_metrics_say_the_same(gateway):
    def value(name):
        text = httpx.get(gateway.admin_url + "/metrics", timeout=60).text
        return [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)]
    wait_until(lambda: value('penstock_placement_decisions_total{outcome="placed"}') == [1.0])
    wait_until(lambda: sum(value("penstock_pool_devices_booked")) > 0)
    assert value("penstock_pool_devices ")[0] > 0
    assert sum(value("penstock_pool_member_state")) == 1.0


def test_a_placement_is_explained_by_the_api_and_on_the_command_line(gateway, penstock_binary):
    answer = httpx.get(gateway.admin_url + MODEL_PATH, timeout=60)
    assert answer.status_code == 200
    placement = answer.json()
    assert placement["model"] == "team/smollm2" and placement["parts"] == 1
    assert placement["slice_count"] == len(placement["slices"]) > 0
    assert placement["fits"] == (placement["reason"] is None) == (len(placement["chosen"]) == 1)
    assert placement["decisions"][0]["outcome"] == "placed" and placement["decisions"][0]["model"] == "team/smollm2"
    table = explain(penstock_binary, gateway.admin_url + "/", "--model", "team/smollm2")
    assert table.returncode == 0, table.stderr
    assert table.stdout.startswith("One more replica of team/smollm2 ")
    assert all(row["slice"] in table.stdout for row in placement["slices"])
    raw = explain(penstock_binary, gateway.admin_url, "--model=team/smollm2", "--json")
    assert raw.returncode == 0 and json.loads(raw.stdout)["model"] == "team/smollm2"
    pool = explain(penstock_binary, gateway.admin_url)
    assert pool.returncode == 0 and pool.stdout.startswith("member ") and "replicas wait for a slice" in pool.stdout


def test_what_cannot_be_answered_is_said_so(gateway, penstock_binary, model_path, tmp_path):
    unknown = httpx.get(gateway.admin_url + "/admin/placement/nobody", timeout=60)
    assert unknown.status_code == 404 and unknown.json()["error"]["message"]
    for query in ("limit=0", "limit=1001", "from=x", "from", "colour=red"):
        assert httpx.get(f"{gateway.admin_url}{MODEL_PATH}?{query}", timeout=60).status_code == 400, query
        assert httpx.get(f"{gateway.admin_url}/admin/pool/slices?{query}", timeout=60).status_code == 400, query
    missing = explain(penstock_binary, gateway.admin_url, "--model", "nobody")
    assert missing.returncode == 1 and "answers 404" in missing.stderr and missing.stdout == ""
    config = tmp_path / "config.yaml"
    text = "server: {admin_listen: '%s'}\nmodels:\n  - {name: m, path: '" + str(model_path) + "'}\n"
    config.write_text(text % "")
    without = explain(penstock_binary, config)
    assert without.returncode == 1 and "has no server.admin_listen" in without.stderr
    config.write_text(text % gateway.admin_url.removeprefix("http://"))
    with_one = explain(penstock_binary, config)
    assert with_one.returncode == 0 and with_one.stdout.startswith("member "), with_one.stderr
    assert explain(penstock_binary).returncode == 2
