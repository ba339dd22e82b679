"""Receivers of the OpenTelemetry Protocol over HTTP. `Sink` reads what comes with the protocol's own classes (opentelemetry-proto) and
answers as a test wants; `Collector` is rotel, an OpenTelemetry collector written in Rust, which receives on one side and passes
what it has understood on to a sink."""
import base64
import gzip
import http.server
import json
import pathlib
import subprocess
import threading
import urllib.request

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from support.observe import listening_ports, wait_until

KINDS = {"/v1/traces": (trace_service_pb2.ExportTraceServiceRequest, trace_service_pb2.ExportTraceServiceResponse),
         "/v1/metrics": (metrics_service_pb2.ExportMetricsServiceRequest, metrics_service_pb2.ExportMetricsServiceResponse)}
PROTOBUF, JSON = "application/x-protobuf", "application/json"


def value_of(value):
    """A Python value of an AnyValue."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind)


def attributes_of(thing):
    return {pair.key: value_of(pair.value) for pair in thing.attributes}


def json_ids_as_base64(tree):
    """The protocol's JSON has ids in hexadecimal, where protobuf's own mapping, which reads it here, has base64."""
    for name, value in list(tree.items()):
        if name in ("traceId", "spanId", "parentSpanId"):
            tree[name] = base64.b64encode(bytes.fromhex(value)).decode()
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, dict):
                json_ids_as_base64(child)


def parse(path, content_type, body):
    """The request as a message; raises where it is not good."""
    message = KINDS[path][0]()
    if content_type == JSON:
        tree = json.loads(body)
        json_ids_as_base64(tree)
        json_format.ParseDict(tree, message)  # unknown names are errors
    else:
        assert content_type == PROTOBUF, content_type
        message.ParseFromString(body)
        message.DiscardUnknownFields()
        assert message.ByteSize() == len(body), "unknown fields, or fields at their defaults"
    return message


class Sink:
    """`answers` is a list of (status, headers, body) that are given before 200 is, or a function of (path, content type)."""

    def __init__(self):
        self.requests = []  # (path, headers, message or None) in order
        self.answers = []
        self.hold = None  # an Event: answers wait for it
        self.came = threading.Semaphore(0)
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status, headers, answer = sink.take(self.path, dict(self.headers), body)
                if sink.hold is not None:
                    sink.hold.wait(60)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    pass  # nobody waits for it any more

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self, path, headers, body):
        content_type = headers.get("content-type") or headers.get("Content-Type")
        status, more, answer = self.answers.pop(0) if self.answers else (200, {}, None)
        message = error = None
        try:
            message = parse(path, content_type, body)
        except Exception as exception:  # told to the test by bad()
            error = exception
        self.requests.append((path, headers, message, status, error))
        if answer is None:
            answer = b"{}" if content_type == JSON else b""
        return status, {"content-type": content_type, **more}, answer

    def close(self):
        if self.hold is not None:
            self.hold.set()
        self.server.shutdown()
        self.server.server_close()

    def bad(self):
        return [str(error) for *_, error in list(self.requests) if error is not None]

    def spans(self):
        """What has been answered with 200, as {name: ...} dictionaries."""
        found = []
        for path, _, message, status, _ in list(self.requests):
            if path != "/v1/traces" or status != 200 or message is None:
                continue
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        found.append({"name": span.name, "kind": span.kind, "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                                      "parent": span.parent_span_id.hex(), "start": span.start_time_unix_nano,
                                      "end": span.end_time_unix_nano, "status": span.status.code, **{"attributes": attributes_of(span)},
                                      "events": [event.name for event in span.events], "scope": scope.scope.name,
                                      "resource": attributes_of(resource.resource)})
        return found

    def trace(self, trace):
        return [span for span in self.spans() if span["trace"] == trace]

    def points(self):
        """The histograms' points that came last: {(metric, attributes sorted): point}."""
        found = {}
        for path, _, message, status, _ in list(self.requests):
            if path != "/v1/metrics" or status != 200 or message is None:
                continue
            for resource in message.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        assert metric.histogram.aggregation_temporality == 2
                        for point in metric.histogram.data_points:
                            found[(metric.name, tuple(sorted(attributes_of(point).items())))] = (metric.unit, point)
        return found


class Collector:
    """rotel: gRPC and HTTP on free ports, what it receives goes to `sink`."""

    def __init__(self, sink, folder):
        import rotel
        program = pathlib.Path(rotel.__file__).parent / "rotel-agent"
        self.log = open(folder / "rotel.log", "wb")
        self.process = subprocess.Popen(
            [program, "start", "--otlp-grpc-endpoint", "127.0.0.2:0", "--otlp-http-endpoint", "127.0.0.1:0", "--exporter", "otlp",
             "--otlp-exporter-endpoint", sink.url, "--otlp-exporter-protocol", "http", "--otlp-exporter-compression", "none",
             "--batch-timeout", "50ms", "--log-file", folder / "rotel-agent.log", "--pid-file", folder / "rotel.pid"],
            stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        ports = wait_until(lambda: self.process.poll() is not None or (listening_ports(self.process.pid) if
                           len(listening_ports(self.process.pid)) == 2 else None), what="the collector")
        assert self.process.poll() is None, (folder / "rotel.log").read_text()
        self.url = wait_until(lambda: next((f"http://127.0.0.1:{port}" for port in ports if self.speaks_http1(port)), None))

    @staticmethod
    def speaks_http1(port):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/traces", data=b"", headers={"content-type": PROTOBUF})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status == 200
        except Exception:
            return False

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()
