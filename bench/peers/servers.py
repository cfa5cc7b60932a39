"""The servers of a run: a vhost of the private RabbitMQ, a Redis of its own."""

import pathlib
import socket
import subprocess
import time

from processes import Failure, Process

NODE = pathlib.Path(__file__).resolve().parents[2] / "scripts/node"
REDIS_START_SECS_MAX = 20
LOOK_EVERY_SECS = 0.01


class RabbitMQ:
    """The node that scripts/node started in `folder`."""

    def __init__(self, folder, url):
        self.folder = folder
        self.base, _, _ = url.rpartition("/")
        self.pids = [int(pathlib.Path(folder, "pid").read_text())]

    def evaluate(self, expression):
        said = subprocess.run(
            [NODE, "eval", self.folder, expression], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if said.returncode != 0:
            raise Failure(f"RabbitMQ does not do as told: {said.stderr.strip()}", "run it again")
        return said.stdout

    def version(self):
        return self.evaluate("io_lib:format(\"~s\", [rabbit_misc:version()]).").split('"')[1]

    def vhost(self, name):
        return Vhost(self, name)


class Vhost:
    """An empty broker for one run; all that is in it goes with it."""

    def __init__(self, rabbitmq, name):
        self.rabbitmq = rabbitmq
        self.name = name
        self.url = f"{rabbitmq.base}/{name}"

    def __enter__(self):
        every = '<<".*">>'
        self.rabbitmq.evaluate(
            f'rabbit_vhost:add(<<"{self.name}">>, <<"bench">>), rabbit_auth_backend_internal:set_permissions('
            f'<<"guest">>, <<"{self.name}">>, {every}, {every}, {every}, <<"bench">>).'
        )
        return self

    def __exit__(self, *_):
        self.rabbitmq.evaluate(f'rabbit_vhost:delete(<<"{self.name}">>, <<"bench">>).')


class Redis:
    """A private Redis in `folder`, with the settings of redis.conf given."""

    def __init__(self, folder, env, settings):
        data = folder / "redis"
        data.mkdir()
        self.port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir", data]
        for setting in settings:
            command += [f"--{setting.name}", setting.value]
        self.process = Process("redis-server", command, env, folder)
        self.connection = None

    def __enter__(self):
        try:
            self.connect()
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.stop()

    def connect(self):
        until = time.monotonic() + REDIS_START_SECS_MAX
        while self.connection is None:
            self.process.check()
            try:
                self.connection = socket.create_connection(("127.0.0.1", self.port))
            except ConnectionRefusedError:
                if time.monotonic() > until:
                    raise self.process.failure("redis-server does not listen") from None
                time.sleep(LOOK_EVERY_SECS)

    def number(self, command):
        """The answer to a command that answers with a number."""
        self.connection.sendall(command.encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            answer += self.connection.recv(4096)
        return int(answer[1:])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]
