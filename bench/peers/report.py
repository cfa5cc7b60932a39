"""The table: medians of the rounds, each beside Homing's as a ratio."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    name: str
    places: int


RATES = [Figure("enqueue_rate", 0), Figure("stored_rate", 0)]
TIMES = [Figure("p50_ms", 2), Figure("p99_ms", 2)]
MEMORY = [Figure("idle_mib", 0), Figure("loaded_mib", 0)]
CPU = [Figure("worker_cpu", 2), Figure("server_cpu", 2)]
FIGURES = [*RATES, *TIMES, *MEMORY, *CPU]

HEADINGS = [
    *("system", "settings", "enqueued/s", "worked off and stored/s", "lone p50 ms", "lone p99 ms"),
    *("workers idle MiB", "loaded MiB", "worker CPU s per 10,000", "server CPU s per 10,000"),
    *("enqueue confirmed", "acked after the result", "result on disk"),
]


class Results:
    """The figures of all rounds."""

    def __init__(self):
        self.rounds = {}

    def add(self, side, figures):
        self.rounds.setdefault(side, []).append(figures)

    def sides(self):
        return list(self.rounds)

    def median(self, side, figure):
        return statistics.median(figures[figure.name] for figures in self.rounds[side])

    def ratio(self, side, figure):
        """The median of the ratios to Homing's figures of the same rounds, or
        None where Homing's are 0."""
        homing = self.rounds[self.homing_of(side)]
        pairs = zip(self.rounds[side], homing)
        ratios = [own[figure.name] / theirs[figure.name] for own, theirs in pairs if theirs[figure.name]]
        return statistics.median(ratios) if ratios else None

    def homing_of(self, side):
        return next(other for other in self.rounds if other.tier == side.tier and other.key == "homing")


def table(results):
    rows = [HEADINGS, *(row(results, side) for side in results.sides())]
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = ["-" * width if index < 2 else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    rows.insert(1, rule)
    return "\n".join(f"| {' | '.join(map(str.ljust, cells, widths))} |" for cells in rows)


def row(results, side):
    told = side.guarantees
    figures = (cell(results, side, figure) for figure in FIGURES)
    return [side.name, side.tier, *figures, told.confirmed, told.acked_late, told.stored]


def cell(results, side, figure):
    value = f"{results.median(side, figure):,.{figure.places}f}"
    if side.key == "homing":
        return value
    ratio = results.ratio(side, figure)
    return f"{value} ({short(ratio)})" if ratio is not None else value


def short(ratio):
    return f"{ratio:.2f}" if ratio < 1 else f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def settings_list(results):
    """What each side ran with, and where its documentation has it."""
    lines = []
    for side in results.sides():
        chosen = side.all_settings()
        lines.append(f"{side.title}: {'its defaults' if not chosen else ''}".rstrip())
        lines += [f"  {setting}  {setting.link}" for setting in chosen]
    return "\n".join(lines)


def as_json(results, machine, plan):
    sides = [side_as_json(results, side) for side in results.sides()]
    return {"machine": machine, **plan, "sides": sides}


def side_as_json(results, side):
    return {
        "system": side.name,
        "settings": side.tier,
        "chosen": [vars(setting) for setting in side.all_settings()],
        "guarantees": vars(side.guarantees),
        "figures": {
            figure.name: {
                "median": results.median(side, figure),
                "ratio": results.ratio(side, figure),
                "rounds": [figures[figure.name] for figures in results.rounds[side]],
            }
            for figure in FIGURES
        },
    }
