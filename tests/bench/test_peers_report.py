"""The pure parts of bench/peers: what becomes of raw reports. No peer is installed or run."""
import json
import pathlib
import sys
import xml.etree.ElementTree

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench/peers"))

import engines  # noqa: E402
import figures  # noqa: E402
import installers  # noqa: E402
import plots  # noqa: E402
import report  # noqa: E402
import workloads  # noqa: E402

pytestmark = pytest.mark.unit


def closed(tokens, ttft, gap):
    return {"output_tokens_per_second": tokens, "ttft_ms": {"p50": ttft / 2, "p99": ttft},
            "inter_token_ms": {"p50": gap / 2, "p99": gap}}


def three_rounds():
    """Ours, two servers that take turns at being the better one, and an engine in process that beats both."""
    ours, a, b = (300, 330, 270), (100, 50, 90), (60, 110, 30)
    return [{"penstock": {"closed": {"16": closed(ours[i], 100, 10)}}, "a": {"closed": {"16": closed(a[i], 400, 20)}},
             "b": {"closed": {"16": closed(b[i], 800, 40)}}, "process": {"closed": {"16": closed(200, 50, 10)}}}
            for i in range(3)]


def document(rounds, **more):
    peers = {"penstock": {"title": "penstock", "is_server": True, "is_ours": True}, "a": {"title": "server A", "is_server": True, "is_ours": False},
             "b": {"title": "server B", "is_server": True, "is_ours": False}, "process": {"title": "in process", "is_server": False, "is_ours": False}}
    return {"date": "2026-01-01", "commit": "abc", "ours": "penstock", "peers": peers, "absent": {}, "versions": {},
            "machine": {"cpu": "CPU", "features": ["avx2"], "cores": 2, "memory_gib": 24.0, "kernel": "6", "load_average": 0.1},
            "settings": {"threads": 2, "model": "m.gguf"}, "rounds": rounds, **more}


def test_a_spread_is_the_median_and_the_range_of_the_rounds_that_have_a_figure():
    assert figures.spread([3, None, 1, 2]) == {"median": 2, "min": 1, "max": 3}
    assert figures.spread([None]) is None


def test_a_ratio_over_one_means_better_whichever_way_the_figure_counts():
    assert figures.factor(300, 100, figures.TOKENS) == 3
    assert figures.factor(100, 300, figures.TTFT_P99) == 3
    assert figures.factor(0, 300, figures.TTFT_P99) is None
    assert figures.factor(None, 300, figures.TOKENS) is None


def test_the_best_peer_is_chosen_anew_in_every_round():
    ratio = figures.ratio_to_best(three_rounds(), "penstock", ["a", "b"], "closed", "16", figures.TOKENS)
    assert ratio == {"median": 3, "min": 3, "max": 3}  # 300/100, 330/110, 270/90; of the medians it would be 3.3


def test_a_round_without_one_side_gives_no_ratio():
    rounds = three_rounds()
    rounds[1]["a"]["closed"]["16"] = {"failed": "it ended"}
    ratio = figures.ratio(rounds, "penstock", "a", "closed", "16", figures.TOKENS)
    assert (ratio["min"], ratio["max"]) == (3, 3)
    assert figures.values(rounds, "a", "closed", "16", figures.TOKENS) == [100, None, 90]


def test_the_table_tells_medians_ranges_and_ratios():
    text = report.document_text(document(three_rounds()))
    assert "| 16 | penstock | 300 (270..330) | 50 | 100 | 5.0 | 10.0 |  |" in text
    assert "| 16 | server A | 90 (50..100) | 200 | 400 | 10.0 | 20.0 | 3.00 (3.00..6.60) |" in text
    assert "| 16 | **penstock is better than the best other server, times** | **3.00** | **4.00** | **4.00** | **2.00** | **2.00** |" in text


def test_the_table_tells_what_failed_and_what_is_absent():
    rounds = three_rounds()
    for results in rounds:
        results["b"]["closed"]["16"] = {"failed": "more than 180 s"}
    text = report.document_text(document(rounds, absent={"server C": "no wheel"}))
    assert "| 16 | server B | failed: more than 180 s |" in text
    assert "**server C is absent: no wheel**" in text


def test_the_load_generators_own_share_is_told():
    rounds = three_rounds()
    rounds[0]["a"]["closed"]["16"].update(seconds=20.0, client_cpu_seconds=0.5)
    rounds[0]["a"]["interactive"] = {"highest": 3, "p99_ms": {1: 2.0}}
    assert figures.load_share(rounds) == 0.025
    assert "took at most 2.5 % of one core" in report.document_text(document(rounds))


def test_every_table_row_has_as_many_cells_as_its_head():
    rounds = three_rounds()
    rounds[0]["b"]["closed"]["16"] = {"failed": "x"}
    rounds[0]["penstock"]["engine"] = {"decode 1": {"tokens_per_second": 10.0}}
    rounds[0]["penstock"]["interactive"] = {"highest": 7}
    blocks = report.document_text(document(rounds[:1])).split("\n\n")
    tables = [[line for line in block.splitlines() if line.startswith("|")] for block in blocks if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table}) == 1, table


def test_the_summary_survives_json():
    summary = figures.summarise(three_rounds(), ["penstock", "a", "b", "process"], "penstock", ["a", "b"])
    again = json.loads(json.dumps(summary))
    assert again["closed"]["16"]["times better than the best other server"]["output tok/s"]["median"] == 3
    assert again["closed"]["16"]["a"]["TTFT p99 ms"] == {"median": 400, "min": 400, "max": 400}


@pytest.mark.parametrize("limit", range(0, 34))
def test_the_search_finds_the_highest_streams_from_any_known_points(limit):
    for points in ([1, 32], [1, 4, 8, 16, 32], [32]):
        asked = []

        def holds(streams):
            asked.append(streams)
            return streams <= limit

        assert workloads.highest_that(holds, points) == min(limit, 32)
        assert len(asked) == len(set(asked)) <= len(points) + 5


def test_a_figure_without_a_run_is_not_fluent():
    class Failing:
        def closed(self, label, streams, **options):
            return {"failed": "it ended"}

    assert workloads.run_interactive(Failing(), {"1": closed(1, 1, 9.9), "4": {"failed": "x"}})["highest"] == 1


def test_no_two_runs_share_their_prompts():
    labels = [workloads.closed_label(n) for n in range(1, 33)] + ["shared", "prefix new", "prefix seen", "long", "poisson 1"]
    seeds = {workloads.seed_of(index, label) for index in range(10) for label in labels}
    assert len(seeds) == 10 * len(labels)
    assert workloads.seed_of(1, "long") == workloads.seed_of(1, "long")


def test_every_chart_is_well_formed_and_lies_inside_its_frame():
    lines = [plots.Line("ours & <theirs>", ((1, 10.0, 9.0, 12.0), (32, 900.0, 800.0, 1000.0))), plots.Line("none", ())]
    for is_logarithmic in (False, True):
        root = xml.etree.ElementTree.fromstring(plots.chart("t", "x", "y", lines, is_logarithmic))
        space = "{http://www.w3.org/2000/svg}"
        assert [t.text for t in root.iter(f"{space}text")].count("ours & <theirs>") == 1
        circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{space}circle")]
        assert len(circles) == 2 and circles[0][0] < circles[1][0] and circles[0][1] > circles[1][1]
        assert all(plots.LEFT <= x <= plots.WIDTH - plots.RIGHT and plots.TOP <= y <= plots.HEIGHT - plots.BOTTOM
                   for x, y in circles)


def test_a_chart_of_nothing_is_none():
    assert plots.chart("t", "x", "y", [plots.Line("none", ())]) is None


def test_ticks_are_round_and_reach_the_top():
    assert plots.ticks_linear(1000) == [0, 200, 400, 600, 800, 1000]
    assert plots.ticks_linear(1001)[-1] >= 1001
    assert plots.ticks_logarithmic(3, 450) == [1, 10, 100, 1000]


def test_the_programs_answers_are_read():
    assert engines.read_engine_bench(json.dumps({"rows": [
        {"operation": "prefill", "batch": 1, "context": 512, "tokens_per_second": {"median": 1300.0}},
        {"operation": "decode", "batch": 16, "context": 192, "tokens_per_second": {"median": 900.0}}]})) == {
            "prefill 512": {"tokens_per_second": 1300.0}, "decode 16": {"tokens_per_second": 900.0}}
    assert engines.read_llama_bench('[{"n_prompt": 128, "avg_ts": 161.5}]') == {"prefill 128": {"tokens_per_second": 161.5}}
    assert engines.read_batched_bench('noise\n{"pl": 8, "speed_tg": 86.0}\n') == {"decode 8": {"tokens_per_second": 86.0}}


def test_openvino_prefill_and_decode_come_from_its_jobs():
    plan = workloads.Plan(load=pathlib.Path("serving_bench"), streams=(1, 16))
    jobs = [{"name": f"closed {n}", **closed(58 * n, 100, 20)} for n in (1, 8, 16, 32)]
    jobs += [{"name": f"prefill {n}", "prompt_tokens": 2 * n, "requests": 2, "ttft_ms": {"p50": 500.0}} for n in (128, 512, 2048)]
    results = engines.read_openvino({"load_seconds": 1.5, "peak_resident_mib": 400.0, "jobs": jobs}, plan)
    assert sorted(results["closed"]) == ["1", "16"]
    assert results["engine"]["decode 16"]["tokens_per_second"] == 1600  # 16 tokens every 10 ms
    assert results["engine"]["prefill 512"]["tokens_per_second"] == 1024


def test_a_requantised_file_names_its_own_format():
    assert installers.requantised(pathlib.Path("/m/X.Q4_1.gguf"), "Q8_0").name == "X.Q8_0-requantised.gguf"


def test_a_changed_source_is_an_error_and_not_an_unpatched_build(tmp_path):
    file = tmp_path / "ggml/src/ggml-cpu/amx/mmq.cpp"
    file.parent.mkdir(parents=True)
    file.write_text("    _tile_loadconfig(&tc);\n")
    installers.patch_tile_configuration(tmp_path)
    assert file.read_text().index("volatile") < file.read_text().index("_tile_loadconfig")
    file.write_text("    tile_load(tc);\n")
    with pytest.raises(installers.InstallFailed):
        installers.patch_tile_configuration(tmp_path)


def test_a_failed_step_says_its_last_words():
    with pytest.raises(installers.InstallFailed, match="the step failed: no such wheel"):
        installers.run_step("the step", ["sh", "-c", "echo trying; echo no such wheel >&2; exit 3"], 10)
