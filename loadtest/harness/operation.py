"""The scenarios of operation: what restarts, reloads, scrapes and more shards cost, and whom."""

import os
import random
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from .gateway import Gateway, configuration
from .load import Load
from .process import Failed
from .samples import Bar, Samples

ROUTES = 10_000
RATE = 5_000


class Operation:
    """`site` knows the programs, ports and cores. What differs in each kind of turn is the turn's name."""

    turns = ("shardgate",)
    rounds_max = 5

    def __init__(self, site):
        self.bench, self.site = site, site
        self.samples = Samples()
        self.failures, self.out = {}, set()

    @property
    def columns(self):
        return self.turns

    def round(self):
        for name in self.turns:
            self.turn(name)
            self.samples.keep()

    def gateway(self, *arguments, cores=None, **options):
        file = self.site.scratch / "gateway.yaml"
        file.write_text(self.configuration(**options))
        cores = cores or set(self.site.cores)
        return Gateway(self.site.binary("shardgate"), file, cores, self.site.admin_port, *arguments)

    def configuration(self, **options):
        return configuration(self.site.port, self.site.admin_port, self.site.origin, **options)

    def load(self, *options):
        return Load(self.site.binary("load"), self.site.cores[1], f"127.0.0.1:{self.site.port}", *options)

    def bar(self, what, metric, limit, sense="<=", turn=None):
        return Bar(what, self.samples.of(metric, turn or self.turns[0]), limit, sense)

    def none(self, what, metric):
        """Not one, in no round."""
        return Bar(what, [sum(self.samples.of(metric, self.turns[0]))], 0)


class Shards(Operation):
    """The same load a shard, on one shard and on two; then 10,000 connections on two."""

    title = "Two shards on two cores against one"
    turns = ("one shard", "two shards")
    rate_a_shard, connections_a_shard, seconds = 10_000, 32, 2
    options = ("--sources", 8, "--gate")

    def turn(self, name):
        shards = 1 if name == "one shard" else 2
        with self.gateway(shards=shards, cores=set(self.site.cores[:shards])) as gateway:
            rate = self.rate_a_shard * shards
            for where, mode in (("at 10,000/s a shard", ("--rate", rate)), ("full load", ("--closed",))):
                connections = self.connections_a_shard * shards
                with self.load(*mode, "--seconds", self.seconds, "--connections", connections, *self.options) as load:
                    load.ready()
                    before = gateway.cpu_ns("shard-")
                    load.go()
                    result = load.result()
                    cpu_seconds = (gateway.cpu_ns("shard-") - before) / 1e9
                self.samples.add(f"{where}: requests a CPU second of the shards", name, result["requests"] / cpu_seconds)
                self.samples.add(f"{where}: requests/s", name, result["rate"])
                self.samples.add(f"{where}: p99 us", name, result["p99_us"])
            if shards == 2:
                self._imbalance(gateway, name)

    def _imbalance(self, gateway, name):
        connections = 2_000 if self.site.quick else 10_000
        with self.load("--idle", "--connections", connections, "--sources", 8) as load:
            load.result()
            gateway.until(
                "all connections are counted",
                lambda: sum(shard["connections"] for shard in gateway.status()["shards"]) >= connections,
            )
            loads = [shard["connections"] for shard in gateway.status()["shards"]]
            imbalance = max(loads) / (sum(loads) / len(loads)) - 1
            self.samples.add("accept imbalance, %", name, 100 * imbalance)
            load.process.stdin.close()
            load.result()

    def bars(self):
        def ratios(where):
            return self.samples.ratios(f"{where}: requests a CPU second of the shards", "two shards", "one shard")

        return [
            Bar("requests a CPU second at 10,000/s a shard, two over one", ratios("at 10,000/s a shard"), 0.95, ">="),
            Bar("requests a CPU second at full load, two over one", ratios("full load"), 0.95, ">="),
            self.bar("accept imbalance over 10,000 connections, %", "accept imbalance, %", 5, turn="two shards"),
        ]


class Scrape(Operation):
    """10,000 routes that have all been used, scraped each second under load.

    Whoever scrapes does it on another machine. Here it is on the core of the clients and the origin, and reading many
    megabytes there holds their requests up, which then come at once: it would be their burst that is measured. So it
    has of that core what they leave (SCHED_IDLE).
    """

    title = "Scrapes of 10,000 routes"
    turns = ("quiet", "scraped")

    def turn(self, name):
        seconds = 3 if self.site.quick else 10
        with self.gateway(routes=ROUTES) as gateway:
            self._use_every_route()
            # What the routes' first use cost is no part of it.
            time.sleep(1)
            with self.load("--rate", RATE, "--seconds", seconds, "--gate") as load:
                load.ready()
                before = dict(lags(gateway))
                load.go()
                if name == "scraped":
                    with ThreadPoolExecutor(1, initializer=give_way) as aside:
                        aside.submit(self._scrape_each_second, gateway, name, seconds - 1).result()
                result = load.result()
            time.sleep(0.5)
            self.samples.add("loop lag us, 99.9 %", name, quantile(before, dict(lags(gateway)), 0.999))
            self.samples.add("loop lag us, 99 %", name, quantile(before, dict(lags(gateway)), 0.99))
            self.samples.add("p99 us", name, result["p99_us"])

    def _scrape_each_second(self, gateway, name, seconds):
        for _ in range(seconds):
            cpu, start = gateway.control_cpu_ns(), time.monotonic()
            size = len(gateway.page("/metrics"))
            self.samples.add("control CPU ms a scrape", name, (gateway.control_cpu_ns() - cpu) / 1e6)
            self.samples.add("ms until a scrape is read", name, 1000 * (time.monotonic() - start))
            self.samples.add("MiB a scrape", name, size / (1 << 20))
            time.sleep(max(0, 1 - (time.monotonic() - start)))

    def _use_every_route(self):
        with socket.create_connection(("127.0.0.1", self.site.port)) as client:
            received = client.makefile("rb")
            for start in range(0, ROUTES, 50):
                asked = range(start, start + 50)
                client.sendall(b"".join(b"HEAD /route/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in asked))
                for _ in asked:
                    if not received.readline().startswith(b"HTTP/1.1 "):
                        raise Failed("a route does not answer")
                    while received.readline() not in (b"\r\n", b""):
                        pass

    def bars(self):
        lag = self.samples.ratios("loop lag us, 99.9 %", "scraped", "quiet")
        return [
            # A cell of the histogram is an eighth wide.
            Bar("loop lag 99.9 %, with scrapes over without", lag, 1.13),
            self.bar("control CPU ms a scrape", "control CPU ms a scrape", 200, turn="scraped"),
        ]


class Swap(Operation):
    """10,000 routes swapped 100 times under load."""

    title = "Swaps of 10,000 routes"
    rounds_max = 3

    def turn(self, name):
        swaps = 10 if self.site.quick else 100
        with self.gateway(routes=ROUTES) as gateway:
            before = gateway.metrics()
            with self.load("--rate", RATE, "--seconds", 5 if self.site.quick else 60, "--gate") as load:
                load.ready()
                load.go()
                last = counters(gateway)
                for number in range(1, swaps + 1):
                    gateway.reload(self.configuration(routes=ROUTES, mark=number))
                    now = counters(gateway)
                    fell = [key for key, value in last.items() if now.get(key, 0) < value]
                    self.samples.add("counters that fell", name, len(fell))
                    last = now
                if load.is_over():
                    raise Failed("the load ended before the swaps: this machine is too slow")
                result = load.result()
            time.sleep(0.5)
            after = gateway.metrics()
            closed = "shardgate_config_connections_closed_total"
            self.samples.add("connections closed", name, float(after[closed]) - float(before[closed]))
            self.samples.add("connections that clients saw close", name, result["reconnects"])
            self.samples.add("requests that failed", name, result["errors"])
            self.samples.add("requests under way", name, result["sent"])
            changes = gateway.status()["shards"][0]["config_change_us"]
            self.samples.add("shard pause us, 99.9 %", name, changes["p99.9"])
            self.samples.add("shard pause us, 50 %", name, changes["p50"])
            self.samples.add("p99 us", name, result["p99_us"])

    def bars(self):
        return [
            self.none("connections closed by 100 swaps", "connections closed"),
            self.none("connections that clients saw close", "connections that clients saw close"),
            self.none("requests that failed", "requests that failed"),
            self.none("counters that fell", "counters that fell"),
            self.bar("shard pause us, 99.9 %", "shard pause us, 99.9 %", 100),
        ]


class Restart(Operation):
    """One process takes over from another, again and again; four fifths of the requests on kept connections."""

    title = "Hot restarts under 5,000 requests/s"
    rounds_max = 3

    def turn(self, name):
        restarts = 3 if self.site.quick else 10
        control = self.site.scratch / "control"
        kept = ("--rate", RATE * 4 // 5, "--seconds", 2 * restarts + 2, "--connections", 64, "--gate")
        fresh = ("--rate", RATE // 5, "--seconds", 2 * restarts + 2, "--connections", 16, "--fresh", "--gate")
        old = self.gateway("--control", control).__enter__()
        try:
            with self.load(*kept) as kept_load, self.load(*fresh) as fresh_load:
                loads = (kept_load, fresh_load)
                [load.ready() for load in loads]
                [load.go() for load in loads]
                for _ in range(restarts):
                    time.sleep(0.5)
                    start = time.monotonic()
                    new = self.gateway("--control", control).__enter__()
                    self.samples.add("seconds until the new one serves", name, time.monotonic() - start)
                    old.ended_well()
                    old.__exit__()
                    old = new
                results = [load.result() for load in loads]
        finally:
            old.__exit__()
        self.samples.add("requests", name, sum(result["requests"] for result in results))
        self.samples.add("requests that failed", name, sum(result["errors"] for result in results))
        self.samples.add("idle connections closed unsaid", name, sum(result["idle_closes"] for result in results))
        self.samples.add("p999 us", name, max(result["p999_us"] for result in results))

    def bars(self):
        # The load generator ends the run at the first connection that is refused or reset.
        return [
            self.none("requests that failed, were refused or reset", "requests that failed"),
            self.none("idle connections closed unsaid", "idle connections closed unsaid"),
        ]


class Term(Operation):
    """SIGTERM under load: whoever was accepted is answered."""

    title = "SIGTERM under 5,000 requests/s"
    rounds_max = 10

    def turn(self, name):
        options = ("--seconds", 60, "--until-refused", "--gate")
        with self.gateway() as gateway:
            with (
                self.load("--rate", RATE * 4 // 5, "--connections", 64, *options) as kept_load,
                self.load("--rate", RATE // 5, "--connections", 16, "--fresh", *options) as fresh_load,
            ):
                loads = (kept_load, fresh_load)
                [load.ready() for load in loads]
                [load.go() for load in loads]
                time.sleep(0.7)
                gateway.signal(signal.SIGTERM)
                gateway.ended_well()
                results = [load.result() for load in loads]
        self.samples.add("requests", name, sum(result["requests"] for result in results))
        self.samples.add("requests that failed", name, sum(result["errors"] for result in results))

    def bars(self):
        return [self.none("accepted requests that failed", "requests that failed")]


class Kill(Operation):
    """SIGKILL at any moment while configurations are swapped and kept."""

    title = "SIGKILL while the state is written"
    rounds_max = 1

    def turn(self, name):
        state = self.site.scratch / "state"
        state.mkdir(exist_ok=True)
        dice = random.Random(1)
        for number in range(20 if self.site.quick else 200):
            with self.gateway("--state", state, mark=number, routes=100) as gateway:
                for change in range(20):
                    gateway.file.write_text(self.configuration(mark=1000 * number + change, routes=100))
                    gateway.signal(signal.SIGHUP)
                    if dice.random() < 0.2:
                        break
                    time.sleep(dice.random() * 0.01)
                time.sleep(dice.random() * 0.02)
                gateway.process.kill()
                gateway.process.wait()
            gateway.file.unlink()
            arguments = (self.site.binary("shardgate"), gateway.file, set(self.site.cores), self.site.admin_port)
            with Gateway(*arguments, "--state", state) as second:
                served = second.status()["configuration"]["from_last_good"] and self._serves()
                self.samples.add("starts that did not serve the last good configuration", name, 0 if served else 1)

    def _serves(self):
        with socket.create_connection(("127.0.0.1", self.site.port), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return client.makefile("rb").readline().startswith(b"HTTP/1.1 200 ")

    def bars(self):
        what = "starts that did not serve the last good configuration"
        return [self.none(what, what)]


def give_way():
    """To whatever else wants to run where this thread does. Whoever is not root cannot take that back."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def lags(gateway):
    """The gateway's loop-lag histogram: how many turns took at most so long."""
    prefix = 'shardgate_loop_lag_seconds_bucket{shard="0",le="'
    for key, value in gateway.metrics().items():
        if key.startswith(prefix):
            yield float(key[len(prefix) :].split('"')[0]), float(value)


def quantile(before, after, share):
    """Of the turns between two looks at the histogram, within a bucket as if they lay evenly."""
    total = after[float("inf")] - before[float("inf")]
    wanted, under, floor = share * total, 0.0, 0.0
    for bound in sorted(after):
        count = after[bound] - before.get(bound, 0)
        if count >= wanted:
            if bound == float("inf"):
                return floor * 1e6
            part = (wanted - under) / max(1.0, count - under)
            return (floor + part * (bound - floor)) * 1e6
        under, floor = count, bound
    return floor * 1e6


def counters(gateway):
    """Every counter, and the counts of histograms. Kong's name of a gauge looks like one."""
    ends = ("_total", "_count", "_bytes")
    return {
        key: float(value)
        for key, value in gateway.metrics().items()
        if key.split("{")[0].endswith(ends) and not any(word in key for word in GAUGES)
    }


GAUGES = ("idle", "buffer_bytes", 'state="active"', 'state="reading"', 'state="writing"', 'state="waiting"')


OPERATIONS = {"shards": Shards, "scrape": Scrape, "swap": Swap, "restart": Restart, "term": Term, "kill": Kill}
