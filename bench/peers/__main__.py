"""`make bench-peers`: Homing and its peers in turn, and one table of them all."""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys

import report
import sides
from measure import measure
from processes import Failure
from servers import RabbitMQ
from world import world_of

JOBS_OF_PEERS = pathlib.Path(__file__).resolve().parent / "jobs"


def main():
    arguments = parse()
    # As Ctrl-C: every process is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(arguments)
    except Failure as failure:
        sys.exit(f"{'error':<10} {failure}\n{'fix':<10} {failure.fix}")
    except KeyboardInterrupt:
        say("interrupted: all it had started is stopped")
        sys.exit(130)


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench-peers", description=__doc__)
    add = parser.add_argument
    add("--only", metavar="PEER,...", type=peers, default=sides.PEERS, help=", ".join(sides.PEERS))
    add("--tasks", metavar="N", type=positive, default=20_000, help="[20000] of these a slow peer has a part")
    add("--lone", metavar="N", type=positive, default=200, help="[200] lone tasks of a round")
    add("--rounds", metavar="N", type=positive, default=3, help="[3] how often each is measured")
    add("--json", action="store_true", help="one line of JSON instead of a table")
    # Where scripts/bench-peers has put the programs.
    add("--programs", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    add("--installed", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def peers(text):
    named = text.split(",")
    for name in named:
        if name not in sides.PEERS:
            raise argparse.ArgumentTypeError(f"`{name}` is none of {', '.join(sides.PEERS)}")
    return named


def positive(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def run(arguments):
    rabbitmq = RabbitMQ(os.environ["HOMING_TEST_NODE"], os.environ["HOMING_TEST_BROKER"])
    machine = versions(arguments, rabbitmq)
    chosen = [side(arguments) for side in sides.ALL if side.key in ("homing", *arguments.only)]
    results = report.Results()
    for number in range(1, arguments.rounds + 1):
        for side in chosen:
            say(f"round {number} of {arguments.rounds}: {side.title}")
            with world_of(side, rabbitmq) as world:
                results.add(side, measure(side, world, jobs_of(side, arguments.tasks), arguments.lone))
    show(arguments, results, machine)


def jobs_of(side, tasks):
    return max(round(tasks * side.share), 1)


def show(arguments, results, machine):
    plan = {"rounds": arguments.rounds, "tasks": arguments.tasks, "lone": arguments.lone}
    if arguments.json:
        print(json.dumps(report.as_json(results, machine, plan)))
        return
    print(", ".join(f"{name} {version}" for name, version in machine.items()))
    print(", ".join(f"{name} {number:,}" for name, number in plan.items()), end="\n\n")
    print(report.table(results))
    print("\nIn brackets: by Homing's with the same kind of settings, median of the rounds.\n")
    print(report.settings_list(results))


def versions(arguments, rabbitmq):
    return {
        "cores": len(os.sched_getaffinity(0)),
        "Homing": output_of(arguments.programs / "homing", "--version").split()[-1],
        "RabbitMQ": rabbitmq.version(),
        "Redis": output_of("redis-server", "--version").split("v=")[1].split()[0],
        "Python": output_of(arguments.installed / "venv/bin/python", "--version").split()[-1],
        "Node.js": output_of("node", "--version").strip().removeprefix("v"),
        **pinned(),
    }


def pinned():
    """The versions that jobs/requirements.txt and jobs/package.json name."""
    lines = (JOBS_OF_PEERS / "requirements.txt").read_text().split()
    of = dict(line.split("==") for line in lines if "==" in line)
    bullmq = json.loads((JOBS_OF_PEERS / "package.json").read_text())["dependencies"]["bullmq"]
    return {"Celery": of["celery"], "Dramatiq": of["dramatiq"], "SQLAlchemy": of["sqlalchemy"], "BullMQ": bullmq}


def output_of(*command):
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(f"{command[0]} cannot be run: {error}", "scripts/bench-peers installs what is missing") from None


def say(text):
    print(f"{'bench':<10} {text}", file=sys.stderr, flush=True)


main()
