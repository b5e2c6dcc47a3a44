"""User instructions and system calls of one thread, counted by perf between two moments."""

import functools
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from .process import Failed, end

# Calls that wait, by their numbers: how often a loop sleeps depends on the load, so they are counted apart.
WAITS = {
    "x86_64": {"epoll_wait": 232, "epoll_pwait": 281, "epoll_pwait2": 441},
    "aarch64": {"epoll_pwait": 22, "epoll_pwait2": 441},
}

INSTRUCTIONS = "instructions:u"
SYSCALLS = "raw_syscalls:sys_enter"


@functools.cache
def counts_instructions():
    """Whether this machine lets perf count them: many virtual ones hide the processor's counters."""
    command = ["perf", "stat", "-x", ",", "-e", INSTRUCTIONS, "true"]
    said = subprocess.run(command, capture_output=True, text=True).stderr
    return any(line.split(",")[0].isdigit() for line in said.splitlines() if INSTRUCTIONS in line)


class Counters:
    """Counts of some events for one thread from `start` to `stop`."""

    def __init__(self, tid, events):
        self.tid, self.events = tid, events

    def start(self):
        waits = WAITS.get(platform.machine())
        if waits is None or not shutil.which("perf"):
            raise Failed("perf is not here, or this machine's wait calls are not known")
        self.output = tempfile.NamedTemporaryFile(prefix="perf-")
        to_perf, self.control = os.pipe()
        self.acknowledged, from_perf = os.pipe()
        no_waits = " && ".join(f"id != {number}" for number in waits.values())
        command = ["perf", "stat", "-x", ",", "-o", self.output.name, "-t", str(self.tid), "-D", "-1"]
        command += ["--control", f"fd:{to_perf},{from_perf}"]
        for event in self.events:
            command += ["-e", event, *(["--filter", no_waits] if event == SYSCALLS else [])]
        self.process = subprocess.Popen(command, pass_fds=(to_perf, from_perf), stderr=subprocess.PIPE)
        os.close(to_perf)
        os.close(from_perf)
        self._command(b"enable\n")

    def stop(self):
        """One count an event."""
        self._command(b"disable\n")
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=10)
        os.close(self.control)
        os.close(self.acknowledged)
        counts = {}
        for line in Path(self.output.name).read_text().splitlines():
            fields = line.split(",")
            if len(fields) > 2 and fields[0].isdigit():
                counts[fields[2]] = int(fields[0])
        self.output.close()
        if any(event not in counts for event in self.events):
            raise Failed(f"perf cannot count {' and '.join(self.events)} here")
        return [counts[event] for event in self.events]

    def _command(self, command):
        try:
            os.write(self.control, command)
            answered = os.read(self.acknowledged, 16)
        except BrokenPipeError:
            answered = b""
        if not answered:
            end(self.process)
            raise Failed(f"perf cannot count here: {self.process.stderr.read().decode(errors='replace').strip()[:300]}")
