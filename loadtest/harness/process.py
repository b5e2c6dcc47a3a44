"""Processes that the comparison starts, and what the kernel knows of them."""

import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

START_SECONDS_MAX = 10
STOP_SECONDS_MAX = 10


class Failed(Exception):
    """A measurement that is no result; the message says why."""


def spawn(command, core, **options):
    """Starts a process on one core."""
    words = [str(word) for word in command]
    return subprocess.Popen(words, preexec_fn=lambda: os.sched_setaffinity(0, {core}), **options)


def end(process):
    """Ends a process that `spawn` started, and only that one."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """The origin or a proxy, running while its `with` block does."""

    def __init__(self, name, command, port, core, scratch, thread=None, headers=()):
        self.name, self.command, self.port, self.core, self.thread = name, command, port, core, thread
        self.headers = dict(line.split(": ", 1) for line in headers)
        self.scratch = Path(scratch)
        self.process = None

    def __enter__(self):
        self.log_path = self.scratch / f"{self.name}.log"
        with open(self.log_path, "wb") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.process = spawn(self.command, self.core, cwd=self.scratch, **streams)
        try:
            self._await_answer()
            if self.thread and self.name.endswith("-uring") and "event loop io_uring" not in self.log_path.read_text():
                raise Failed(f"{self.name} is not on a ring: {self._log_end()}")
        except BaseException:
            end(self.process)
            raise
        return self

    def __exit__(self, *_):
        end(self.process)

    def _await_answer(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}: {self._log_end()}")
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{self.port}/", headers=self.headers)
                with opener.open(request, timeout=2) as response:
                    if len(response.read()) == 1024:
                        return
                raise Failed(f"{self.name} does not answer with the origin's 1 KiB")
            except OSError as error:
                if time.monotonic() > deadline:
                    silent = f"{self.name} does not answer on port {self.port} ({error}): {self._log_end()}"
                    raise Failed(silent) from None
                time.sleep(0.05)

    def _log_end(self):
        return self.log_path.read_text(errors="replace")[-500:].strip()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def pids(self):
        """The process and its children: nginx works in one of them."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def working_tid(self):
        """The thread that does the work: by its name, or the last child, or the process itself."""
        if self.thread:
            for task in Path(f"/proc/{self.process.pid}/task").iterdir():
                if (task / "comm").read_text().strip() == self.thread:
                    return int(task.name)
            raise Failed(f"{self.name} has no thread named {self.thread}")
        return self.pids()[-1]

    def cpu_ns(self):
        """CPU time of all tasks: the first number of schedstat."""
        tasks = (task for pid in self.pids() for task in Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def memory_bytes(self, field):
        """A field of smaps_rollup, as a pattern of its name: exact, where /proc/PID/status is not."""
        pattern = re.compile(rf"^(?:{field}):\s+(\d+) kB$", re.MULTILINE)
        rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids())
        return 1024 * sum(int(kib) for rollup in rollups for kib in pattern.findall(rollup))

    def private_bytes(self):
        return self.memory_bytes("Private_Clean|Private_Dirty")

    def reset_peak(self):
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_bytes(self):
        statuses = (Path(f"/proc/{pid}/status").read_text() for pid in self.pids())
        return 1024 * sum(int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1]) for status in statuses)
