"""The echo job in Dramatiq; DRAMATIQ_SETTINGS has those of its broker, as JSON."""

import json
import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

import producer

broker = RabbitmqBroker(**json.loads(os.environ["DRAMATIQ_SETTINGS"]))
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["REDIS_URL"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def echo(payload):
    return payload


def enqueue_many(payloads):
    for payload in payloads:
        echo.send(payload)


def ask(payload):
    return echo.send(payload).get_result(block=True, timeout=producer.RESULT_SECS_MAX * 1000)


if __name__ == "__main__":
    producer.main(enqueue_many, ask)
