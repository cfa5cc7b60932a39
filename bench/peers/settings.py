"""Every setting that a side runs with, and where its documentation has it."""

from dataclasses import dataclass

CELERY = "https://docs.celeryq.dev/en/stable"
CELERY_CONFIG = f"{CELERY}/userguide/configuration.html"
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
# The number of cores, its default.
CELERY_WORKER = (Setting("--concurrency", 2, f"{CELERY}/userguide/workers.html#concurrency"),)
CELERY_WORKER_FAST = (
    *CELERY_WORKER,
    Setting("--without-gossip", True, f"{CELERY}/reference/cli.html#celery-worker"),
    Setting("--without-mingle", True, f"{CELERY}/reference/cli.html#celery-worker"),
    Setting("--without-heartbeat", True, f"{CELERY}/reference/cli.html#celery-worker"),
)

DRAMATIQ_SAFE = (
    Setting("confirm_delivery", True, f"{DRAMATIQ}/reference.html#dramatiq.brokers.rabbitmq.RabbitmqBroker"),
)
# Its defaults on two cores.
DRAMATIQ_WORKER = (
    Setting("--processes", 2, f"{DRAMATIQ}/guide.html#workers"),
    Setting("--threads", 8, f"{DRAMATIQ}/guide.html#workers"),
)

BULLMQ_WORKERS = Setting("worker processes", 2, f"{BULLMQ}/workers/concurrency#multiple-workers")
BULLMQ_CONCURRENCY = Setting("concurrency", 100, f"{BULLMQ}/parallelism-and-concurrency")
BULLMQ_BULK = Setting("addBulk", 1_000, f"{BULLMQ}/queues/adding-bulks")

HOMING_WORKER_FAST = (Setting("--concurrency", 1_000, HOMING), Setting("--prefetch", 1_000, HOMING))
HOMING_COLLECTOR_FAST = (Setting("--prefetch", 1_000, HOMING),)
