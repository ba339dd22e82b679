#!/usr/bin/env python3
"""The closed loop of serving_bench on OpenVINO GenAI, in process, and its prefill: one JSON document on stdout.

usage: openvino_driver.py MODEL.gguf THREADS     (in the environment that has openvino-genai)

Reads a JSON list of jobs from stdin, {"name", "streams", "requests": [bodies as serving_bench prints them], "seconds"}, and
runs them one after the other on one ContinuousBatchingPipeline: at most `streams` requests at a time, a new one as soon as
one ends, none after `seconds`; tokens are counted and timed as the pipeline hands them out, step by step. A job has the
fields of serving_bench's report that apply.
"""
import collections
import json
import resource
import sys
import time

import openvino_genai

CACHE_GIB = 4  # keys and values: 32 streams of 1,024 positions need 0.8


def percentiles(seconds):
    values = sorted(1e3 * value for value in seconds)
    at = lambda share: values[min(int(share * len(values)), len(values) - 1)] if values else 0.0
    return {"count": len(values), "p50": at(0.50), "p95": at(0.95), "p99": at(0.99), "p999": at(0.999), "max": at(1.0)}


class Stream:
    """One request in the pipeline."""

    def __init__(self, handle, now):
        self.handle, self.start, self.last, self.tokens = handle, now, None, 0

    def take(self, now, firsts, gaps):
        """Notes the tokens that the last step brought. A step that brings several counts as one gap, as one event would."""
        if not self.handle.can_read():
            return
        new = sum(len(output.generated_ids) for output in self.handle.read().values())
        if new == 0:
            return
        if self.last is None:
            firsts.append(now - self.start)
        else:
            gaps.append(now - self.last)
        self.last, self.tokens = now, self.tokens + new


def is_finished(stream):
    return stream.handle.get_status() != openvino_genai.GenerationStatus.RUNNING


def run_job(pipeline, tokenizer, job, numbers):
    waiting = collections.deque()
    for body in job["requests"]:
        prompt = tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True)
        ids = tokenizer.encode(prompt, add_special_tokens=False).input_ids
        config = openvino_genai.GenerationConfig(max_new_tokens=body["max_tokens"], ignore_eos=True, do_sample=False)
        waiting.append((ids, config))
    prompt_tokens, firsts, gaps, ended, running = 0, [], [], [], []
    begin = time.perf_counter()
    while waiting or running:
        now = time.perf_counter()
        if now - begin >= job["seconds"]:
            waiting.clear()
        while waiting and len(running) < job["streams"]:
            ids, config = waiting.popleft()
            prompt_tokens += ids.shape[1]
            running.append(Stream(pipeline.add_request(next(numbers), ids, config), time.perf_counter()))
        if not running:
            break
        pipeline.step()
        now = time.perf_counter()
        for stream in running:
            stream.take(now, firsts, gaps)
        ended += [stream for stream in running if is_finished(stream)]
        running = [stream for stream in running if not is_finished(stream)]
    seconds = time.perf_counter() - begin
    output_tokens = sum(stream.tokens for stream in ended)
    return {"name": job["name"], "concurrency": job["streams"], "seconds": seconds, "requests": len(ended), "errors": 0,
            "prompt_tokens": prompt_tokens, "output_tokens": output_tokens,
            "output_tokens_per_second": output_tokens / seconds, "ttft_ms": percentiles(firsts),
            "inter_token_ms": percentiles(gaps)}


def main():
    begin = time.perf_counter()
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = CACHE_GIB
    pipeline = openvino_genai.ContinuousBatchingPipeline(sys.argv[1], scheduler, "CPU",
                                                         {"INFERENCE_NUM_THREADS": int(sys.argv[2])})
    tokenizer = pipeline.get_tokenizer()
    load_seconds = time.perf_counter() - begin
    numbers = iter(range(1 << 30))
    reports = [run_job(pipeline, tokenizer, job, numbers) for job in json.load(sys.stdin)]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    json.dump({"load_seconds": load_seconds, "peak_resident_mib": usage.ru_maxrss / 1024, "jobs": reports}, sys.stdout)


if __name__ == "__main__":
    main()
