"""The echo job in Celery; CELERY_SETTINGS has its settings, as JSON."""

import json
import os

import celery

import producer

app = celery.Celery("celery_echo")
app.conf.update(json.loads(os.environ["CELERY_SETTINGS"]))


@app.task
def echo(payload):
    return payload


def enqueue_many(payloads):
    for payload in payloads:
        echo.delay(payload)


def ask(payload):
    # `interval` is for results in a database, which Celery has to poll.
    return echo.delay(payload).get(timeout=producer.RESULT_SECS_MAX, interval=0.001)


if __name__ == "__main__":
    producer.main(enqueue_many, ask)
