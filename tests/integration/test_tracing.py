"""Traces and metrics by the OpenTelemetry Protocol: what a gateway and its replicas send, to a collector that we did not write (rotel) and
to a receiver that reads with the protocol's own classes; and what becomes of it when the receiver is down, slow or refuses."""
import http.server
import json
import threading

import httpx
import pytest

from support.observe import metric_of, wait_until
from support.otlp import JSON, PROTOBUF, Collector, Sink

pytestmark = [pytest.mark.observe, pytest.mark.edge]

CANARY = "zanzibar-heliotrope"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
INTERNAL, SERVER, CLIENT = 1, 2, 3
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
observability:
  tracing:
    endpoint: ENDPOINT
    protocol: http/protobuf
    interval: 50ms
    metrics_interval: 200ms
    sample_ratio: 1
    resource_attributes: [deployment.environment.name=test]
    headers:
      - {name: x-tenant, value: one}
      - {name: authorization, value_env: OTLP_SECRET}
models:
MODELS"""
HERE = """
  - name: smollm2
    path: {model}
    max_model_len: 1024
"""


@pytest.fixture(scope="module")
def sink():
    sink = Sink()
    yield sink
    sink.close()


@pytest.fixture(scope="module")
def collector(sink, tmp_path_factory):
    collector = Collector(sink, tmp_path_factory.mktemp("rotel"))
    yield collector
    collector.close()


def config_for(endpoint, *changes, models=HERE):
    text = CONFIG.replace("ENDPOINT", endpoint).replace("MODELS", models)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return text


ENVIRONMENT = {"OTLP_SECRET": "Bearer of-the-sink"}


@pytest.fixture(scope="module")
def gateway(module_servers, collector):
    """Sends to the collector, which sends to the sink."""
    return module_servers[0](config_for(collector.url), environment=ENVIRONMENT)


def stream(server, model="smollm2", headers=(), tokens=8, prompt=CANARY + " of"):
    with httpx.stream("POST", server.url + "/v1/chat/completions", headers=dict(headers), timeout=120,
                      json={"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens,
                            "stream": True, "ignore_eos": True}) as answer:
        return answer.status_code, answer.read()


def one(spans, **wanted):
    (span,) = [span for span in spans if all(span[key] == value for key, value in wanted.items())]
    return span


def whole(sink, trace, count=1):
    """The trace's spans, once `count` servers' spans with their own parts are there."""
    return wait_until(lambda: (lambda spans: spans if sum(span["kind"] == SERVER for span in spans) >= count else None)(sink.trace(trace)),
                      what=f"trace {trace}: {[(span['name'], span['kind']) for span in sink.spans()][-20:]}")


def test_a_request_is_a_trace_from_its_head_to_its_last_token(gateway, sink):
    status, _ = stream(gateway, headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "traced-1"})
    assert status == 200
    spans = whole(sink, TRACE)
    assert sink.bad() == []
    top = one(spans, parent=PARENT)
    assert (top["name"], top["kind"], top["status"], top["scope"]) == ("chat smollm2", SERVER, 0, "penstock")
    assert top["resource"]["service.name"] == "penstock" and top["resource"]["deployment.environment.name"] == "test"
    facts = top["attributes"]
    assert facts["gen_ai.operation.name"] == "chat" and facts["gen_ai.provider.name"] == "penstock"
    assert facts["gen_ai.request.model"] == facts["gen_ai.response.model"] == "smollm2" and facts["gen_ai.request.stream"] is True
    assert facts["gen_ai.usage.output_tokens"] == 8 and facts["gen_ai.usage.input_tokens"] > 0
    assert facts["gen_ai.response.finish_reasons"] == ["length"] and facts["http.response.status_code"] == 200
    assert facts["penstock.request_id"] == "traced-1" and "error.type" not in facts
    assert 0 < facts["gen_ai.response.time_to_first_chunk"] <= facts["gen_ai.latency.e2e"]
    attempt = one(spans, kind=CLIENT)
    assert (attempt["name"], attempt["parent"]) == ("attempt 1", top["id"])
    assert attempt["attributes"]["penstock.attempt.result"] == "answered" and attempt["attributes"]["penstock.replica"] == 0
    ours = {span["name"]: span for span in spans if span["parent"] == top["id"]}
    assert set(ours) == {"admission", "queue", "route", "attempt 1", "stream"}
    for span in ours.values():
        assert top["start"] <= span["start"] <= span["end"] <= top["end"]
    assert ours["admission"]["end"] <= ours["queue"]["end"] <= attempt["start"] <= ours["stream"]["start"]


def test_a_trace_goes_on_in_the_replica(gateway, sink):
    trace = "8" * 32
    stream(gateway, headers={"traceparent": f"00-{trace}-{PARENT}-01"}, prompt="Tell me of " + "rivers and " * 40)
    spans = whole(sink, trace, 2)
    assert sink.bad() == []
    top, attempt = one(spans, parent=PARENT), one(spans, kind=CLIENT)
    inner = one(spans, kind=SERVER, parent=attempt["id"])
    facts = inner["attributes"]
    assert inner["name"] == "chat smollm2" and facts["gen_ai.usage.output_tokens"] == 8
    assert facts["gen_ai.usage.input_tokens"] == top["attributes"]["gen_ai.usage.input_tokens"]
    assert facts["gen_ai.latency.time_in_model_prefill"] > 0 and facts["gen_ai.latency.time_in_model_decode"] > 0
    parts = [span for span in spans if span["parent"] == inner["id"]]
    assert {span["name"] for span in parts} == {"prepare", "queue", "prefill", "decode"}
    assert sum(span["attributes"]["penstock.chunk.tokens"] for span in parts if span["name"] == "prefill") == \
        facts["gen_ai.usage.input_tokens"] - facts["gen_ai.usage.cache_read.input_tokens"]
    # Everything is inside of what it is a part of. The two processes have one clock, which is read in milliseconds.
    slack = 5_000_000
    by_id = {span["id"]: span for span in spans}
    assert len(by_id) == len(spans)
    for span in spans:
        assert span["start"] <= span["end"]
        if span is not top:
            assert by_id[span["parent"]]["start"] - slack <= span["start"]
            assert span["end"] <= by_id[span["parent"]]["end"] + slack


def test_the_metrics_have_the_conventions_names_and_buckets(gateway, sink):
    stream(gateway, tokens=5)
    assert httpx.post(gateway.url + "/v1/completions", json={"model": "smollm2", "prompt": "x", "temperature": -1}).status_code == 400

    def seen():
        points = sink.points()
        names = {name for name, _ in points}
        errors = [key for key in points if key[0] == "gen_ai.server.request.duration" and "error.type" in dict(key[1])]
        return points if len(names) == 4 and errors else None

    points = wait_until(seen)
    assert sink.bad() == []
    labels = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "penstock", "gen_ai.request.model": "smollm2",
              "gen_ai.response.model": "smollm2"}
    key = tuple(sorted(labels.items()))
    unit, first = points[("gen_ai.server.time_to_first_token", key)]
    assert unit == "s"
    assert list(first.explicit_bounds) == [.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10]
    unit, duration = points[("gen_ai.server.request.duration", key)]
    assert list(duration.explicit_bounds) == [.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
    unit, each = points[("gen_ai.server.time_per_output_token", key)]
    assert list(each.explicit_bounds) == [.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5]
    unit, tokens = points[("gen_ai.client.token.usage", tuple(sorted({**labels, "gen_ai.token.type": "output"}.items())))]
    assert unit == "{token}" and list(tokens.explicit_bounds) == [4 ** power for power in range(14)]
    for point in (first, duration, each, tokens):
        assert sum(point.bucket_counts) == point.count >= 1 and len(point.bucket_counts) == len(point.explicit_bounds) + 1
        assert 0 < point.start_time_unix_nano < point.time_unix_nano and point.sum > 0
    assert tokens.sum >= 5
    (failed,) = [key for key in points if key[0] == "gen_ai.server.request.duration" and "error.type" in dict(key[1])]
    assert dict(failed[1])["gen_ai.operation.name"] == "text_completion"


def test_a_replica_that_runs_alone_sends_its_own(start_replica, own_sink):
    server = start_replica(config_for(own_sink.url), environment=ENVIRONMENT)
    trace = "7" * 32
    assert stream(server, headers={"traceparent": f"00-{trace}-{PARENT}-01"})[0] == 200
    assert httpx.post(server.url + "/v1/completions", timeout=60,
                      json={"model": "smollm2", "prompt": CANARY, "max_tokens": 3, "ignore_eos": True}).status_code == 200
    top = one(whole(own_sink, trace), kind=SERVER)
    assert (top["name"], top["parent"]) == ("chat smollm2", PARENT) and top["attributes"]["gen_ai.usage.output_tokens"] == 8
    assert {"prepare", "queue", "prefill", "decode"} == {span["name"] for span in own_sink.trace(trace) if span["parent"] == top["id"]}
    # The other request had no context: its trace begins here.
    other = wait_until(lambda: [span for span in own_sink.spans() if span["name"] == "text_completion smollm2"])
    assert other[0]["trace"] != trace and other[0]["parent"] == ""
    names = wait_until(lambda: (lambda found: found if len(found) == 4 else None)({name for name, _ in own_sink.points()}))
    assert "gen_ai.server.time_to_first_token" in names
    assert own_sink.bad() == [] and all(CANARY not in str(message) for _, _, message, _, _ in own_sink.requests)


def test_nothing_of_prompts_answers_or_secrets_is_sent(gateway, sink):
    """The canary was in the prompts of all tests before."""
    assert sink.spans()
    for _, _, message, _, _ in list(sink.requests):
        text = str(message)
        assert CANARY not in text and "of-the-sink" not in text


# --- a gateway without an engine: what it sends a request to is a server of ours that answers at once ---

class Upstream:
    """An OpenAI server of a few lines: the answer to a prompt that is a number is that status; it keeps the headers that it got."""

    def __init__(self):
        self.headers = []
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.answer(200, b'{"object":"list","data":[{"id":"away","object":"model"}]}')

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                upstream.headers.append({name.lower(): value for name, value in self.headers.items()})
                status = int(body["prompt"]) if body["prompt"].isdigit() else 200
                self.answer(status, json.dumps(
                    {"id": "x", "object": "text_completion", "created": 1, "model": "away",
                     "choices": [{"index": 0, "text": "yes", "finish_reason": "stop"}],
                     "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}} if status == 200 else
                    {"error": {"message": "no", "type": "server_error", "code": "broken"}}).encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.models = f"""
  - name: away
    upstream: {{url: "http://127.0.0.1:{self.server.server_address[1]}", health_interval: 200ms}}
"""
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def upstream():
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def own_sink():
    sink = Sink()
    yield sink
    sink.close()


CLIENT_OF_ALL = httpx.Client(timeout=60)


def ask(server, prompt="hello", **headers):
    return CLIENT_OF_ALL.post(server.url + "/v1/completions", headers=headers, json={"model": "away", "prompt": prompt}).status_code


def test_the_context_goes_on_with_the_attempts_span(start_gateway, upstream, own_sink):
    server = start_gateway(config_for(own_sink.url, models=upstream.models), environment=ENVIRONMENT)
    upstream.headers.clear()
    trace = "c" * 32
    assert ask(server, traceparent=f"00-{trace}-{PARENT}-01", tracestate="vendor=1,other=2") == 200
    assert ask(server) == 200
    assert ask(server, traceparent=f"00-{trace}-{'0' * 16}-01", tracestate="vendor=1") == 200
    first, second, third = [headers.get("traceparent").split("-") for headers in upstream.headers]
    assert first[0] == "00" and first[1] == trace and first[2] != PARENT and first[3] == "01"
    assert [headers.get("tracestate") for headers in upstream.headers] == ["vendor=1,other=2", None, None]
    # Without a good context of the client's a trace of our own begins, whose id is random (flag 2).
    assert len({first[1], second[1], third[1]}) == 3 and second[3] == third[3] == "03"
    wait_until(lambda: len([span for span in own_sink.spans() if span["kind"] == SERVER]) == 3)
    spans = own_sink.trace(trace)
    top, attempt = one(spans, kind=SERVER), one(spans, kind=CLIENT)
    assert top["parent"] == PARENT and attempt["parent"] == top["id"] and attempt["id"] == first[2]
    assert top["name"] == "text_completion away"
    assert one(own_sink.trace(second[1]), kind=SERVER)["parent"] == ""
    assert own_sink.bad() == []


def test_json_says_what_protobuf_says(start_gateway, upstream, collector, sink, own_sink):
    """Through the collector, which reads JSON with a reader of its own, and straight to the sink."""
    found = []
    for protocol, receiver, where, trace in (("http/json", collector, sink, "a" * 32), ("http/json", own_sink, own_sink, "b" * 32),
                                             ("http/protobuf", own_sink, own_sink, "9" * 32)):
        server = start_gateway(config_for(receiver.url, ("http/protobuf", protocol), models=upstream.models), environment=ENVIRONMENT)
        assert ask(server, "500", traceparent=f"00-{trace}-{PARENT}-01") == 500
        spans = whole(where, trace)
        found.append({(span["name"], span["kind"], span["status"], tuple(span["events"]), tuple(sorted(span["attributes"])))
                      for span in spans})
        server.stop()
    assert found[0] == found[1] == found[2] and sink.bad() == own_sink.bad() == []
    assert {headers["content-type"] for path, headers, *_ in own_sink.requests} == {JSON, PROTOBUF}
    assert {headers["authorization"] for _, headers, *_ in own_sink.requests} == {"Bearer of-the-sink"}
    assert {headers["x-tenant"] for _, headers, *_ in own_sink.requests} == {"one"}
    assert {path for path, *_ in own_sink.requests} == {"/v1/traces", "/v1/metrics"}


def test_without_a_receiver_the_context_passes_as_it_came(start_gateway, upstream):
    server = start_gateway(config_for('""', models=upstream.models), environment=ENVIRONMENT)
    upstream.headers.clear()
    context = f"00-{'d' * 32}-{PARENT}-01"
    assert ask(server, traceparent=context, tracestate="vendor=1") == 200
    assert ask(server, traceparent=context[:-1], tracestate="vendor=1") == 200
    assert [(headers.get("traceparent"), headers.get("tracestate")) for headers in upstream.headers] == \
        [(context, "vendor=1"), (None, None)]


def test_errors_and_what_the_caller_keeps_are_sent_of_a_share_of_none(start_gateway, upstream, own_sink):
    server = start_gateway(config_for(own_sink.url, ("sample_ratio: 1", "sample_ratio: 0"), models=upstream.models),
                           environment=ENVIRONMENT)
    upstream.headers.clear()
    for _ in range(5):
        assert ask(server) == 200
    assert ask(server, "400") == 400
    assert {headers["traceparent"][-2:] for headers in upstream.headers} == {"02"}
    assert ask(server, "500") == 500
    kept = "e" * 32
    assert ask(server, traceparent=f"00-{kept}-{PARENT}-01") == 200
    assert ask(server, traceparent=f"00-{'f' * 32}-{PARENT}-00") == 200
    # Those before the last two came first: a span of theirs would be here.
    wait_until(lambda: own_sink.trace(kept))
    (failed, good) = [span for span in own_sink.spans() if span["kind"] == SERVER]
    assert failed["status"] == 2 and failed["attributes"]["error.type"] == "broken"
    assert failed["attributes"]["http.response.status_code"] == 500 and good["trace"] == kept
    (attempt,) = [span for span in own_sink.trace(failed["trace"]) if span["kind"] == CLIENT]
    assert attempt["status"] == 2


def test_a_receiver_that_is_full_is_asked_again_and_nothing_is_lost(start_gateway, upstream, own_sink):
    own_sink.answers += [(429, {"retry-after": "1"}, None), (503, {}, None)]
    server = start_gateway(config_for(own_sink.url, ("metrics_interval: 200ms", "metrics_interval: 0s"), models=upstream.models),
                           environment=ENVIRONMENT)
    assert ask(server) == 200
    wait_until(lambda: own_sink.spans())
    statuses = [status for _, _, _, status, _ in own_sink.requests]
    assert statuses == [429, 503, 200]
    first, *others = [message for _, _, message, _, _ in own_sink.requests]
    assert all(message == first for message in others)
    count = len(own_sink.spans())
    assert wait_until(lambda: metric_of(server, "penstock_otlp_exported_total", signal="traces")) == count
    assert metric_of(server, "penstock_otlp_dropped_total", signal="traces") == 0
    assert metric_of(server, "penstock_otlp_failing", signal="traces") == 0


def test_what_is_refused_or_not_taken_is_counted(start_gateway, upstream, own_sink):
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    partial = trace_service_pb2.ExportTraceServiceResponse()
    partial.partial_success.rejected_spans, partial.partial_success.error_message = 2, "too old"
    own_sink.answers += [(400, {}, None), (200, {}, partial.SerializeToString())]
    server = start_gateway(config_for(own_sink.url, ("metrics_interval: 200ms", "metrics_interval: 0s"), models=upstream.models),
                           environment=ENVIRONMENT)
    assert ask(server) == 200
    refused = wait_until(lambda: metric_of(server, "penstock_otlp_dropped_total", signal="traces", reason="refused"))
    assert refused == sum(len(scope.spans) for resource in own_sink.requests[0][2].resource_spans for scope in resource.scope_spans)
    assert ask(server) == 200
    assert wait_until(lambda: metric_of(server, "penstock_otlp_dropped_total", signal="traces", reason="rejected")) == 2
    assert wait_until(lambda: metric_of(server, "penstock_otlp_exported_total", signal="traces")) == len(own_sink.spans()) - 2
    wait_until(lambda: "too old" in server.log_tail())


def test_a_receiver_that_hangs_holds_up_nobody_and_the_queue_is_bounded(start_gateway, upstream, own_sink):
    own_sink.hold = threading.Event()
    server = start_gateway(config_for(own_sink.url, ("metrics_interval: 200ms", "metrics_interval: 0s"), ("    interval: 50ms", (
        "    interval: 50ms\n    queue: 4\n    timeout: 60s\n    flush_time: 200ms")), models=upstream.models), environment=ENVIRONMENT)
    assert ask(server) == 200
    wait_until(lambda: own_sink.requests)  # one batch is on its way and will stay there
    before = len(own_sink.requests)
    for _ in range(40):
        assert ask(server) == 200
    # Two loops at most, of which each keeps four; the rest is dropped, at once.
    dropped = wait_until(lambda: metric_of(server, "penstock_otlp_dropped_total", signal="traces", reason="queue_full"))
    assert dropped >= 40 - 4 * 4 and len(own_sink.requests) == before
    own_sink.hold.set()
    wait_until(lambda: len([span for span in own_sink.spans() if span["kind"] == SERVER]) == 41 - dropped)


def test_a_receiver_that_is_down_gets_it_when_it_is_back_and_what_is_left_at_the_end(start_gateway, upstream, own_sink):
    """The port is a server's that has gone; what cannot be sent at the end does not keep the gateway."""
    gone = Sink()
    gone.close()
    server = start_gateway(config_for(gone.url, ("    interval: 50ms", "    interval: 50ms\n    flush_time: 300ms"), models=upstream.models),
                           environment=ENVIRONMENT)
    assert ask(server) == 200
    wait_until(lambda: metric_of(server, "penstock_otlp_failing", signal="traces") == 1)
    server.stop()
    assert "could not be sent before the end" in server.log_tail()
    # An interval that is never over: only the end sends it.
    server = start_gateway(config_for(own_sink.url, ("    interval: 50ms", "    interval: 1h"), ("metrics_interval: 200ms", "metrics_interval: 1h"),
                                      models=upstream.models), environment=ENVIRONMENT)
    assert ask(server) == 200
    assert own_sink.requests == []
    server.stop()
    assert [span["name"] for span in own_sink.spans() if span["kind"] == SERVER] == ["text_completion away"]
    assert own_sink.points() and own_sink.bad() == []


@pytest.mark.parametrize("change, message", [
    (("endpoint: ENDPOINT", "endpoint: collector:4318"), "collector:4318"),
    (("endpoint: ENDPOINT", "endpoint: http://c/?x=1"), "http://c/?x=1"),
    (("{name: x-tenant, value: one}", "{name: x tenant, value: one}"), "no name of a header"),
    (("{name: x-tenant, value: one}", "{name: x-tenant, value: one, value_env: A}"), "needs one of value"),
    (("deployment.environment.name=test", "deployment"), "key=value"),
    (("http/protobuf", "grpc"), "http/json"),
])
def test_settings_that_are_wrong_are_named(penstock_binary, model_path, tmp_path, change, message):
    import subprocess
    before, after = change
    text = CONFIG.replace("MODELS", HERE)
    assert before in text
    text = text.replace(before, after).replace("ENDPOINT", "http://127.0.0.1:1")
    file = tmp_path / "config.yaml"
    file.write_text(text.replace("{port}", "0").replace("{admin_port}", "0").replace("{model}", str(model_path)))
    result = subprocess.run([penstock_binary, "check", file], capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and message in result.stdout + result.stderr
