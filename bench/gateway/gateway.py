#!/usr/bin/env python3
"""Penstock's gateway beside nginx, HAProxy, routers for language models and LiteLLM's proxy: before the same fast upstream, each on one
core, in one run. All are started first; then each case is measured on one after the other, round by round, while the others are idle,
so that drift of the machine hits all alike. Only the gateway has the last core; load and upstream share the others.

  bench/gateway/gateway.py --install-only                  # once: the routers and LiteLLM under PENSTOCK_HOME/peers
  bench/gateway/gateway.py                                 # everything, three rounds; JSON, tables and a plot into build/bench/gateway
  bench/gateway/gateway.py --only penstock,nginx --cases rate,latency --rounds 5
  bench/gateway/gateway.py --keep --cases attack           # adds to what the folder has; every line of a table is from one run
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

import fronts
import cases
import load
import gateway_report
import peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
DESCRIPTORS = 20000


def say(text):
    print(text, file=sys.stderr, flush=True)


def chosen_cases(text):
    """Cases by name, by the name's beginning, or by group."""
    wanted = text.split(",")
    found = [name for name, case in cases.CASES.items()
             if "all" in wanted or any(name == each or case.group == each or name.startswith(each + "-") for each in wanted)]
    if not found:
        raise SystemExit(f"no such cases: {text}; there are {', '.join(cases.CASES)}")
    return found


def start_upstream(args, core):
    process = subprocess.Popen(["taskset", "-c", str(core), str(args.build / "gateway_upstream"), "-l", "127.0.0.1:0", "-b",
                                str(args.event_bytes), "-t", str(args.think_ms)], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline().split()
    if len(line) != 2:
        raise SystemExit("the upstream did not start")
    return process, int(line[1])


def start_all(names, place, absent):
    running = {}
    for name in names:
        try:
            running[name] = fronts.start(name, place)
            say(f"{fronts.KINDS[name].title} runs")
        except (fronts.FrontFailed, OSError) as error:
            absent[fronts.KINDS[name].title] = str(error)
            say(f"{fronts.KINDS[name].title} is absent: {error}")
    return running


def measure(running, name, case, site, place):
    case, is_slow = cases.CASES[case], fronts.KINDS[name].is_slow
    try:
        if case.is_fresh and not is_slow:
            running[name].server.stop()
            running[name] = fronts.start(name, place)
        return case.measure(running[name], site, is_slow)
    except (load.LoadFailed, fronts.FrontFailed) as error:
        return {"failed": str(error)}


def stop_all(running):
    for front in running.values():
        front.server.stop()


def run_rounds(args, running, site, place, document):
    for _ in range(args.rounds):
        for case in args.chosen:
            # One after the other in turn, and each time another begins.
            done = {}
            names = [name for name in running if cases.CASES[case].group != "attack" or name in args.attacked]
            at = len(document["rounds"].get(case, [])) % max(len(names), 1)
            for name in names[at:] + names[:at]:
                done[name] = measure(running, name, case, site, place)
                say(f"{case} {name}: " + ", ".join(f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
                                                   for key, value in done[name].items()))
            document["rounds"].setdefault(case, []).append(done)
            gateway_report.write(document, args.out)


def new_document(args):
    path = args.out / "gateway.json"
    if args.keep and path.exists():
        document = json.loads(path.read_text())
    else:
        document = {"rounds": {}, "absent": {}, "runs": []}
    about = peers.machine()
    document["runs"].append({"date": datetime.date.today().isoformat(), "commit": peers.commit(), "load_average": about["load_average"],
                             "cases": args.chosen})
    document.update(machine=about, settings={"seconds": args.seconds, "event_bytes": args.event_bytes, "think_ms": args.think_ms},
                    titles={name: kind.title for name, kind in fronts.KINDS.items()})
    return document


def run(args):
    document = new_document(args)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the gateway, one for the load")
    load_core, upstream_core = cores[0], cores[1] if len(cores) > 2 else cores[0]
    os.sched_setaffinity(0, {load_core})
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = pathlib.Path(scratch)
        folder.chmod(0o755)  # nginx's worker may run as another user
        fronts.make_certificate(folder)
        upstream, port = start_upstream(args, upstream_core)
        stack.callback(lambda: (upstream.terminate(), upstream.wait()))
        os.sched_setaffinity(0, set(cores))
        place = fronts.Place(folder, args.build / "penstock", port, cores[-1])
        running = start_all(args.only, place, document["absent"])
        stack.callback(stop_all, running)
        os.sched_setaffinity(0, {load_core})
        site = cases.Site(load_core, args.seconds, port, args.build / "http_attack", args.attack_seconds, args.crowd_scale)
        run_rounds(args, running, site, place, document)
    print((args.out / "gateway.md").read_text())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help="folder of penstock, gateway_upstream, http_attack")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/gateway")
    parser.add_argument("--only", default=",".join(fronts.KINDS), help="gateways; %(default)s")
    parser.add_argument("--cases", default="all", help="names or groups of cases: rate, sse, latency, memory, crowd, attack; %(default)s")
    parser.add_argument("--attacked", default="penstock,nginx,haproxy", help="gateways that are attacked; %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each figure; %(default)s")
    parser.add_argument("--attack-seconds", type=int, default=2, help="of each attack; %(default)s")
    parser.add_argument("--crowd-scale", type=float, default=1.0, help="share of the 10,000 connections and 2,000 streams; %(default)s")
    parser.add_argument("--event-bytes", type=int, default=200)
    parser.add_argument("--think-ms", type=int, default=0, help="the upstream's wait before it answers; %(default)s")
    parser.add_argument("--keep", action="store_true", help="add rounds to the document of --out")
    parser.add_argument("--install-only", action="store_true")
    args = parser.parse_args()
    args.only, args.attacked = args.only.split(","), args.attacked.split(",")
    unknown = [name for name in args.only + args.attacked if name not in fronts.KINDS]
    if unknown:
        parser.error(f"no such gateways: {', '.join(unknown)}; there are {', '.join(fronts.KINDS)}")
    args.chosen = chosen_cases(args.cases)
    return args


def main():
    args = parse_arguments()
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is not installed (Debian: apt-get install nghttp2-client)")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in list(args.only):
        try:
            fronts.install(name)
        except fronts.FrontFailed as error:
            say(f"{fronts.KINDS[name].title}: {error}")
    if args.install_only:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    run(args)


if __name__ == "__main__":
    main()
