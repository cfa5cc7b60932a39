"""The servers of a run: a vhost of the private RabbitMQ, a Redis of its own."""

import contextlib
import pathlib
import socket
import subprocess

from processes import Failure, Process, wait_until

NODE = pathlib.Path(__file__).resolve().parents[2] / "scripts/node"


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
        self.folder = folder
        self.env = env
        self.settings = settings
        self.port = free_port()
        self.process = self.connection = None

    def __enter__(self):
        data = self.folder / "redis"
        data.mkdir()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir", data]
        for setting in self.settings:
            command += [f"--{setting.name}", setting.value]
        self.process = Process("redis-server", command, self.env, self.folder)
        try:
            wait_until(self.is_up, self.process, "redis-server does not listen")
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.stop()

    def is_up(self):
        with contextlib.suppress(ConnectionRefusedError):
            self.connection = socket.create_connection(("127.0.0.1", self.port))
        return self.connection is not None

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
