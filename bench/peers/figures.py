"""From raw reports to figures: medians over rounds, spread, ratios round by round. Pure: no server, no clock.

`rounds` is a list of {peer key: {workload: {label: report}}}. A figure that a round lacks (failed, skipped, peer absent) is
left out of the median; a ratio needs both sides in the same round.
"""
import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Metric:
    title: str
    path: tuple          # into a report
    is_better_high: bool
    digits: int = 0


TOKENS = Metric("output tok/s", ("output_tokens_per_second",), True)
TTFT_P50 = Metric("TTFT p50 ms", ("ttft_ms", "p50"), False)
TTFT_P99 = Metric("TTFT p99 ms", ("ttft_ms", "p99"), False)
GAP_P50 = Metric("inter-token p50 ms", ("inter_token_ms", "p50"), False, 1)
GAP_P99 = Metric("inter-token p99 ms", ("inter_token_ms", "p99"), False, 1)
ENGINE = Metric("tok/s", ("tokens_per_second",), True)
LONG_TTFT = Metric("TTFT of the long prompt ms", ("long_prompt", "ttft_ms"), False)
LONG_GAP_P50 = Metric("inter-token p50 ms beside it", ("long_prompt", "inter_token_ms", "p50"), False, 1)
LONG_GAP_P99 = Metric("inter-token p99 ms beside it", ("long_prompt", "inter_token_ms", "p99"), False, 1)
READY = Metric("ready s", ("ready_seconds",), False, 2)
FIRST_TOKEN = Metric("first token s", ("first_token_seconds",), False, 2)
RESIDENT = Metric("largest resident set MiB", ("peak_resident_mib",), False)


@dataclasses.dataclass(frozen=True)
class Table:
    workload: str
    title: str
    label_title: str
    metrics: tuple  # the first is the one whose ratio stands in each row


TABLES = (
    Table("closed", "Closed loop: every stream asks again as soon as it is answered (unique 130-token prompts, 128 output tokens)",
          "streams", (TOKENS, TTFT_P50, TTFT_P99, GAP_P50, GAP_P99)),
    Table("shared", "Closed loop with a shared 512-token system prompt", "streams", (TOKENS, TTFT_P50, TTFT_P99, GAP_P99)),
    Table("prefix", "One request of 560 tokens: the first 512 new to the server, or seen before", "prefix", (TTFT_P50,)),
    Table("poisson", "Poisson arrivals, latency from the arrival", "requests/s", (TTFT_P99, TTFT_P50, GAP_P50, GAP_P99, TOKENS)),
    Table("long", "A prompt of 4,030 tokens arrives beside 8 decoding streams", "streams", (LONG_GAP_P99, LONG_GAP_P50, LONG_TTFT, GAP_P99)),
    Table("start", "From the start of the process", "", (FIRST_TOKEN, READY, RESIDENT)),
    Table("engine", "Without HTTP", "work", (ENGINE,)),
)


def value_at(report, path):
    for key in path:
        if not isinstance(report, dict) or key not in report:
            return None
        report = report[key]
    return report


def reports_of(rounds, peer, workload, label):
    return [r.get(peer, {}).get(workload, {}).get(label, {}) for r in rounds]


def values(rounds, peer, workload, label, metric):
    """One value a round, None where there is none."""
    return [value_at(report, metric.path) for report in reports_of(rounds, peer, workload, label)]


def spread(numbers):
    """Median and range of the numbers there are; None when there are none."""
    numbers = [n for n in numbers if n is not None]
    return {"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers)} if numbers else None


def factor(ours, theirs, metric):
    """How many times better `ours` is: over 1 is better, whichever way the metric counts."""
    if ours is None or theirs is None or min(ours, theirs) <= 0:
        return None
    return ours / theirs if metric.is_better_high else theirs / ours


def ratio(rounds, ours, theirs, workload, label, metric):
    """Spread of the factors of peer `ours` over peer `theirs`, each taken within one round."""
    return spread([factor(a, b, metric) for a, b in zip(values(rounds, ours, workload, label, metric),
                                                        values(rounds, theirs, workload, label, metric))])


def ratio_to_best(rounds, ours, others, workload, label, metric):
    """The same over whichever of `others` was best in that round."""
    factors = []
    for index, value in enumerate(values(rounds, ours, workload, label, metric)):
        rivals = [factor(value, values(rounds, other, workload, label, metric)[index], metric) for other in others]
        rivals = [f for f in rivals if f is not None]
        factors.append(min(rivals) if rivals else None)
    return spread(factors)


def labels_of(rounds, workload):
    """In the order in which they were measured."""
    return list(dict.fromkeys(label for r in rounds for results in r.values() for label in results.get(workload, {})))


def reason(rounds, peer, workload, label):
    """Why a peer has no figure: the last reason noted, or None."""
    for report in reversed(reports_of(rounds, peer, workload, label)):
        for word in ("failed", "skipped"):
            if word in report:
                return f"{word}: {report[word]}"
    return None


def load_share(rounds):
    """The largest share of one core that the load generator took in any run; None where no run says."""
    reports = [report for r in rounds for results in r.values() for labels in results.values() for report in labels.values()
               if isinstance(report, dict) and report.get("seconds", 0) > 0 and "client_cpu_seconds" in report]
    return max((report["client_cpu_seconds"] / report["seconds"] for report in reports), default=None)


def interactive_streams(rounds, peer):
    return spread([r.get(peer, {}).get("interactive", {}).get("highest") for r in rounds])


def summarise(rounds, peers, ours, rivals):
    """All figures of all tables as plain data, for the JSON document: {workload: {label: {peer: {metric: spread}}}}."""
    summary = {}
    for table in TABLES:
        for label in labels_of(rounds, table.workload):
            row = summary.setdefault(table.workload, {}).setdefault(label, {})
            for peer in peers:
                row[peer] = {metric.title: spread(values(rounds, peer, table.workload, label, metric))
                             for metric in table.metrics}
            row["times better than the best other server"] = {
                metric.title: ratio_to_best(rounds, ours, rivals, table.workload, label, metric)
                for metric in table.metrics}
    summary["interactive"] = {peer: interactive_streams(rounds, peer) for peer in peers}
    return summary
