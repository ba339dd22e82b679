"""What the processes of a server hold over time: samples, trends, a picture."""
import http.client
import os
import pathlib
import re
import socket
import statistics

COLOURS = ["#1f6fb2", "#c0504d", "#5a8f3c"]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Process:
    """One process of the server, by what /proc says."""

    def __init__(self, pid):
        self.pid = pid
        arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        self.name = "replica" if b"replica" in arguments else "gateway"
        listen = next((a for a in arguments if a.startswith(b"unix:")), None)
        self.socket = listen[len("unix:"):].decode() if listen else None

    def sample(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        fields = dict(re.findall(r"^(\w+):\s+(\d+)", status, re.M))
        return {"rss_bytes": int(fields["VmRSS"]) * 1024, "threads": int(fields["Threads"]),
                "fds": len(os.listdir(f"/proc/{self.pid}/fd"))}


def processes_of(pid):
    """The process and its children, whichever thread started them."""
    lists = [path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children")]
    return [Process(pid)] + [Process(int(child)) for child in " ".join(lists).split()]


def replica_metrics(process):
    """{name: sum over labels} of the replica's own metrics, and its cache: blocks and tokens of a block."""
    connection = UnixConnection(process.socket)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    values = {}
    for name, value in re.findall(r"^([\w:]+)(?:{[^}]*})? ([-+.\deE]+)$", text, re.M):
        values[name] = values.get(name, 0.0) + float(value)
    labels = re.search(r"^vllm:cache_config_info{([^}]*)}", text, re.M).group(1)
    cache = {key: int(value) for key, value in re.findall(r'(\w+)="(\d+)"', labels)}
    return values, cache


def trend(times, values):
    """Least-squares slope (units a second), and the medians of the first and the last third."""
    mean_time, mean = statistics.fmean(times), statistics.fmean(values)
    spread = sum((t - mean_time) ** 2 for t in times)
    slope = sum((t - mean_time) * (v - mean) for t, v in zip(times, values)) / spread if spread else 0.0
    third = max(1, len(values) // 3)
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return {"slope_per_s": slope, "first_third": first, "last_third": last, "growth": last - first,
            "min": min(values), "max": max(values)}


def write_svg(path, samples, names, counted_from):
    """Resident memory of each process, relative to its largest, and the share of the cache in use (grey)."""
    width, height, left = 900, 300, 40
    end = samples[-1]["seconds"]

    def line(values, top, colour):
        points = " ".join(f"{left + width * s['seconds'] / end:.1f},{height * (1 - v / top):.1f}"
                          for s, v in zip(samples, values))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -20 {width + left + 20} {height + 60}" '
             'font-family="sans-serif" font-size="12"><rect x="-20" y="-20" width="100%" height="100%" fill="white"/>',
             line([s["cache_used"] for s in samples], 1.05, "#bbbbbb")]
    for index, name in enumerate(names):
        values = [s["processes"][name]["rss_bytes"] for s in samples]
        colour = COLOURS[index % len(COLOURS)]
        parts.append(line(values, 1.05 * max(values), colour))
        parts.append(f'<text x="{left + 250 * index}" y="{height + 30}" fill="{colour}">{name}: at most '
                     f'{max(values) / 2**20:.1f} MiB resident</text>')
    x = left + width * counted_from / end
    parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}" stroke="#888888" stroke-dasharray="4"/>')
    parts.append(f'<line x1="{left}" x2="{left + width}" y1="{height}" y2="{height}" stroke="black"/>'
                 f'<text x="{left + width - 60}" y="{height + 15}">{end / 60:.1f} min</text></svg>')
    path.write_text("\n".join(parts))
