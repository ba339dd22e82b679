#!/usr/bin/env python3
"""Penstock beside its peers: the same work on the same machine, interleaved in one run. One command installs, runs and reports.

A round takes each peer in turn (A B C D, then A B C D again), so that a machine that drifts drifts for all of them; each server
is started afresh in every round. A peer that cannot be installed, started or measured is left out, and the tables say why.
Peers are installed under PENSTOCK_HOME/peers (about 8 GB, most of it PyTorch for vLLM). Into --out go peers.json (every raw
report), peers.md (the tables) and SVG plots; what is measured is written after every peer, so a run that is ended keeps it.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile

import engines
import figures
import installers
import plots
import report
import servers
import workloads

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPENVINO = servers.Peer("openvino", "OpenVINO GenAI, in process", None, lambda model: installers.install_openvino())
PEERS = {peer.key: peer for peer in (*servers.SERVERS, OPENVINO)}
FEATURES = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")

QUICK = {"rounds": 1, "streams": "1,16", "rates": "2", "seconds": 3, "requests_per_stream": 1,
         "only": "penstock,llama-fa,llama,openvino", "workloads": "closed,prefix,poisson,long,start"}


def say(text):
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def cpu_flags():
    match = re.search(r"^flags\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match.group(1).split() if match else []


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.MULTILINE)
    flags = cpu_flags()
    return {"cpu": model.group(1) if model else platform.machine(), "features": [f for f in FEATURES if f in flags],
            "flags": flags, "cores": len(os.sched_getaffinity(0)), "memory_gib": int(memory.group(1)) / 2**20,
            "kernel": platform.release(), "load_average": os.getloadavg()[0]}


def commit():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def install(keys, model):
    """Returns {key: reason} of the peers that could not be installed."""
    absent = {}
    for key in keys:
        if PEERS[key].install is None:
            continue
        try:
            say(f"{PEERS[key].title}: installing what is missing")
            PEERS[key].install(model)
        except installers.InstallFailed as error:
            absent[key] = str(error)
            say(f"{PEERS[key].title}: {error}")
    return absent


def failed_everywhere(names, plan, why):
    """What stands in the place of the reports of a server that did not start."""
    failed = {"failed": why}
    labels = {"closed": [str(s) for s in plan.streams], "start": ["start"], "long": [str(workloads.LONG_STREAMS)]}
    return {name: {label: failed for label in labels[name]} for name in names if name in labels}


def measure_server(peer, settings, plan, names, index):
    """One round of one server: every shape that the wanted workloads need, started afresh."""
    results = {}
    for shape in servers.shapes_of(peer):
        wanted = [name for name in names if name != "engine" and
                  (not peer.is_sized_beforehand or (name == "long") == (shape == servers.LONG))]
        if not wanted:
            continue
        try:
            with servers.RunningServer(peer, settings, shape) as server:
                results.update(workloads.run_on(server, shape, wanted, plan, index))
        except servers.ServerFailed as error:
            say(f"{peer.title}: {error}")
            results.update(failed_everywhere(wanted, plan, str(error)))
    return results


def measure_peer(peer, settings, plan, args, index):
    if peer is OPENVINO:
        return engines.measure_openvino(settings, plan, index, args.workloads)
    results = measure_server(peer, settings, plan, args.workloads, index)
    if "engine" in args.workloads and peer.key in engines.MEASURE:
        results["engine"] = engines.measure_engine(peer.key, args.engine_bench, settings, cpu_flags())
    return results


def told(results):
    """A line for who watches: output tokens a second of the closed loop."""
    speeds = [f"{label}: {r['output_tokens_per_second']:.0f}" if "failed" not in r else f"{label}: {r['failed']}"
              for label, r in results.get("closed", {}).items()]
    return "closed loop tok/s " + ", ".join(speeds) if speeds else "done"


def line_of(document, peer, workload, metric):
    points = []
    for label in figures.labels_of(document["rounds"], workload):
        spread = figures.spread(figures.values(document["rounds"], peer, workload, label, metric))
        if spread is not None:
            points.append((float(label), spread["median"], spread["min"], spread["max"]))
    return plots.Line(document["peers"][peer]["title"], tuple(points))


CHARTS = (("throughput.svg", "Output tokens a second against concurrent streams", "streams", "closed", figures.TOKENS, False),
          ("ttft_streams.svg", "Time to first token, p99, against concurrent streams", "streams", "closed", figures.TTFT_P99, True),
          ("gap_streams.svg", "Inter-token time, p99, against concurrent streams", "streams", "closed", figures.GAP_P99, True),
          ("ttft_load.svg", "Time to first token, p99, against load", "requests a second", "poisson", figures.TTFT_P99, True),
          ("gap_load.svg", "Inter-token time, p99, against load", "requests a second", "poisson", figures.GAP_P99, True))


def write_out(document, folder):
    """peers.json, peers.md and the plots, all from the document."""
    folder.mkdir(parents=True, exist_ok=True)
    rivals = [key for key, peer in document["peers"].items() if peer["is_server"] and not peer["is_ours"]]
    document["summary"] = figures.summarise(document["rounds"], list(document["peers"]), document["ours"], rivals)
    (folder / "peers.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "peers.md").write_text(report.document_text(document))
    for name, title, title_x, workload, metric, is_logarithmic in CHARTS:
        lines = [line_of(document, peer, workload, metric) for peer in document["peers"]]
        svg = plots.chart(title, title_x, metric.title, lines, is_logarithmic)
        if svg is not None:
            (folder / name).write_text(svg)


def names_of(text, known, what):
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise SystemExit(f"peers.py: no {what} {', '.join(unknown) or 'named'}; there are {', '.join(known)}")
    return names


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true",
                        help="one short round of few peers and workloads, about 5 minutes; other options still count")
    parser.add_argument("--only", help=f"peers, of {','.join(PEERS)} (default: all)", default=",".join(PEERS))
    parser.add_argument("--workloads", help=f"of {','.join(workloads.NAMES)} (default: all)", default=",".join(workloads.NAMES))
    parser.add_argument("--streams", help="of the closed loop, at most 32 (1,4,8,16,32)", default="1,4,8,16,32")
    parser.add_argument("--rates", help="of Poisson arrivals, requests a second (0.5,1,2,4,8)", default="0.5,1,2,4,8")
    parser.add_argument("--requests-per-stream", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="a closed loop sends no new request after this (10)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--install-only", action="store_true", help="install the peers and end")
    parser.add_argument("--report-from", type=pathlib.Path, metavar="JSON", help="measure nothing: tables and plots of that file")
    parser.add_argument("--model", type=pathlib.Path, default=installers.HOME / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help="folder of the release build")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/peers")
    if "--quick" in sys.argv:
        parser.set_defaults(**QUICK)
    args = parser.parse_args()
    args.only = names_of(args.only, PEERS, "peer")
    args.workloads = names_of(args.workloads, workloads.NAMES, "workload")
    args.engine_bench = args.build / "engine_bench"
    return args


def build_and_check(args):
    """The three programs of this tree, built if their build folder is there, and the model."""
    programs = [args.build / "penstock", args.engine_bench, args.build / "bench/serving/serving_bench"]
    if (args.build / "build.ninja").exists():
        subprocess.run(["ninja", "-C", args.build, *(p.relative_to(args.build) for p in programs)], check=True,
                       stdout=subprocess.DEVNULL)
    for needed in (*programs, args.model):
        if not needed.exists():
            raise SystemExit(f"peers.py: {needed} is not there; run tools/serve once: it builds, and fetches the model")


def new_document(args, absent):
    present = [key for key in args.only if key not in absent]
    if "penstock" not in present:
        say("without penstock there are figures, but no ratios")
    return {"date": datetime.date.today().isoformat(), "commit": commit(), "machine": machine(),
            "versions": installers.VERSIONS, "ours": "penstock",
            "peers": {key: {"title": PEERS[key].title, "is_server": PEERS[key] is not OPENVINO, "is_ours": PEERS[key].is_ours}
                      for key in present},
            "absent": {PEERS[key].title: why for key, why in absent.items()},
            "settings": {"model": args.model.name, "threads": args.threads, "rounds": args.rounds, "streams": args.streams,
                         "rates": args.rates, "workloads": args.workloads, "requests_per_stream": args.requests_per_stream,
                         "sending_seconds": args.seconds},
            "rounds": []}


def run_rounds(args, document):
    plan = workloads.Plan(load=args.build / "bench/serving/serving_bench",
                          streams=tuple(int(s) for s in args.streams.split(",")), sending_seconds=args.seconds,
                          requests_per_stream=args.requests_per_stream, rates=tuple(float(r) for r in args.rates.split(",")))
    with tempfile.TemporaryDirectory() as scratch:
        settings = servers.Settings(args.model, args.build / "penstock", args.threads, pathlib.Path(scratch))
        for index in range(args.rounds):
            document["rounds"].append({})
            for key in document["peers"]:
                say(f"round {index + 1} of {args.rounds}: {PEERS[key].title}")
                results = measure_peer(PEERS[key], settings, plan, args, index)
                document["rounds"][index][key] = results
                say(f"  {told(results)}")
                write_out(document, args.out)


def main():
    args = parse_arguments()
    if args.report_from is not None:
        write_out(json.loads(args.report_from.read_text()), args.out)
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))  # through every `with`: a server ends with the run
    build_and_check(args)
    absent = install(args.only, args.model)
    if args.install_only:
        raise SystemExit(1 if absent else 0)
    document = new_document(args, absent)
    run_rounds(args, document)
    print((args.out / "peers.md").read_text())
    say(f"written: {args.out}")


if __name__ == "__main__":
    main()
