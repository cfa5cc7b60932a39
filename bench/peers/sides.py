"""Homing and its peers: how each is set up, started, given jobs and asked."""

import contextlib
import json
import pathlib
import sqlite3
import subprocess
from dataclasses import dataclass, replace

import settings
from processes import READY_SECS_MAX, Failure, wait_until

JOBS = pathlib.Path(__file__).resolve().parent / "jobs"
DURABLE, BEST = "durable", "best"


@dataclass(frozen=True)
class Guarantees:
    """What a side promises as it is set up."""

    confirmed: str
    acked_late: str
    stored: str


EVERYTHING = Guarantees("yes", "yes", "yes")


class Side:
    """One system with one set of settings, `durable` or `best`."""

    key = name = ""
    tier = DURABLE
    # Of the jobs of a run: about as many seconds of work for each side.
    share = 1.0
    redis = ()
    guarantees = EVERYTHING

    def __init__(self, places):
        self.places = places

    @property
    def title(self):
        return f"{self.name}, {self.tier}"

    def all_settings(self):
        """All that is set, for the list below the table."""
        return list(self.redis)

    def env(self, world):
        return {}

    def prepare(self, world):
        """What has to be there before the workers."""

    def await_ready(self, world, workers):
        """What has to be there before the first producer."""

    def server_pids(self, world):
        pids = list(world.vhost.rabbitmq.pids)
        return pids + world.redis.process.pids() if world.redis else pids


class Homing(Side):
    key, name = "homing", "Homing"
    worker_settings = ()
    collector_settings = ()

    def all_settings(self):
        return [*named("worker", self.worker_settings), *named("collector", self.collector_settings)]

    def env(self, world):
        return {"AMQP_URL": world.vhost.url}

    def store(self, world):
        return world.folder / "store.db"

    def prepare(self, world):
        command = [self.places.programs / "homing", "topology", "apply"]
        said = subprocess.run(command, env=world.env | self.env(world), capture_output=True, text=True)
        if said.returncode != 0:
            raise Failure(f"Homing's queues cannot be made: {said.stderr.strip()}", "run it again")

    def workers(self, world):
        programs, store = self.places.programs, f"sqlite:{self.store(world)}"
        collector = [programs / "homing", "--quiet", "collector", "--store", store]
        yield "collector", collector + flags(self.collector_settings)
        yield "worker", [programs / "echo_worker", "--quiet", *flags(self.worker_settings)]

    def await_ready(self, world, workers):
        wait_until(lambda: self.has_store(world), workers[0], "the collector makes no store")

    def has_store(self, world):
        try:
            self.stored(world)
        except sqlite3.OperationalError:
            return False
        return True

    def producer(self, world, how, jobs):
        command = [self.places.programs / "submit", how, "--tasks", jobs]
        return command + ["--store", self.store(world)] if how == "lone" else command

    def stored(self, world):
        # By the counters that Homing keeps: as cheap as a peer's count in Redis.
        return query(self.store(world), "SELECT coalesce(sum(tasks), 0) FROM batch_counts WHERE status = 'succeeded'")


class HomingBest(Homing):
    tier = BEST
    worker_settings = settings.HOMING_WORKER_FAST
    collector_settings = settings.HOMING_COLLECTOR_FAST


class Python(Side):
    """A peer in Python."""

    share = 0.1

    def env(self, world):
        return {"PYTHONPATH": str(JOBS), "PYTHONDONTWRITEBYTECODE": "1"}

    def configured(self):
        return {setting.name: setting.value for setting in self.config}

    def python(self):
        return self.places.installed / "venv/bin/python"

    def producer(self, world, how, jobs):
        return [self.python(), JOBS / self.program, how, jobs]

    def stored(self, world):
        return world.redis.number("DBSIZE")


class Celery(Python):
    key, name = "celery", "Celery, Redis"
    program = "celery_echo.py"
    redis = settings.REDIS_SAFE
    results = settings.CELERY_REDIS
    config = settings.CELERY_SAFE
    worker_settings = settings.CELERY_WORKER

    def all_settings(self):
        return [*self.config, *self.worker_settings, self.results, *super().all_settings()]

    def backend(self, world):
        return f"redis://127.0.0.1:{world.redis.port}/0"

    def env(self, world):
        config = self.configured() | {"broker_url": world.vhost.url, "result_backend": self.backend(world)}
        return super().env(world) | {"CELERY_SETTINGS": json.dumps(config)}

    def workers(self, world):
        processes, *options = self.worker_settings
        command = [self.python(), "-m", "celery", "-A", "celery_echo", "worker", *flags(options)]
        for number in range(processes.value):
            yield f"worker-{number}", [*command, "--hostname", f"worker-{number}@%h"]


class CeleryBest(Celery):
    tier = BEST
    redis = settings.REDIS_FAST
    config = settings.CELERY_FAST
    worker_settings = settings.CELERY_WORKER_FAST
    guarantees = Guarantees("no", "no", "within 1 s")


class CelerySqlite(Celery):
    key, name = "celery-sqlite", "Celery, SQLite"
    share = 0.025
    redis = ()
    results = settings.CELERY_SQLITE

    def database(self, world):
        return world.folder / "results.db"

    def backend(self, world):
        return f"db+sqlite:///{self.database(world)}"

    def stored(self, world):
        # Each task gets its row once, when it is done: the last id is their number.
        return query(self.database(world), "SELECT coalesce(max(id), 0) FROM celery_taskmeta")


class CelerySqliteBest(CelerySqlite):
    tier = BEST
    # The prefork pool: solo opens the database anew for each result.
    config = settings.CELERY_FAST
    guarantees = Guarantees("no", "no", "yes")


class Dramatiq(Python):
    key, name = "dramatiq", "Dramatiq, Redis"
    program = "dramatiq_echo.py"
    redis = settings.REDIS_SAFE
    config = settings.DRAMATIQ_SAFE
    worker_settings = settings.DRAMATIQ_WORKER

    def all_settings(self):
        return [*self.config, *self.worker_settings, settings.DRAMATIQ_RESULTS, *super().all_settings()]

    def env(self, world):
        config = self.configured() | {"url": world.vhost.url}
        redis = f"redis://127.0.0.1:{world.redis.port}/0"
        return super().env(world) | {"DRAMATIQ_SETTINGS": json.dumps(config), "REDIS_URL": redis}

    def workers(self, world):
        yield "worker", [self.python(), "-m", "dramatiq", "dramatiq_echo", *flags(self.worker_settings)]


class DramatiqBest(Dramatiq):
    tier = BEST
    redis = settings.REDIS_FAST
    config = ()
    prefetch = settings.DRAMATIQ_PREFETCH
    guarantees = Guarantees("no", "yes", "within 1 s")

    def all_settings(self):
        return [self.prefetch, *super().all_settings()]

    def env(self, world):
        return super().env(world) | {self.prefetch.name: str(self.prefetch.value)}


class BullMQ(Side):
    key, name = "bullmq", "BullMQ"
    redis = settings.REDIS_SAFE
    worker_settings = settings.BULLMQ_WORKER

    def all_settings(self):
        return [*self.worker_settings, settings.BULLMQ_BULK, *super().all_settings()]

    def env(self, world):
        return {
            "NODE_PATH": str(self.places.installed / "node/node_modules"),
            "NODE_ENV": "production",
            "BULK": str(settings.BULLMQ_BULK.value),
            "REDIS_PORT": str(world.redis.port),
        }

    def command(self, *arguments):
        return ["node", JOBS / "bullmq_echo.cjs", *arguments]

    def workers(self, world):
        processes, concurrency = self.worker_settings
        for number in range(processes.value):
            yield f"worker-{number}", self.command("work", concurrency.value)

    def producer(self, world, how, jobs):
        return self.command(how, jobs)

    def stored(self, world):
        return world.redis.number("ZCARD bull:echo:completed")

    def server_pids(self, world):
        return world.redis.process.pids()


class BullMQBest(BullMQ):
    tier = BEST
    redis = settings.REDIS_FAST
    worker_settings = settings.BULLMQ_WORKER_FAST
    guarantees = Guarantees("within 1 s", "yes", "within 1 s")


# Homing first in each tier: it is what the others are compared with.
ALL = [
    *(Homing, Celery, CelerySqlite, Dramatiq, BullMQ),
    *(HomingBest, CeleryBest, CelerySqliteBest, DramatiqBest, BullMQBest),
]
PEERS = sorted({side.key for side in ALL} - {Homing.key})


def named(program, chosen):
    return [replace(setting, name=f"{program} {setting.name}") for setting in chosen]


def flags(chosen):
    return [str(setting) for setting in chosen]


def query(path, sql):
    """The one number that `sql` asks a database for, which others write to."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=READY_SECS_MAX)) as db:
        return db.execute(sql).fetchone()[0]
