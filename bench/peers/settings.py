"""Every setting that a side runs with, and where its documentation has it."""

from dataclasses import dataclass

CELERY = "https://docs.celeryq.dev/en/stable"
CELERY_CONFIG = f"{CELERY}/userguide/configuration.html"
CELERY_WORKERS = f"{CELERY}/userguide/workers.html#starting-the-worker"
CELERY_RABBITMQ = f"{CELERY}/getting-started/backends-and-brokers/rabbitmq.html"
DRAMATIQ = "https://dramatiq.io"
BULLMQ = "https://docs.bullmq.io/guide"
REDIS = "https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/#append-only-file"
HOMING = "docs/performance.md#how-to-measure"


@dataclass(frozen=True)
class Setting:
    name: str
    value: object
    link: str

    def __str__(self):
        """As on a command line, where an option may be without a value."""
        if self.name.startswith("--") and self.value is True:
            return self.name
        return f"{self.name}={self.value}"


NOEVICTION = Setting("maxmemory-policy", "noeviction", f"{BULLMQ}/going-to-production#max-memory-policy")

# A Redis that has what it has answered for on disk, and the one that its
# documentation recommends where a second may be lost.
REDIS_SAFE = (
    Setting("appendonly", "yes", REDIS),
    Setting("appendfsync", "always", REDIS),
    NOEVICTION,
)
REDIS_FAST = (
    Setting("appendonly", "yes", REDIS),
    Setting("appendfsync", "everysec", REDIS),
    NOEVICTION,
)

CELERY_SAFE = (
    Setting("task_acks_late", True, f"{CELERY_CONFIG}#task-acks-late"),
    Setting("task_reject_on_worker_lost", True, f"{CELERY_CONFIG}#task-reject-on-worker-lost"),
    Setting(
        "broker_transport_options",
        {"confirm_publish": True},
        f"{CELERY}/userguide/calling.html#connection-error-handling",
    ),
    Setting("task_default_queue_type", "quorum", f"{CELERY_RABBITMQ}#using-quorum-queues"),
)
CELERY_FAST = (
    Setting("worker_prefetch_multiplier", 128, f"{CELERY}/userguide/optimizing.html#prefetch-limits"),
)
# As many pool processes as cores, its default.
CELERY_WORKER = (
    Setting("worker processes", 1, CELERY_WORKERS),
    Setting("--concurrency", 2, f"{CELERY}/userguide/workers.html#concurrency"),
)
# Tried on two cores: the prefork, thread and solo pools, with one worker and two.
CELERY_WORKER_FAST = (
    Setting("worker processes", 2, CELERY_WORKERS),
    Setting("--pool", "solo", f"{CELERY}/userguide/concurrency/index.html"),
    Setting("--without-gossip", True, f"{CELERY}/reference/cli.html#celery-worker"),
    Setting("--without-mingle", True, f"{CELERY}/reference/cli.html#celery-worker"),
    Setting("--without-heartbeat", True, f"{CELERY}/reference/cli.html#celery-worker"),
)
CELERY_REDIS = Setting("result_backend", "redis://", f"{CELERY_CONFIG}#redis-backend-settings")
CELERY_SQLITE = Setting("result_backend", "db+sqlite://", f"{CELERY_CONFIG}#database-backend-settings")

DRAMATIQ_RESULTS = Setting("Results", "RedisBackend", f"{DRAMATIQ}/advanced.html#message-results")
DRAMATIQ_SAFE = (
    Setting("confirm_delivery", True, f"{DRAMATIQ}/reference.html#dramatiq.brokers.rabbitmq.RabbitmqBroker"),
)
# Its defaults on two cores.
DRAMATIQ_WORKER = (
    Setting("--processes", 2, f"{DRAMATIQ}/guide.html#workers"),
    Setting("--threads", 8, f"{DRAMATIQ}/guide.html#workers"),
)
# Tried on two cores: 1 and 2 processes, 1, 2 and 8 threads, with and without.
DRAMATIQ_PREFETCH = Setting("dramatiq_queue_prefetch", 128, f"{DRAMATIQ}/reference.html#environment-variables")

# Several workers are what its documentation recommends, and 100 to 300 at once.
BULLMQ_WORKER = (
    Setting("worker processes", 2, f"{BULLMQ}/workers/concurrency#multiple-workers"),
    Setting("concurrency", 100, f"{BULLMQ}/parallelism-and-concurrency"),
)
# Tried on two cores: 1 and 2 processes, with 16, 100 and 300. Redis needs a core.
BULLMQ_WORKER_FAST = (
    Setting("worker processes", 1, f"{BULLMQ}/workers/concurrency"),
    Setting("concurrency", 100, f"{BULLMQ}/parallelism-and-concurrency"),
)
BULLMQ_BULK = Setting("addBulk", 1_000, f"{BULLMQ}/queues/adding-bulks")

HOMING_WORKER_FAST = (Setting("--concurrency", 1_000, HOMING), Setting("--prefetch", 1_000, HOMING))
HOMING_COLLECTOR_FAST = (Setting("--prefetch", 1_000, HOMING),)
