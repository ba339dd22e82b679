"""The engines without HTTP: prefill of a prompt and decode of a batch, each by its project's own program.

A result is {"prefill 128": {"tokens_per_second": x}, ..., "decode 16": {...}} or {label: {"failed": reason}}.

- penstock: engine_bench, on the kernel path that the server takes; decode at 192 positions.
- llama.cpp: llama-bench (prefill) and llama-batched-bench (decode of 64 tokens after a prompt of 160: 192 positions on average).
- OpenVINO GenAI: openvino_driver.py in its own environment; prefill is the prompt over the time to its first token, decode the
  batch over the median gap. The same program runs the closed loop of the servers, in process.
"""
import json
import pathlib
import subprocess

import installers
import workloads

PREFILL_TOKENS = (128, 512, 2048)
DECODE_BATCHES = (1, 8, 16, 32)
DECODE_CONTEXT = 192
SECONDS_MAX = 300
PATHS = (("amx_int8", "amx"), ("avx512_vnni", "avx512-vnni"), ("avx_vnni", "avx-vnni"), ("avx2", "avx2"))  # first that the CPU has
TEMPLATE_TOKENS = 30  # what the chat template and its system message add to the words of a prompt

LABELS = (*(f"prefill {n}" for n in PREFILL_TOKENS), *(f"decode {n}" for n in DECODE_BATCHES))


class EngineFailed(Exception):
    pass


def run_program(command, text=None, seconds=SECONDS_MAX):
    name = pathlib.Path(command[0]).name
    try:
        done = subprocess.run([str(part) for part in command], input=text, capture_output=True, text=True, check=False,
                              timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise EngineFailed(f"{name}: more than {seconds} s") from error
    except OSError as error:
        raise EngineFailed(str(error)) from error
    if done.returncode != 0:
        raise EngineFailed(f"{name}: status {done.returncode}: {' | '.join(done.stderr.strip().splitlines()[-2:])[-300:]}")
    return done.stdout


def listed(numbers):
    return ",".join(str(n) for n in numbers)


def rate(tokens_per_second):
    return {"tokens_per_second": tokens_per_second}


def read_engine_bench(text):
    rows = json.loads(text)["rows"]
    of = {(row["operation"], row["batch"] if row["operation"] == "decode" else row["context"]):
          rate(row["tokens_per_second"]["median"]) for row in rows}
    return {label: of[(label.split()[0], int(label.split()[1]))] for label in LABELS
            if (label.split()[0], int(label.split()[1])) in of}


def measure_penstock(cache_type):
    def measure(program, settings, cpu_flags):
        path = next((name for flag, name in PATHS if flag in cpu_flags), "reference")
        base = [program, "--model", settings.model, "--threads", settings.threads, "--path", path, "--repeat", 3,
                "--kv-cache-dtype", cache_type]
        prefill = run_program([*base, "--operation", "prefill", "--context", listed(PREFILL_TOKENS)])
        decode = run_program([*base, "--operation", "decode", "--batch", listed(DECODE_BATCHES), "--context", DECODE_CONTEXT])
        return {**read_engine_bench(prefill), **read_engine_bench(decode)}
    return measure


def read_llama_bench(text):
    return {f"prefill {row['n_prompt']}": rate(row["avg_ts"]) for row in json.loads(text)}


def read_batched_bench(text):
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {f"decode {row['pl']}": rate(row["speed_tg"]) for row in rows}


def measure_llama(kind, flash_attention):
    def measure(_program, settings, _cpu_flags):
        model = settings.model if kind is None else installers.requantised(settings.model, kind)
        threads = settings.threads
        prefill = run_program([installers.LLAMA_BIN / "llama-bench", "-m", model, "-t", threads, "-fa",
                               1 if flash_attention == "on" else 0, "-p", listed(PREFILL_TOKENS), "-n", 0, "-r", 1,
                               "-o", "json"])
        # The prompt is the same for the whole batch (-pps): it is computed once, and what is timed is the decode.
        decode = run_program([installers.LLAMA_BIN / "llama-batched-bench", "-m", model, "-t", threads, "-fa", flash_attention,
                              "-npp", 160, "-ntg", 64, "-npl", listed(DECODE_BATCHES), "-c", 256 * max(DECODE_BATCHES),
                              "-pps", "--output-format", "jsonl"])
        return {**read_llama_bench(prefill), **read_batched_bench(decode)}
    return measure


MEASURE = {"penstock": measure_penstock("auto"), "penstock-int8": measure_penstock("int8"),
           "llama-fa": measure_llama(None, "on"), "llama": measure_llama(None, "off"),
           "llama-q4_0": measure_llama("Q4_0", "off"), "llama-q8_0": measure_llama("Q8_0", "off")}


def measure_engine(key, program, settings, cpu_flags):
    """The results of one peer, or the reason in the place of each."""
    try:
        return MEASURE[key](program, settings, cpu_flags)
    except (EngineFailed, KeyError, ValueError) as error:
        return {label: {"failed": str(error)} for label in LABELS}


# --- OpenVINO GenAI, in process ---

def printed_requests(plan, index, label, count, **options):
    arguments = {"print": count, "seed": workloads.seed_of(index, label), "prompt-words": workloads.PROMPT_WORDS,
                 "output-tokens": workloads.OUTPUT_TOKENS, **options}
    command = [plan.load] + [part for key, value in arguments.items() for part in (f"--{key}", value)]
    return [json.loads(line) for line in run_program(command).splitlines()]


def openvino_jobs(plan, index):
    """A warm-up, the servers' closed loop at each number of streams, and prompts of the lengths of the prefill figures."""
    jobs = [{"name": "warm-up", "streams": 4, "seconds": 60, "requests": printed_requests(plan, index, "warm-up 4", 4)}]
    for streams in sorted({*plan.streams, *DECODE_BATCHES}):
        jobs.append({"name": workloads.closed_label(streams), "streams": streams, "seconds": plan.sending_seconds,
                     "requests": printed_requests(plan, index, workloads.closed_label(streams),
                                                  streams * plan.requests_per_stream)})
    for tokens in PREFILL_TOKENS:
        words = {"prompt-words": tokens - TEMPLATE_TOKENS, "output-tokens": 2}
        jobs.append({"name": f"prefill {tokens}", "streams": 1, "seconds": 60,
                     "requests": printed_requests(plan, index, f"prefill {tokens}", 2, **words)})
    return jobs


def read_openvino(answer, plan):
    """Its closed loop and its engine figures, as {workload: {label: report}}."""
    jobs = {job["name"]: job for job in answer["jobs"]}
    engine = {}
    for label in LABELS:
        operation, number = label.split()
        job = jobs[label if operation == "prefill" else f"closed {number}"]
        if operation == "prefill":
            engine[label] = rate(job["prompt_tokens"] / job["requests"] / job["ttft_ms"]["p50"] * 1e3)
        else:
            engine[label] = rate(int(number) / job["inter_token_ms"]["p50"] * 1e3)
    return {"closed": {str(streams): jobs[f"closed {streams}"] for streams in plan.streams}, "engine": engine,
            "start": {"start": {"ready_seconds": answer["load_seconds"], "peak_resident_mib": answer["peak_resident_mib"]}}}


def measure_openvino(settings, plan, index, names):
    """One process for all jobs, as one server is for all workloads."""
    try:
        jobs = openvino_jobs(plan, index)
        text = run_program([installers.OPENVINO_VENV / "bin/python", pathlib.Path(__file__).with_name("openvino_driver.py"),
                            settings.model, settings.threads], json.dumps(jobs), seconds=900)
        results = read_openvino(json.loads(text), plan)
    except (EngineFailed, KeyError, ValueError) as error:
        failed = {"failed": str(error)}
        results = {"closed": {str(streams): failed for streams in plan.streams},
                   "engine": {label: failed for label in LABELS}}
    return {name: result for name, result in results.items() if name in names}
