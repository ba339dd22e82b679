"""A program in a terminal of its own: a pty, and pyte as what shows it."""
import fcntl
import os
import select
import struct
import subprocess
import termios
import time

import pyte


class Terminal:
    def __init__(self, command, columns=80, lines=24, environment=None):
        self.master, self.slave = os.openpty()
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._size_set(columns, lines)
        self.attributes = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen([str(part) for part in command], preexec_fn=lambda: os.login_tty(os.dup(self.slave)),
                                        env={**os.environ, "TERM": "xterm-256color", **(environment or {})})

    def _size_set(self, columns, lines):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns, lines):
        """The kernel tells the program."""
        self.screen.resize(lines, columns)
        self._size_set(columns, lines)

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds=0.05):
        """What has been written by now."""
        while select.select([self.master], [], [], seconds)[0]:
            data = os.read(self.master, 65536)
            self.raw += data
            self.stream.feed(data)
            seconds = 0

    def text(self):
        return "\n".join(self.screen.display)

    def wait(self, condition, what, seconds=60):
        """Until condition(text) of what is on the screen."""
        end = time.monotonic() + seconds
        while not condition(self.text()):
            assert time.monotonic() < end, f"{what} did not come; the screen:\n{self.text()}"
            self.read()

    def end(self, seconds=60):
        """Waits for the program's end. Its exit status."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, "the program goes on"
            self.read()
        self.read(0)
        return self.process.returncode

    def is_as_before(self):
        """Whether the program has left the terminal as it found it."""
        return termios.tcgetattr(self.slave) == self.attributes

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self.master)
        os.close(self.slave)
