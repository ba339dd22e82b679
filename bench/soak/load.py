"""Mixed load for the soak test: serving_bench in several shapes at once, and clients that misbehave."""
import http.client
import itertools
import json
import random
import subprocess
import threading

SLICE_S = 15  # a shape's connections and conversations last this long, then come anew

# serving_bench's options. Together about twenty streams: short and long prompts, prefixes that many share, conversations
# that carry their answers, and arrivals that do not wait for one another.
SHAPES = {
    "short": ["--concurrency", 6, "--prompt-words", 40, "--output-tokens", 64],
    "long": ["--concurrency", 2, "--prompt-words", 1200, "--output-tokens", 32],
    "shared": ["--concurrency", 4, "--shared-words", 500, "--groups", 8, "--prompt-words", 30, "--output-tokens", 48],
    "turns": ["--concurrency", 3, "--turns", 5, "--prompt-words", 60, "--output-tokens", 60],
    "poisson": ["--concurrency", 16, "--rate", 2, "--prompt-words", 80, "--output-tokens", 40],
}

# What a server must refuse: body, and the answer it has to give.
BAD_BODIES = [
    (b"{\"model\": \"", 400),
    (b"{\"model\": \"MODEL\", \"messages\": \"no list\"}", 400),
    (b"{\"model\": \"nobody\", \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}", 404),
    (b"{\"model\": \"MODEL\", \"temperature\": -7, \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}", 400),
    (b"{\"model\": \"MODEL\", \"messages\": [{\"role\": \"user\", \"content\": \"" + b"long " * 5000 + b"\"}]}", 400),
]


class Load:
    """Threads that send until stop(). Counters are of this object's own threads; reading them needs no lock."""

    def __init__(self, program, port, model):
        self.program, self.port, self.model = program, port, model
        self.counts = {"requests": 0, "errors": 0, "output_tokens": 0, "cancelled": 0, "refused": 0}
        self.failures = []  # texts of what must not happen
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        bodies = [self._run_shape(name, options) for name, options in SHAPES.items()]
        bodies += [self._cancel_streams(), self._cancel_streams(), self._send_bad_requests()]
        self._threads = [threading.Thread(target=self._guarded, args=(body,)) for body in bodies]

    def start(self):
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, body):
        try:
            for step in body:
                self._add(**step)
                if self._stopping.is_set():
                    return
        except Exception as error:  # whatever ends a client early is a finding
            self._fail(repr(error))

    def _add(self, **counts):
        with self._lock:
            for name, count in counts.items():
                self.counts[name] += count

    def _fail(self, text):
        with self._lock:
            self.failures.append(text)

    def _run_shape(self, name, options):
        for seed in itertools.count(1):
            command = [self.program, "--url", f"127.0.0.1:{self.port}", "--model", self.model, "--name", name,
                       "--requests", 1_000_000, "--duration", SLICE_S, "--seed", seed, *options]
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
            if not done.stdout:
                raise RuntimeError(f"{name}: {done.stderr.strip()}")
            report = json.loads(done.stdout)
            yield {"requests": report["requests"], "errors": report["errors"], "output_tokens": report["output_tokens"]}

    def _post(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        return connection, connection.getresponse()

    def _cancel_streams(self):
        """Leaves in the middle of an answer: after the head, or after some events."""
        chance = random.Random(5)
        while True:
            words = " ".join(chance.choice(["river", "mill", "gate", "weir"]) for _ in range(chance.randrange(5, 300)))
            body = {"model": self.model, "stream": True, "max_tokens": 400, "ignore_eos": True,
                    "messages": [{"role": "user", "content": words}]}
            connection, response = self._post(json.dumps(body))
            if response.status == 200:
                for _ in range(chance.randrange(0, 60)):
                    response.readline()
            elif response.status not in (429, 503):
                self._fail(f"a stream was answered with {response.status}")
            response.close()
            connection.close()
            yield {"cancelled": 1}
            self._stopping.wait(0.2)

    def _send_bad_requests(self):
        for body, expected in itertools.cycle(BAD_BODIES):
            connection, response = self._post(body.replace(b"MODEL", self.model.encode()))
            response.read()
            if response.status != expected:
                self._fail(f"{body[:80]!r} was answered with {response.status}, not {expected}")
            connection.close()
            yield {"refused": 1}
            self._stopping.wait(0.1)
