"""The load generator, driven line by line."""

import json
import select
import subprocess
import time

from .process import Failed, end, spawn

LINE_SECONDS_MAX = 120


class Load:
    """One run of the `load` binary, its connections open while the `with` block lasts."""

    def __init__(self, binary, core, address, *options):
        self.command = [binary, address, *options]
        self.core = core
        self.pending = b""

    def __enter__(self):
        self.process = spawn(self.command, self.core, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        return self

    def __exit__(self, kind, *_):
        # The end of stdin lets it go; it then exits with 0 only when every answer was right.
        self.process.stdin.close()
        if kind is not None:
            end(self.process)
        try:
            code = self.process.wait(LINE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            end(self.process)
            code = "a timeout"
        self.process.stdout.close()
        if code != 0 and kind is None:
            raise Failed(f"the load generator ended with {code}: {' '.join(map(str, self.command))}")

    def line(self):
        """The next line that it says."""
        deadline = time.monotonic() + LINE_SECONDS_MAX
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            chunk = self.process.stdout.read(4096) if ready else b""
            if not chunk:
                raise Failed(f"the load generator said nothing more: {' '.join(map(str, self.command))}")
            self.pending += chunk
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode()

    def ready(self):
        said = self.line()
        if said != "ready":
            raise Failed(f"the load generator said {said!r}, not ready")

    def go(self):
        self.process.stdin.write(b"\n")

    def is_over(self):
        """Whether it has said its result."""
        return bool(self.pending or select.select([self.process.stdout], [], [], 0)[0])

    def result(self):
        return json.loads(self.line())
