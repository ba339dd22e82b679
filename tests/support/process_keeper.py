"""Runs a command and keeps hold of all that descends from it, also of what makes itself a daemon.

    python3 process_keeper.py PARENT_PID COMMAND...

The first line of its output is the command's process id. On SIGTERM, or when its parent has ended, it kills every descendant and
ends; and it ends by itself when none is left. So whoever starts a program through it leaves nothing behind, however he ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue  # it has just ended
            children.setdefault(parent, []).append(int(entry.name))
    found, at = list(children.get(root, [])), 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found


def _reap() -> bool:
    """Whether any child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return False
    return True


def _kill_all() -> None:
    while _reap():
        for pid in _descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        signal.sigtimedwait({signal.SIGCHLD}, 0.02)


def main(parent: int, command: list[str]) -> None:
    libc = ctypes.CDLL(None)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return
    child = subprocess.Popen(command, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS))
    print(child.pid, flush=True)
    while _reap():
        if signal.sigwait(_SIGNALS) != signal.SIGCHLD:
            _kill_all()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
