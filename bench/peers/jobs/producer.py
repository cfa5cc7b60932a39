"""The producer of a Python peer: enqueues echo jobs and says how long that took.

    PROGRAM all N      N jobs, as fast as the peer takes them
    PROGRAM lone N     one at a time, each until its result can be read

At its end one line of JSON, in the form of Homing's own `submit`.
"""

import json
import math
import sys
import time

# With the quotes of a JSON string, 100 bytes: what Homing's echo task has.
PAYLOAD_DIGITS = 98
# As LONE_PAUSE of Homing's own bench: long enough for the system to be idle.
LONE_PAUSE_SECS = 0.005
RESULT_SECS_MAX = 30


def payload(number):
    return f"{number:0{PAYLOAD_DIGITS}}"


def quantile(ordered, share):
    """The nearest rank, as `Lone` in Homing's bench has it."""
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


def enqueue_all(jobs, enqueue_many):
    payloads = [payload(number) for number in range(jobs)]
    start = time.perf_counter()
    enqueue_many(payloads)
    return {"secs": time.perf_counter() - start}


def enqueue_lone(jobs, ask):
    ms = []
    for number in range(jobs):
        time.sleep(LONE_PAUSE_SECS)
        wanted = payload(number)
        start = time.perf_counter()
        result = ask(wanted)
        ms.append((time.perf_counter() - start) * 1e3)
        if result != wanted:
            sys.exit(f"the result of job {number} is {result!r}, not its payload")
    ms.sort()
    return {"lone": {"p50_ms": quantile(ms, 0.50), "p99_ms": quantile(ms, 0.99)}}


def main(enqueue_many, ask):
    how, jobs = sys.argv[1], int(sys.argv[2])
    report = enqueue_all(jobs, enqueue_many) if how == "all" else enqueue_lone(jobs, ask)
    print(json.dumps(report))
