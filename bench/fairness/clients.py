"""Clients of a gateway that cost little themselves: what is measured shares its cores with them.

  python clients.py backlog PORT '[["key", streams, prompt words, tokens], ...]'
      keeps event streams open until its standard input ends, and then prints how many tokens each key got in each tenth of a
      second, as JSON: {"tokens": {key: [count, ...]}}
  python clients.py questions PORT '["key", first number, count, prompt words, tokens, pause in seconds]'
      asks one after the other, and prints of each how long its first token took, in seconds, and how long it waited in the
      gateway, in milliseconds: [[seconds, milliseconds], ...]
"""
import json
import selectors
import socket
import sys
import time

WINDOW_S = 0.1
EVENT = b"data: {"
END = b"data: [DONE]"


def request(key, prompt, max_tokens):
    body = json.dumps({"model": "smollm2", "prompt": prompt, "max_tokens": max_tokens, "stream": True, "ignore_eos": True})
    return (f"POST /v1/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}").encode()


def words(number, count):
    """A prompt that shares no beginning with another one, of about so many tokens."""
    names = ("river", "mill", "stone", "cloud", "field", "light", "road", "winter")
    return f"{number}: " + " ".join(names[(number + i * i) % len(names)] for i in range(count))


class Question:
    """One streamed answer, on a connection that is kept."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, key, prompt, max_tokens):
        """(seconds to the first token, milliseconds that it waited in the gateway)"""
        start, first, text = time.monotonic(), None, b""
        self.socket.sendall(request(key, prompt, max_tokens))
        while END not in text:
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError(text.decode(errors="replace"))
            text += piece
            if first is None and EVENT in text:
                first = time.monotonic() - start
        head, _, _ = text.partition(b"\r\n\r\n")
        if first is None or b" 200 " not in head.split(b"\r\n")[0] + b" ":
            raise RuntimeError(text[:500].decode(errors="replace"))
        waits = [line for line in head.lower().split(b"\r\n") if line.startswith(b"x-queue-wait-ms:")]
        while not text.endswith(b"0\r\n\r\n"):
            text += self.socket.recv(65536)
        return first, int(waits[0].split(b":")[1]) if waits else 0


class Stream:
    """A place that is always taken: one request after the other."""

    def __init__(self, port, key, number, prompt_words, max_tokens):
        self.port, self.key, self.number = port, key, number
        self.prompt_words, self.max_tokens = prompt_words, max_tokens
        self.turn, self.socket, self.tail = 0, None, b""

    def begin(self, selector):
        self.turn += 1
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port))
            selector.register(self.socket, selectors.EVENT_READ, self)
        prompt = words(self.number * 10007 + self.turn, self.prompt_words)
        self.socket.sendall(request(self.key, prompt, self.max_tokens))
        self.tail = b""

    def read(self, selector):
        """How many tokens came."""
        piece = self.socket.recv(262144)
        if not piece:
            selector.unregister(self.socket)
            self.socket = None
            self.begin(selector)
            return 0
        text = self.tail + piece
        count = text.count(EVENT) - self.tail.count(EVENT)
        self.tail = text[-64:]
        if text.endswith(b"0\r\n\r\n"):
            self.begin(selector)
        return count


def questions(port, key, first, count, prompt_words, max_tokens, pause_s):
    connection, answers = Question(port), []
    for number in range(first, first + count):
        answers.append(connection.ask(key, words(number, prompt_words), max_tokens))
        time.sleep(pause_s)
    return answers


def backlog(port, groups):
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    start, tokens = time.monotonic(), {}
    number = 0
    for key, count, prompt_words, max_tokens in groups:
        tokens[key] = []
        for _ in range(count):
            number += 1
            Stream(port, key, number, prompt_words, max_tokens).begin(selector)
    while True:
        for ready, _ in selector.select():
            if ready.data is None:
                return {"tokens": tokens}
            window = int((time.monotonic() - start) / WINDOW_S)
            for counts in tokens.values():
                counts.extend([0] * (window + 1 - len(counts)))
            tokens[ready.data.key][window] += ready.data.read(selector)


def main():
    mode, port, what = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    print(json.dumps(backlog(port, what) if mode == "backlog" else questions(port, *what)), flush=True)


if __name__ == "__main__":
    main()
