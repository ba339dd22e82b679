"""A server of models' files that does what real ones do, and what broken or hostile ones do."""
import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """`with Hub() as hub:` serves `hub.files` (path in the repository -> bytes); what it was asked is in `hub.asked`, one (path, headers)
    each. The rest says what goes wrong."""

    def __init__(self):
        self.files, self.large = {}, set()  # `large`: those with an SHA-256 of their own, as Git LFS keeps them
        self.asked = []
        self.cut_after = []       # bytes of an answer after which its connection breaks, one for each answer to come
        self.has_ranges = True
        self.tag = '"v1"'         # None: no ETag
        self.change_after = None  # answers of files after which the file is another one
        self.refuse = []          # status codes of the next answers; 200: as usual
        self.listed_bytes = {}    # path -> a size that the listing claims
        self.redirect = None      # base URL of another server that has the files
        self.token = None
        self.page_count = 1
        self.next_page = None     # base URL that the listing's next page is said to be at
        self.revision = "main"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def of_files(self):
        return [headers for path, headers in self.asked if "/api/" not in path]

    def listing(self):
        rows = []
        for path, content in self.files.items():
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            row = {"type": "file", "path": path, "size": self.listed_bytes.get(path, len(content)), "oid": oid}
            if path in self.large:
                row["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            rows.append(row)
        return [{"type": "directory", "path": "sub", "size": 0, "oid": COMMIT}, *rows]

    def handler(hub):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def answer(self, code, body=b"", headers=(), cut=None):
                self.send_response(code)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body if cut is None else body[:cut])
                if cut is not None:
                    self.close_connection = True

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                hub.asked.append((self.path, dict(self.headers)))
                refusal = hub.refuse.pop(0) if hub.refuse else 200
                if refusal != 200:
                    self.answer(refusal, b"not now")
                elif hub.token and self.headers.get("authorization") != f"Bearer {hub.token}":
                    self.answer(401, b"{}")
                elif url.path == f"/api/models/org/name/revision/{hub.revision}":
                    self.answer(200, json.dumps({"sha": COMMIT}).encode())
                elif url.path == f"/api/models/org/name/tree/{COMMIT}":
                    self.page(int(urllib.parse.parse_qs(url.query).get("page", ["0"])[0]))
                elif url.path.startswith(f"/org/name/resolve/{COMMIT}/"):
                    self.file(urllib.parse.unquote(url.path.split(COMMIT + "/")[1]))
                elif url.path.startswith("/file/"):
                    self.file(urllib.parse.unquote(url.path[6:]))
                else:
                    self.answer(404, b"{}")

            def page(self, number):
                rows = hub.listing()
                size = -(-len(rows) // hub.page_count)
                headers = []
                if number + 1 < hub.page_count:
                    base = hub.next_page or hub.url
                    headers = [("Link", f'<{base}/api/models/org/name/tree/{COMMIT}?page={number + 1}>; rel="next"')]
                self.answer(200, json.dumps(rows[number * size:(number + 1) * size]).encode(), headers)

            def file(self, path):
                if hub.redirect:
                    self.answer(302, b"", [("Location", f"{hub.redirect}/file/{urllib.parse.quote(path)}")])
                    return
                if path not in hub.files:
                    self.answer(404)
                    return
                if hub.change_after is not None:
                    hub.change_after -= 1
                    if hub.change_after < 0:
                        hub.tag, hub.change_after = '"v2"', None
                        hub.files[path] = bytes(reversed(hub.files[path]))
                content, begin = hub.files[path], 0
                wanted = self.headers.get("range")
                if wanted and hub.has_ranges and self.headers.get("if-range") in (None, hub.tag):
                    begin = int(wanted.split("=")[1].rstrip("-"))
                headers = [("ETag", hub.tag)] if hub.tag else []
                if begin >= len(content) > 0:
                    self.answer(416, b"", [*headers, ("Content-Range", f"bytes */{len(content)}")])
                    return
                if begin:
                    headers.append(("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}"))
                self.answer(206 if begin else 200, content[begin:], headers, hub.cut_after.pop(0) if hub.cut_after else None)

        return Handler
