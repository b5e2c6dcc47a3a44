"""What the rounds measured, and the bars that it is held against."""

import statistics
from collections import defaultdict
from dataclasses import dataclass


class Samples:
    """Values by metric and proxy, one a round, in the order of the rounds."""

    def __init__(self):
        self.values = defaultdict(lambda: defaultdict(list))
        self.turn = []

    def add(self, metric, proxy, value):
        self.turn.append((metric, proxy, value))

    def keep(self):
        """A turn counts as a whole, or ratios would pair values of different rounds."""
        for metric, proxy, value in self.turn:
            self.values[metric][proxy].append(value)
        self.turn = []

    def discard(self):
        self.turn = []

    def of(self, metric, proxy):
        return self.values[metric][proxy] if metric in self.values and proxy in self.values[metric] else []

    def ratios(self, metric, proxy, peer):
        """One a round: what the machine did to both in one round cancels out."""
        return [mine / theirs for mine, theirs in zip(self.of(metric, proxy), self.of(metric, peer)) if theirs > 0]

    def quotients(self, metric, base, proxy):
        """One a round: a metric over another of the same proxy in the same round."""
        return [value / under for value, under in zip(self.of(metric, proxy), self.of(base, proxy)) if under > 0]


@dataclass
class Bar:
    """A limit that the gateway is to hold."""

    what: str
    values: list
    limit: float
    # "<=" or ">="
    sense: str = "<="
    # Why there are no values, when there are none.
    missing: str = "not measured"

    def held(self):
        if not self.values:
            return None
        middle = statistics.median(self.values)
        return middle <= self.limit if self.sense == "<=" else middle >= self.limit

    def straddles(self):
        """The quartiles lie on both sides of the limit: more rounds decide."""
        if len(self.values) < 2:
            return False
        low, _, high = quartiles(self.values)
        return low < self.limit < high

    def verdict(self):
        return {None: self.missing, True: "held", False: "falls short"}[self.held()]


def quartiles(values):
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
