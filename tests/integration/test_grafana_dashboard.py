"""The dashboard and the rules that ship, run by a real Prometheus that scrapes a gateway and a replica under load."""
import json
import pathlib
import shutil
import subprocess
import threading

import httpx
import pytest
import yaml

from support.observe import listening_ports, wait_until

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
BOARD = json.loads((CONFIGS / "grafana/penstock.json").read_text())
RATE_INTERVAL = "15s"  # Grafana's $__rate_interval; scrapes are a second apart
# Queries that are right to be empty here, by the panel's title.
EMPTY = {
    "Replicas that find no slice": "every replica has its slice",
    "Devices: utilisation": "no GPU here",
    "Devices: power": "no GPU here",
    "Energy an answered token": "no GPU here",
    "Refused for a limit": "nobody has one here",
    "Budgets": "nobody has one here",
    "Drafted tokens that are accepted": "no draft model here: 0 of 0 is no number",
}

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed (Debian package prometheus)")


def panels():
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def queries():
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def filled(expression):
    return expression.replace("$__rate_interval", RATE_INTERVAL).replace("$model", ".*").replace("$datasource", "")


class Prometheus:
    """Debian's own, on a port that it takes itself, with the shipped config but for addresses and intervals."""

    def __init__(self, folder, targets):
        config = yaml.safe_load((CONFIGS / "prometheus/prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(CONFIGS / "prometheus" / name) for name in config["rule_files"]]
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.log = folder / "prometheus.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
                                             "--web.listen-address=127.0.0.1:0"], stdout=log, stderr=subprocess.STDOUT)
        self.url = None
        wait_until(self.is_ready, what="Prometheus")

    def is_ready(self):
        assert self.process.poll() is None, self.log.read_text()
        ports = listening_ports(self.process.pid)
        if not ports:
            return False
        self.url = f"http://127.0.0.1:{ports[0]}"
        try:
            return httpx.get(self.url + "/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expression):
        answer = httpx.get(self.url + "/api/v1/query", params={"query": expression}, timeout=30).json()
        assert answer["status"] == "success", (expression, answer)
        return answer["data"]["result"]

    def get(self, path):
        return httpx.get(self.url + "/api/v1" + path, timeout=30).json()["data"]

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def prometheus(gateway, replica, tmp_path_factory):
    over = threading.Event()
    body = {"model": "smollm2", "prompt": "One two three four five", "max_tokens": 8, "stream": True}

    def ask(url):
        while not over.is_set():
            assert httpx.post(url + "/v1/completions", json=body, timeout=120).status_code == 200

    askers = [threading.Thread(target=ask, args=(server.url,)) for server in (gateway, replica)]
    server = Prometheus(tmp_path_factory.mktemp("prometheus"),
                        {"penstock-gateway": gateway.admin_url[7:], "penstock-replica": replica.url[7:]})
    for asker in askers:
        asker.start()
    yield server
    over.set()
    for asker in askers:
        asker.join()
    server.stop()


def test_the_dashboard_is_sound():
    assert BOARD["uid"] == "penstock" and BOARD["schemaVersion"] >= 38
    assert [variable["name"] for variable in BOARD["templating"]["list"]] == ["datasource", "model"]
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    places = set()
    for panel in BOARD["panels"]:
        box = panel["gridPos"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert box["x"] + box["w"] <= 24 and not cells & places, panel["title"]
        places |= cells
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


def test_scrapes_come_through_and_rules_are_evaluated(prometheus):
    wait_until(lambda: all(target["health"] == "up" for target in prometheus.get("/targets")["activeTargets"]), what="both scrapes")
    def rules():
        return [rule for group in prometheus.get("/rules")["groups"] for rule in group["rules"] if group["interval"] < 60]
    wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), what="the rules' evaluation")
    assert len(rules()) > 50


def test_every_query_of_the_dashboard_gives_data(prometheus):
    waiting = [(title, filled(expression)) for title, expression in queries() if title not in EMPTY]

    def all_have_come():
        """Asks those again that were empty; an error in any fails."""
        waiting[:] = [(title, expression) for title, expression in waiting if not has_numbers(prometheus.query(expression))]
        return not waiting

    try:
        wait_until(all_have_come, 150, "data for every query")
    except TimeoutError:
        pytest.fail("no data: " + "; ".join(f"{title}: {expression}" for title, expression in waiting))
    for title, expression in queries():
        if title in EMPTY:
            prometheus.query(filled(expression))


def has_numbers(result):
    return any(sample["value"][1] != "NaN" for sample in result)


def test_variables_find_the_models(prometheus):
    models = prometheus.get("/label/model/values?match[]=penstock_requests_in_flight")
    assert "smollm2" in models


def test_nothing_fires_under_ordinary_load(prometheus):
    assert prometheus.query('ALERTS{alertstate="firing"}') == []
