"""What one run has to itself; nothing of it outlives the run."""

import contextlib
import os
import pathlib
import tempfile

from processes import Process
from servers import Redis


class World:
    """A folder, a vhost in RabbitMQ and, for a side that needs it, a Redis."""

    def __init__(self, folder, env, vhost, redis):
        self.folder = folder
        self.env = env
        self.vhost = vhost
        self.redis = redis

    def start(self, name, command, env):
        return Process(name, command, env, self.folder)


@contextlib.contextmanager
def world_of(side, rabbitmq):
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="homing-peers-")))
        env = clean_environment()
        vhost = stack.enter_context(rabbitmq.vhost("peers"))
        redis = stack.enter_context(Redis(folder, env, side.redis)) if side.redis else None
        yield World(folder, env, vhost, redis)


def clean_environment():
    """Ours, without what would set Homing or a peer up differently."""
    theirs = ("HOMING_", "CELERY_", "AMQP_URL", "REDIS_URL", "dramatiq_", "NODE_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
