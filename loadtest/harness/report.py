"""Writes what was measured as JSON and as Markdown."""

import json
import os
import platform
import re
import subprocess
from pathlib import Path

from .samples import quartiles
from .scenarios import GATEWAY


def machine():
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory_kib = int(re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)[1])
    return {
        "cpu": cpu[1].strip() if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / (1 << 20), 1),
        "kernel": platform.release(),
    }


def commit(root):
    """The commit, marked when the tree holds what the commit does not."""

    def git(*words):
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("-changed" if changed else "")


def to_json(facts, scenarios):
    document = dict(facts)
    document["scenarios"] = {name: scenario.samples.values for name, scenario in scenarios.items()}
    document["failures"] = {name: scenario.failures for name, scenario in scenarios.items() if scenario.failures}
    document["bars"] = [
        {"what": bar.what, "limit": f"{bar.sense} {bar.limit}", "values": bar.values, "verdict": bar.verdict()}
        for scenario in scenarios.values()
        for bar in scenario.bars()
    ]
    return json.dumps(document, indent=1) + "\n"


def to_markdown(facts, scenarios):
    where = facts["machine"]
    lines = [
        f"# Comparison of {facts['date']}, commit {facts['commit']}",
        "",
        f"{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, Linux {where['kernel']}. Proxy on core "
        f"{facts['cores'][0]}, load generator and origin on core {facts['cores'][1]}, all on loopback. "
        + "".join(f"{name} {version}; " for name, version in facts["versions"].items())
        + "each figure is the median [lower quartile, upper quartile] of interleaved rounds; ratios are taken round "
        + "by round.",
    ]
    if facts["quick"]:
        lines += ["", "**A quick run: too short to be a result.**"]
    lines += ["", "## Bars", "", "| what | bar | measured | rounds | |", "| --- | --- | ---: | ---: | --- |"]
    for scenario in scenarios.values():
        for bar in scenario.bars():
            measured = spread(bar.values) if bar.values else ""
            limit = f"{bar.sense} {number(bar.limit)}"
            lines.append(f"| {bar.what} | {limit} | {measured} | {len(bar.values)} | {bar.verdict()} |")
    for name, scenario in scenarios.items():
        lines += ["", *table(scenario)]
    failures = [
        f"- {name}, {proxy}{' (takes no more turns)' if proxy in scenario.out else ''}: {why}"
        for name, scenario in scenarios.items()
        for proxy, whys in scenario.failures.items()
        for why in whys
    ]
    if failures:
        lines += ["", "## Turns that failed", "", *failures]
    return "\n".join(lines) + "\n"


def table(scenario):
    proxies = [name for name in scenario.columns if any(name in by for by in scenario.samples.values.values())]
    lines = [f"## {scenario.title}", "", "| | " + " | ".join(proxies) + " |", "| --- |" + " ---: |" * len(proxies)]
    for metric, by_proxy in scenario.samples.values.items():
        cells = []
        for proxy in proxies:
            cell = spread(by_proxy[proxy]) if by_proxy.get(proxy) else ""
            if "CPU us" in metric and proxy != GATEWAY and cell and scenario.bench.comparable(proxy):
                ratios = scenario.samples.ratios(metric, GATEWAY, proxy)
                cell += f"; ours over it {spread(ratios)}" if ratios else ""
            cells.append(cell)
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return lines


def spread(values):
    low, middle, high = quartiles(values)
    return f"{number(middle)} [{number(low)}, {number(high)}]"


def number(value):
    """Three digits that matter, or all of a large one."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
