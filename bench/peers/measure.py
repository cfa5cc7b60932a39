"""One run of one side: lone jobs on an idle system, then a backlog."""

import contextlib
import time
from dataclasses import dataclass

from processes import LOOK_EVERY_SECS, Failure, cpu_secs, memory_mib, report_of, stop_all

# Jobs before the lone ones that are timed: until everything is up and warm.
WARM_UP_JOBS = 20
MEMORY_EVERY_SECS = 0.2
STALL_SECS_MAX = 60
CPU_JOBS = 10_000


def measure(side, world, jobs, lone_jobs):
    """The figures of a run, by name."""
    side.prepare(world)
    figures = lone(side, world, lone_jobs)
    figures["enqueue_rate"] = jobs / produce(side, world, "all", jobs)["secs"]
    figures |= backlog(side, world, jobs)
    return figures


def lone(side, world, jobs):
    with running(side, world) as workers:
        side.await_ready(world, workers)
        produce(side, world, "lone", WARM_UP_JOBS)
        times = produce(side, world, "lone", jobs)["lone"]
        return times | {"idle_mib": memory_mib(pids_of(workers))}


def produce(side, world, how, jobs):
    return report_of("producer", side.producer(world, how, jobs), world.env | side.env(world), world.folder)


@contextlib.contextmanager
def running(side, world):
    env = world.env | side.env(world)
    workers = []
    try:
        for name, command in side.workers(world):
            workers.append(world.start(name, command, env))
        yield workers
    finally:
        stop_all(workers)


def pids_of(workers):
    return [pid for worker in workers for pid in worker.pids()]


@dataclass
class Moment:
    """How far a run is, and what was used until then."""

    secs: float
    stored: int
    worker_cpu: float
    server_cpu: float


def backlog(side, world, jobs):
    """Has the workers work off `jobs` jobs. From the first results to the last:
    how long a worker takes to start is no part of the rate."""
    before = side.stored(world)
    wanted = before + jobs
    with running(side, world) as workers:
        first, _ = watch(side, world, workers, before + 1)
        last, loaded_mib = watch(side, world, workers, wanted)
    if side.stored(world) != wanted:
        raise Failure(f"{side.title}: {side.stored(world) - before} results of {jobs} jobs", "run it again")
    done = last.stored - first.stored
    if done == 0:
        raise Failure(f"{side.title}: {jobs} jobs are done before they can be measured", "give it more: --tasks N")
    return {
        "stored_rate": done / (last.secs - first.secs),
        "loaded_mib": loaded_mib,
        "worker_cpu": (last.worker_cpu - first.worker_cpu) * CPU_JOBS / done,
        "server_cpu": (last.server_cpu - first.server_cpu) * CPU_JOBS / done,
    }


def watch(side, world, workers, wanted):
    """Waits for `wanted` results. The moment they are there, and the most memory
    the workers had."""
    peak_mib, looked, seen, moved = 0, 0, -1, time.monotonic()
    while True:
        stored, now = side.stored(world), time.monotonic()
        if now - looked > MEMORY_EVERY_SECS or stored >= wanted:
            peak_mib, looked = max(peak_mib, memory_mib(pids_of(workers))), now
        if stored >= wanted:
            return moment(side, world, workers, stored, now), peak_mib
        if stored != seen:
            seen, moved = stored, now
        elif now - moved > STALL_SECS_MAX:
            raise workers[0].failure(f"{side.title}: {stored} results of {wanted}, and no more come")
        for worker in workers:
            worker.check()
        time.sleep(LOOK_EVERY_SECS)


def moment(side, world, workers, stored, now):
    return Moment(now, stored, cpu_secs(pids_of(workers)), cpu_secs(side.server_pids(world)))
