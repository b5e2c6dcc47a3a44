"""The scenarios. Each runs rounds in which every proxy has its turn, A B C A B C, and knows the bars it decides."""

import json
import time
from collections import defaultdict

from . import callgrind
from .counters import INSTRUCTIONS, SYSCALLS, Counters, counts_instructions
from .load import Load
from .process import Failed
from .samples import Bar, Samples

GATEWAY = "shardgate"
# The gateway with policies.
CHAIN = f"{GATEWAY}-chain"

# What a floor must show of itself before it may be compared with.
FLOOR_SYSCALLS_MAX = 4.1
FLOOR_INSTRUCTIONS_MAX = 4000

RATE = 20_000

# Between the first request on every connection, all at once, and those that are measured: connections to the origin
# that were made for the burst, and are more than are kept, are closed meanwhile. And between a start and a response
# whose memory is measured.
SETTLE_SECONDS = 1

# How often one turn is tried.
TRIES = 3


class Scenario:
    """`bench` gives the proxies, the load generator and whether to be quick."""

    # Of every request.
    headers = ()

    def __init__(self, bench):
        self.bench = bench
        self.samples = Samples()
        # Why turns of a proxy failed; after TRIES of one turn it takes no more.
        self.failures = defaultdict(list)
        self.out = set()

    @property
    def columns(self):
        """Who takes turns."""
        return self.bench.proxies

    def round(self):
        for proxy in self.columns:
            if proxy not in self.out:
                self.try_turn(proxy)

    def whole_turn(self, proxy):
        with self.bench.start(proxy, headers=self.headers) as server:
            self.turn(proxy, server)

    def try_turn(self, proxy, turn=None):
        """A turn that something else on the machine spoilt is taken again at once."""
        for _ in range(TRIES):
            try:
                (turn or self.whole_turn)(proxy)
                self.samples.keep()
                return
            except (Failed, OSError) as failure:
                self.samples.discard()
                self.failures[proxy].append(str(failure))
        self.out.add(proxy)

    def bars(self):
        return []

    def lines(self):
        """The headers, as the load generator takes them."""
        return [word for line in self.headers for word in ("--header", line)]

    def measured(self, server, *options):
        """One gated run: its own result, and the CPU time that the proxy took for it."""
        with self.bench.load(server, *options, "--gate") as load:
            load.ready()
            time.sleep(SETTLE_SECONDS)
            before, start = server.cpu_ns(), time.monotonic()
            load.go()
            result = load.result()
            elapsed = time.monotonic() - start
            result["cpu_us"] = (server.cpu_ns() - before) / 1000 / result["requests"]
            result["busy"] = result["cpu_us"] * result["requests"] / 1e6 / elapsed
            return result


class Counts(Scenario):
    """Instructions and system calls a request, as slopes: what a run costs besides its requests cancels out."""

    metrics = ("user instructions", "system calls, waits apart")
    few, many = 2_000, 12_000
    rounds_max = 3

    @property
    def title(self):
        how = "" if counts_instructions() else f"; instructions by valgrind at {callgrind.RATE} requests/s"
        return f"Counts a request, 64 connections, {RATE:,} requests/s{how}"

    def turn(self, proxy, server):
        events = {SYSCALLS: self.metrics[1]}
        if counts_instructions():
            events[INSTRUCTIONS] = self.metrics[0]
        few, many = (self._count(server, requests, list(events)) for requests in (self.few, self.many))
        for metric, low, high in zip(events.values(), few, many):
            self.samples.add(metric, proxy, (high - low) / (self.many - self.few))

    def round(self):
        super().round()
        if not counts_instructions():
            for proxy in self.columns:
                if proxy not in self.out and len(self.samples.of(self.metrics[0], proxy)) == 0:
                    self.try_turn(proxy, self._emulated)

    def _emulated(self, proxy):
        """Once: valgrind counts the same every time, slowly."""
        with callgrind.Callgrind() as counts, self.bench.start(proxy, counts.command, self.headers) as server:

            def ask(requests):
                options = ("--rate", callgrind.RATE, "--requests", requests, *self.lines())
                with self.bench.load(server, *options) as load:
                    load.ready()
                    load.result()

            self.samples.add(self.metrics[0], proxy, counts.slope(server.pids()[-1], ask))

    def _count(self, server, requests, events):
        with self.bench.load(server, "--rate", RATE, "--requests", requests, "--gate", *self.lines()) as load:
            load.ready()
            counters = Counters(server.working_tid(), events)
            counters.start()
            load.go()
            load.result()
            # The last answer is on its way to the client before the proxy has gone to sleep.
            time.sleep(0.05)
            return counters.stop()

    def floor_fits(self):
        """Whether the floor is one: None when it was not counted."""
        held = [bar.held() for bar in self._floor_bars()]
        return None if None in held else all(held)

    def bars(self):
        instructions, calls = (self.samples.of(metric, GATEWAY) for metric in self.metrics)
        return [
            *self._floor_bars(),
            Bar("user instructions a request", instructions, 9000),
            Bar("system calls a request", calls, 4.2),
            self._allocations(),
        ]

    def _floor_bars(self):
        instructions, calls = (self.samples.of(metric, "floor") for metric in self.metrics)
        return [
            Bar("floor: user instructions a request", instructions, FLOOR_INSTRUCTIONS_MAX),
            Bar("floor: system calls a request", calls, FLOOR_SYSCALLS_MAX),
        ]

    def _allocations(self):
        """Counted by a test of the library itself, which leaves what it found."""
        try:
            found = json.loads((self.bench.results / "allocations.json").read_text())
            values = [found["allocations_per_request"]]
        except (OSError, ValueError, KeyError):
            values = []
        return Bar("heap allocations a request", values, 0, missing="not measured: run the allocation test first")


class Chain(Counts):
    """What policies cost: the same requests, with and without a chain of a token that is known, a rate limit, CORS and
    edits of the head."""

    columns = (GATEWAY, CHAIN)
    headers = (
        # Of `me` for `api`, signed with compare's secret, and without an end.
        "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9."
        "eyJpc3MiOiJtZSIsInN1YiI6ImFubiIsImF1ZCI6ImFwaSIsInNjb3BlIjoicmVhZCB3cml0ZSIsInJvbGVzIjpbImEiLCJiIl19."
        "Grr_D3MmXYdAREcM3UIiMQ1GUw8G-BGMvFJf4w7NMVo",
        "Origin: https://a.test",
    )

    @property
    def title(self):
        return f"A chain of jwt, rate_limit, cors and request_transform. {super().title}"

    def bars(self):
        bare, chain = (self.samples.of(self.metrics[0], column) for column in self.columns)
        more = [whole - part for whole, part in zip(chain, bare)]
        return [Bar("user instructions a request that the chain adds", more, 4000)]


class Cpu(Scenario):
    """CPU time a request at a rate that every proxy can serve, and what each can do at most."""

    title = "CPU, 1 KiB answers"
    connections = (64, 512)
    sources = 1
    # More at once than the gateway keeps connections to one endpoint: it would be their making that is measured.
    full_load_connections_max = 1_000
    metrics = {"CPU us a request": "cpu_us", "busy share of a core": "busy", "p50 us": "p50_us", "p99 us": "p99_us"}

    def turn(self, proxy, server):
        for connections in self.connections:
            open_seconds, closed_seconds = (1, 1) if self.bench.quick else (2, 1)
            clients = ("--connections", connections, "--sources", self.sources)
            at_rate = self.measured(server, *clients, "--rate", RATE, "--seconds", open_seconds)
            if at_rate["rate"] < 0.98 * RATE:
                raise Failed(f"{proxy} answered {at_rate['rate']:.0f} requests/s of {RATE}: this machine is too slow")
            self._add(proxy, f"{connections} connections, 20,000/s", at_rate)
            if connections > self.full_load_connections_max:
                continue
            full = self.measured(server, *clients, "--closed", "--seconds", closed_seconds)
            self._add(proxy, f"{connections} connections, full load", full)
            self.samples.add(f"{connections} connections, full load: requests/s", proxy, full["rate"])
        self.samples.add("resident KiB afterwards", proxy, server.memory_bytes("Rss") / 1024)
        self.samples.add("private KiB afterwards", proxy, server.private_bytes() / 1024)

    def _add(self, proxy, where, result):
        for metric, key in self.metrics.items():
            self.samples.add(f"{where}: {metric}", proxy, result[key])

    def bars(self):
        bars = []
        for connections in self.connections:
            metric = f"{connections} connections, 20,000/s: CPU us a request"
            bars += [
                self._bar(metric, connections, GATEWAY, peer, limit)
                for peer, limit in (("floor", 1.20), ("nginx", 0.70), ("haproxy", 0.70))
            ]
            # Only where it was asked for.
            if self.samples.of(metric, f"{GATEWAY}-log"):
                bars.append(self._bar(metric, connections, f"{GATEWAY}-log", "floor", 1.35))
        return bars

    def _bar(self, metric, connections, proxy, peer, limit):
        fits = self.bench.comparable(peer)
        values = self.samples.ratios(metric, proxy, peer) if fits else []
        missing = "not measured" if fits else "not compared: the floor does not show that it holds its own bars"
        return Bar(f"{connections} connections: CPU us a request, {proxy} over {peer}", values, limit, missing=missing)


class Loops(Cpu):
    """What decides `event_loop: auto`: the two event loops against each other."""

    title = "io_uring against epoll"
    connections = (512, 10_000)
    sources = 8
    proxies = (f"{GATEWAY}-uring", f"{GATEWAY}-epoll")

    def bars(self):
        bars = []
        for connections in self.connections:
            for metric, limit in (("CPU us a request", 1.03), ("p99 us", 1.05)):
                ratios = self.samples.ratios(f"{connections} connections, 20,000/s: {metric}", *self.proxies)
                bars.append(Bar(f"{connections} connections: {metric}, io_uring over epoll", ratios, limit))
        return bars


class Idle(Scenario):
    """Private memory of connections that wait, each after one request."""

    title = "10,000 idle connections"
    rounds_max = 3

    def turn(self, proxy, server):
        if proxy == "floor":
            # The floor keeps nothing for a connection that a gateway has to: its figure would say nothing.
            return
        connections = 2_000 if self.bench.quick else 10_000
        before = server.private_bytes()
        with self.bench.load(server, "--idle", "--connections", connections, "--sources", 8) as load:
            load.result()
            time.sleep(0.3)
            self.samples.add("private bytes a connection", proxy, (server.private_bytes() - before) / connections)
            load.process.stdin.close()
            closed = load.result()["closed"]
            if closed:
                raise Failed(f"{proxy} closed {closed} of {connections} idle connections")

    def bars(self):
        return [Bar("private bytes an idle connection", self.samples.of("private bytes a connection", GATEWAY), 2048)]


class Big(Scenario):
    """One response of 1 GiB."""

    title = "A response of 1 GiB"

    def turn(self, proxy, server):
        size = 1 << (28 if self.bench.quick else 30)
        # A program that has just begun still does, on threads of its own: what they take is not the response's.
        time.sleep(SETTLE_SECONDS)
        with self.bench.load(server, "--download", f"/bytes/{size}", "--gate") as load:
            load.ready()
            before = server.cpu_ns()
            load.go()
            if load.line() != "warm":
                raise Failed("the load generator did not say when 16 MiB had come")
            server.reset_peak()
            # Both from the same counter of the kernel, whose error then cancels out.
            warm = server.peak_bytes()
            load.result()
            cpu_seconds = (server.cpu_ns() - before) / 1e9
            self.samples.add("MiB a CPU second", proxy, size / (1 << 20) / cpu_seconds)
            self.samples.add("KiB grown after the first 16 MiB", proxy, max(0, server.peak_bytes() - warm) / 1024)

    def bars(self):
        speed = self.samples.ratios("MiB a CPU second", GATEWAY, "haproxy")
        grown = self.samples.of("KiB grown after the first 16 MiB", GATEWAY)
        return [
            Bar("1 GiB: bytes a CPU second over haproxy", speed, 1.0, ">="),
            Bar("1 GiB: KiB grown after the first 16 MiB", grown, 1024),
        ]


class Slow(Scenario):
    """What 1,000 clients of 1 byte/s cost, in memory and to the others."""

    title = "1,000 clients of 1 byte/s"
    connections = 1_000
    # The gateway's cap of bytes held for one connection.
    connection_bytes_max = 128 * 1024

    def turn(self, proxy, server):
        if proxy == "floor":
            # It has no timers and no caps: nothing to learn.
            return
        self._others(proxy, server, "without")
        for kind in ("readers", "writers"):
            before = server.private_bytes()
            with self.bench.load(server, f"--slow-{kind}", "--connections", self.connections, "--sources", 8) as load:
                load.result()
                time.sleep(0.5 if self.bench.quick else 1.5)
                self._others(proxy, server, f"with {kind}")
                grown = max(0, server.private_bytes() - before)
                self.samples.add(f"private bytes a connection, {kind}", proxy, grown / self.connections)
                load.process.stdin.close()
                self.samples.add(f"connections that the proxy ended, {kind}", proxy, load.result()["reopened"])

    def _others(self, proxy, server, when):
        result = self.measured(server, "--rate", RATE, "--seconds", 1 if self.bench.quick else 2)
        self.samples.add(f"others' CPU us a request, {when}", proxy, result["cpu_us"])
        self.samples.add(f"others' p99 us, {when}", proxy, result["p99_us"])

    def bars(self):
        bars = []
        for kind in ("readers", "writers"):
            memory = self.samples.of(f"private bytes a connection, {kind}", GATEWAY)
            cpu, p99 = (
                self.samples.quotients(f"others' {metric}, with {kind}", f"others' {metric}, without", GATEWAY)
                for metric in ("CPU us a request", "p99 us")
            )
            bars += [
                Bar(f"slow {kind}: private bytes a connection", memory, self.connection_bytes_max),
                Bar(f"slow {kind}: others' CPU a request, with over without", cpu, 1.1),
                Bar(f"slow {kind}: others' p99, with over without", p99, 2.0),
            ]
        return bars


class Train(Scenario):
    """What a build that counts is run through, for the compiler to know what is hot: nothing is measured."""

    title = "Training"
    headers = Chain.headers
    # A build that counts is slower.
    rate = RATE // 4

    def turn(self, proxy, server):
        lines = self.lines() if proxy == CHAIN else []
        for connections in Cpu.connections:
            self.measured(server, "--connections", connections, "--rate", self.rate, "--seconds", 4, *lines)
        if proxy != CHAIN:
            with self.bench.load(server, "--download", f"/bytes/{1 << 28}") as load:
                while load.line() != "warm":
                    pass
                load.result()


SCENARIOS = {"train": Train, "counts": Counts, "chain": Chain, "cpu": Cpu, "loops": Loops, "idle": Idle, "big": Big, "slow": Slow}
# Of the comparison with others.
USUAL = [name for name in SCENARIOS if name not in ("train", "loops")]
