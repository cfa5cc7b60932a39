"""Processes of a run, and what Linux counts of them."""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import time

PRODUCER_SECS_MAX = 600
# For a worker with nothing to do: some would wait ten seconds for nothing.
STOP_SECS_MAX = 2
READY_SECS_MAX = 60
LOOK_EVERY_SECS = 0.01
LOG_LINES_SHOWN = 15
TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """What went wrong, and what to do about it."""

    def __init__(self, what, fix):
        super().__init__(what)
        self.fix = fix


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """A process and all that it starts. In a session of its own: Ctrl-C is for
    the driver, which then stops everything in order."""

    def __init__(self, name, command, env, folder, stdout=None):
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            try:
                self.popen = subprocess.Popen(
                    [str(part) for part in command],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout or log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=end_with_parent,
                )
            except OSError as error:
                raise Failure(f"cannot start the {name}: {error}", "scripts/bench-peers installs it") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def check(self):
        """Fails if it has ended."""
        if self.popen.poll() is not None:
            raise self.failure(f"the {self.name} ended with {self.popen.returncode}")

    def stop(self):
        stop_all([self])

    def kill_session(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def failure(self, what):
        lines = self.log.read_text(errors="replace").splitlines()
        said = "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:])
        return Failure(f"{what}; it said last:\n{said}", "see above; then run it again, alone with --only")

    def pids(self):
        return descendants(self.popen.pid)


def wait_until(ready, process, what):
    """Asks until `ready()`; fails with `what` if that takes too long."""
    until = time.monotonic() + READY_SECS_MAX
    while not ready():
        process.check()
        if time.monotonic() > until:
            raise process.failure(what)
        time.sleep(LOOK_EVERY_SECS)


def stop_all(processes):
    """Tells all to end, and ends those that do not, with all they have started."""
    try:
        for process in processes:
            process.popen.terminate()
        until = time.monotonic() + STOP_SECS_MAX
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(max(until - time.monotonic(), 0))
    finally:
        for process in processes:
            process.kill_session()


def report_of(name, command, env, folder):
    """Runs a producer to its end, and reads its line of JSON."""
    with Process(name, command, env, folder, stdout=subprocess.PIPE) as process:
        try:
            said, _ = process.popen.communicate(timeout=PRODUCER_SECS_MAX)
        except subprocess.TimeoutExpired:
            raise process.failure(f"the {name} does not end") from None
        if process.popen.returncode != 0:
            raise process.failure(f"the {name} ended with {process.popen.returncode}")
    return json.loads(said)


def descendants(pid):
    """`pid`, and all that it has started, and so on."""
    found = [pid]
    for thread in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        for child in read(thread / "children").split():
            found += descendants(int(child))
    return found


def cpu_secs(pids):
    """Seconds of CPU, user and system, that these have used."""
    return sum(map(cpu_ticks, pids)) / TICKS_PER_SEC


def cpu_ticks(pid):
    # The name, in brackets, may hold spaces. utime and stime are the 14th and
    # 15th field of proc_pid_stat(5).
    _, _, after_name = read(f"/proc/{pid}/stat").rpartition(")")
    return sum(map(int, after_name.split()[11:13]))


def memory_mib(pids):
    """Resident memory of these. What forked processes share counts once (PSS):
    a sum of RSS would count a forking pool's interpreter for each of them."""
    lines = [line for pid in pids for line in read(f"/proc/{pid}/smaps_rollup").splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def read(path):
    """A file of /proc; nothing of a process that has ended meanwhile."""
    try:
        return pathlib.Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
