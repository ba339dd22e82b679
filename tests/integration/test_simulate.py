"""`penstock simulate`: the command line of the simulator. What it simulates is tested beside its sources."""
import json
import subprocess

import pytest

SMALL = ["--seed", "3", "--clusters", "3", "--slices", "32", "--models", "4", "--hours", "1", "--begin-hour", "10", "--load-percent", "40"]
OF_THIS_MACHINE = {"placement_us_mean", "placement_us_most", "decision_us_mean", "round_us_mean", "round_us_most", "wall_s"}


def simulate(binary, *arguments):
    return subprocess.run([binary, "simulate", *arguments], capture_output=True, text=True, timeout=300)


def rows(binary, *arguments):
    """The reports by rule, without what hangs on the machine."""
    result = simulate(binary, *SMALL, "--format", "json", *arguments)
    assert result.returncode == 0, result.stderr
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    return {report["rule"]: {name: value for name, value in report.items() if name not in OF_THIS_MACHINE} for report in reports}


def test_the_same_seed_gives_the_same_reports(penstock_binary):
    first = rows(penstock_binary, "--rules", "penstock,sharing")
    assert first == rows(penstock_binary, "--rules", "penstock,sharing")
    assert first["penstock"]["seed"] == 3 and first["penstock"]["requests"] > 1000


def test_all_rules_see_the_same_day(penstock_binary):
    reports = rows(penstock_binary, "--failures", "off")
    assert list(reports) == ["penstock", "queue", "concurrency", "static", "clairvoyant"]
    requests = [report["requests"] for report in reports.values()]
    # What is under way at the end is not counted; that differs by a few.
    assert max(requests) - min(requests) < 0.05 * max(requests)
    assert reports["penstock"]["met_percent"] >= 99
    assert all(report["slice_hours"] > 0 and report["lost"] == 0 for report in reports.values())


def test_the_table_tells_the_seed_and_has_a_line_for_each_rule(penstock_binary):
    result = simulate(penstock_binary, *SMALL, "--rules", "queue,static")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("seed 3, 3 clusters of 32 slices")
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["rule", "---", "queue", "static"]
    assert len({line.count("|") for line in lines[2:]}) == 1


HEADING = "seconds,model,prompt_tokens,output_tokens\n"


@pytest.fixture
def trace_file(tmp_path):
    """Half an hour of two models, as somebody's ledger would tell it."""
    lines = [f"{1767571200 + i / 5:.2f},{'chat-help' if i % 3 else 'agent'},{400 + i % 700},{50 + i % 200}\n" for i in range(9000)]
    path = tmp_path / "trace.csv"
    path.write_text(HEADING + "".join(lines))
    return str(path)


def test_a_trace_of_ones_own_is_simulated(penstock_binary, trace_file):
    arguments = ["--trace", trace_file, "--clusters", "3", "--slices", "16", "--format", "json", "--rules", "penstock,clairvoyant"]
    result = simulate(penstock_binary, *arguments)
    assert result.returncode == 0, result.stderr
    reports = {report["rule"]: report for report in map(json.loads, result.stdout.splitlines())}
    assert list(reports) == ["penstock", "clairvoyant"]
    for report in reports.values():
        assert report["hours"] == 1 and 8900 < report["requests"] <= 9000
        assert report["met_percent"] >= 99
    assert simulate(penstock_binary, "--trace", trace_file, "--rules", "static").stdout.startswith("seed 1, 10 clusters of 40 slices, 2 models of the trace, 1 hours")


@pytest.mark.parametrize("text, said", [
    (HEADING, "there is no request in it"),
    (HEADING + "0,chat,1,1\n1,gpt,1,1\n", "line 3: the model's name must be chat, agent, reasoning or large"),
    (HEADING + "2,chat,1,1\n1,chat,1,1\n", "line 3: is earlier than the one before"),
    (HEADING + "0,chat,900000,1\n", "chat: a replica of its kind is too slow for requests of 900000 prompt tokens"),
])
def test_mistakes_in_a_trace_are_named(penstock_binary, tmp_path, text, said):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    result = simulate(penstock_binary, "--trace", str(path), "--rules", "penstock", "--format", "json")
    assert result.returncode == 1
    assert said in result.stderr and result.stdout == ""


def test_a_trace_that_is_not_there_is_named(penstock_binary):
    result = simulate(penstock_binary, "--trace", "/nowhere/trace.csv")
    assert result.returncode == 1
    assert "/nowhere/trace.csv: No such file or directory" in result.stderr


def test_the_help_names_every_flag(penstock_binary):
    said = subprocess.run([penstock_binary, "help", "simulate"], capture_output=True, text=True, timeout=30).stdout
    for flag in ["--rules", "--seed", "--clusters", "--slices", "--models", "--hours", "--begin-hour", "--load-percent", "--failures",
                 "--trace", "--format"]:
        assert flag in said


@pytest.mark.parametrize("arguments, said", [
    (["--trace", "x.csv", "--models", "3"], "--trace says what models there are"),
    (["--rules", "penstok"], "did you mean 'penstock'"),
    (["--hours", "0"], "hours must be from 1 to 168, not 0"),
    (["--hours", "169"], "hours must be from 1 to 168, not 169"),
    (["--load-percent", "96"], "load must be from 0.05 to 0.95, not 0.96"),
    (["--failures", "some"], "--failures must be on or off, not 'some'"),
    (["--sed", "1"], "did you mean '--seed'"),
    (["--clusters", "-1"], "--clusters must be a number"),
])
def test_mistakes_are_named(penstock_binary, arguments, said):
    result = simulate(penstock_binary, *arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stdout == ""
