"""User instructions of one server where the processor's own counters are hidden: counted by valgrind, at a low rate."""

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from .process import Failed

# What a server so slow can answer at once: each event then has a turn of the event loop for itself.
RATE = 400
FEW, MANY, WARM_UP = 400, 2_400, 600

# How long a command to valgrind takes effect after it was answered.
SETTLE_SECONDS = 0.5


class Callgrind:
    """A folder for the counts, and what has valgrind run a command and write them there."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="callgrind-")
        # Workers may be of another user.
        os.chmod(self.folder.name, 0o777)
        out = Path(self.folder.name) / "%p"
        self.command = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={out}"]
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def slope(self, pid, ask):
        """Instructions a request: `ask` has so many requests answered."""
        ask(WARM_UP)
        self._control("-z", pid)
        ask(FEW)
        self._control("-d", pid)
        ask(MANY)
        self._control("-d", pid)
        return (self._count(2) - self._count(1)) / (MANY - FEW)

    def _control(self, what, pid):
        time.sleep(SETTLE_SECONDS)
        said = subprocess.run(["callgrind_control", what, str(pid)], capture_output=True, text=True)
        if said.returncode != 0:
            raise Failed(f"callgrind_control {what}: {said.stdout.strip()} {said.stderr.strip()}")
        time.sleep(SETTLE_SECONDS)

    def _count(self, number):
        """Of the thread that did most, whatever its process: a child's files have its parent's number in their names."""
        counts = []
        for file in Path(self.folder.name).glob(f"*.{number}-*"):
            counts += map(int, re.findall(r"^(?:totals|summary): (\d+)$", file.read_text(), re.MULTILINE))
        if not counts:
            raise Failed("valgrind left no counts")
        return max(counts)
