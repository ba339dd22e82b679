"""Markdown tables from the document that peers.py writes. Pure: text in, text out."""
import figures

NOTHING = "-"


def shown(spread, digits):
    """Median (smallest..largest); the range only where there is one."""
    if spread is None:
        return NOTHING
    median = f"{spread['median']:.{digits}f}"
    if spread["min"] == spread["max"]:
        return median
    return f"{median} ({spread['min']:.{digits}f}..{spread['max']:.{digits}f})"


def shown_ratio(spread):
    return NOTHING if spread is None else shown(spread, 2 if spread["median"] < 10 else 1)


def row(cells):
    return "| " + " | ".join(cells) + " |"


def peer_row(document, table, label, peer):
    rounds, ours = document["rounds"], document["ours"]
    cells = [shown(figures.spread(figures.values(rounds, peer, table.workload, label, metric)), metric.digits)
             for metric in table.metrics]
    if all(cell == NOTHING for cell in cells):
        why = figures.reason(rounds, peer, table.workload, label)
        return None if why is None else row([label, document["peers"][peer]["title"], why, *[""] * len(table.metrics)])
    times = "" if peer == ours else shown_ratio(figures.ratio(rounds, ours, peer, table.workload, label, table.metrics[0]))
    return row([label, document["peers"][peer]["title"], *cells, times])


def best_row(document, table, label):
    """Ours over the best other server of each round, metric by metric. In-process engines are no servers."""
    rounds, ours = document["rounds"], document["ours"]
    rivals = [key for key, peer in document["peers"].items()
              if not peer["is_ours"] and (peer["is_server"] or table.workload == "engine")]
    ratios = [figures.ratio_to_best(rounds, ours, rivals, table.workload, label, metric) for metric in table.metrics]
    if all(ratio is None for ratio in ratios):
        return None
    return row([label, f"**{ours} is better than the best {'other' if table.workload == 'engine' else 'other server'}, times**",
                *(f"**{shown_ratio(ratio)}**" for ratio in ratios), ""])


def table_text(document, table):
    rounds = document["rounds"]
    lines = []
    for label in figures.labels_of(rounds, table.workload):
        rows = [peer_row(document, table, label, peer) for peer in document["peers"]]
        lines += [line for line in (*rows, best_row(document, table, label)) if line is not None]
    if not lines:
        return ""
    head = [table.label_title, "server" if table.workload != "engine" else "engine",
            *(metric.title for metric in table.metrics), f"{document['ours']} is better, times ({table.metrics[0].title})"]
    return "\n".join([f"### {table.title}", "", row(head), "|" + "---|" * len(head), *lines, ""])


def interactive_text(document):
    rounds = document["rounds"]
    lines = []
    for peer, about in document["peers"].items():
        highest = figures.interactive_streams(rounds, peer)
        if highest is not None:
            lines.append(row([about["title"], shown(highest, 0)]))
    if not lines:
        return ""
    return "\n".join(["### Streams, up to 32, at which inter-token p99 stays below 10 ms", "", row(["server", "streams"]),
                      "|---|---|", *lines, ""])


def head_text(document):
    machine, settings = document["machine"], document["settings"]
    lines = [f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB, "
             f"{' '.join(machine['features']) or 'no vector extensions of note'}, Linux {machine['kernel']}; "
             f"{settings['threads']} threads, `{settings['model']}`; {len(document['rounds'])} interleaved rounds, medians "
             f"(smallest..largest); commit {document['commit']}, {document['date']}; load average {machine['load_average']:.1f} "
             "at the start.", ""]
    share = figures.load_share(document["rounds"])
    if share is not None:
        lines.append(f"- the load generator ran beside the server and took at most {100 * share:.1f} % of one core")
    for name, version in document["versions"].items():
        lines.append(f"- {name} {version}")
    for title, why in document["absent"].items():
        lines.append(f"- **{title} is absent: {why}**")
    return "\n".join([*lines, ""])


def document_text(document):
    parts = [head_text(document)]
    for table in figures.TABLES:
        parts.append(table_text(document, table))
        if table.workload == "closed":
            parts.append(interactive_text(document))
    return "\n".join(part for part in parts if part)
