"""The gateway as the scenarios of operation run it: its file, its processes, and what it says of itself."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from .process import Failed, end

WAIT_SECONDS_MAX = 30
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def configuration(port, admin_port, origin, shards=1, routes=0, mark=0, event_loop="auto"):
    """A gateway's file. With `routes` more routes, and `mark` to make one file differ from another."""
    lines = [
        "version: 1",
        f'listeners: [{{ name: public, address: "127.0.0.1:{port}" }}]',
        f'admin: {{ address: "127.0.0.1:{admin_port}" }}',
        f"runtime: {{ shards: {shards}, pin: always, event_loop: {event_loop} }}",
        "access_log: { enabled: false }",
        "shutdown: { drain_timeout_ms: 10000 }",
        f"limits: {{ connections_per_client_max: 20000, retry_after_s: {1 + mark % 100} }}",
        "services:",
        f'  - {{ name: origin, endpoints: ["{origin}"], timeouts: {{ idle_ms: {60_000 + mark} }} }}',
        "routes:",
        '  - { name: all, paths: ["/"], service: origin }',
    ]
    lines += [f'  - {{ name: route-{n}, paths: ["/route/{n}"], service: origin }}' for n in range(routes)]
    return "\n".join(lines) + "\n"


class Gateway:
    """One process of it, ended when its `with` block ends."""

    def __init__(self, binary, file, cores, admin_port, *arguments):
        self.command = [str(binary), "run", str(file), *map(str, arguments)]
        self.cores, self.admin_port, self.file = cores, admin_port, Path(file)

    def __enter__(self):
        self.log = open(self.file.with_suffix(f".{time.monotonic_ns()}.log"), "w+b")
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            preexec_fn=lambda: os.sched_setaffinity(0, self.cores),
        )
        try:
            self.until("it listens", lambda: "listening on" in self.said())
            self._make_room()
        except BaseException:
            end(self.process)
            raise
        return self

    def __exit__(self, *_):
        end(self.process)
        self.log.close()

    def _make_room(self):
        """Two cores are few: what is no shard goes where the clients are, as it would where cores are left over."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            if not (task / "comm").read_text().startswith("shard-"):
                os.sched_setaffinity(int(task.name), {max(self.cores)})

    def said(self):
        return Path(self.log.name).read_text(errors="replace")

    def until(self, what, condition):
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not condition():
            if self.process.poll() is not None:
                raise Failed(f"the gateway ended with {self.process.returncode} before {what}: {self.said()[-500:]}")
            if time.monotonic() > deadline:
                raise Failed(f"waited in vain until {what}: {self.said()[-500:]}")
            time.sleep(0.005)

    def signal(self, number):
        self.process.send_signal(number)

    def reload(self, text):
        """Puts another file in the place of the one that is in force, and waits until every shard goes by it."""
        generation = self.status()["configuration"]["generation"] + 1
        beside = self.file.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.file)
        self.signal(signal.SIGHUP)
        self.until("it is in force", lambda: self.status()["configuration"]["generation"] >= generation)

    def ended_well(self):
        try:
            code = self.process.wait(WAIT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Failed(f"the gateway does not end: {self.said()[-500:]}") from None
        if code != 0:
            raise Failed(f"the gateway ended with {code}: {self.said()[-500:]}")

    def page(self, path):
        with OPENER.open(f"http://127.0.0.1:{self.admin_port}{path}", timeout=10) as response:
            return response.read()

    def status(self):
        return json.loads(self.page("/status"))["shardgate"]

    def metrics(self):
        """Every sample by its name and labels, as they are written."""
        return dict(line.rsplit(" ", 1) for line in self.page("/metrics").decode().splitlines() if line[:1] != "#")

    def cpu_ns(self, threads=""):
        """CPU time of the threads whose name matches."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        mine = [task for task in tasks if re.match(threads, (task / "comm").read_text())]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in mine)

    def control_cpu_ns(self):
        """Of the control thread, which is the process's first."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])
