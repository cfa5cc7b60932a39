"""Any AMQP client can submit a task and read its outcome: here pika.

It is the request and reply of RabbitMQ's own tutorial with two changes: the
queue of tasks is there already, so it is declared passively; and a message says
by its `type` which kind of task it is. A second message has none, and takes the
worker's --default-kind.

    homing worker --run demo.hola='python3 examples/python/hola.py' \\
        --default-kind demo.hola --foreign-replies &
    python3 examples/python/hello.py
"""

import json
import os
import sys

import pika

# Seconds without an outcome that count as never.
PAUSE_MAX = 30

JOB = {"operacion": "hola", "entrada": "mundo"}


def main():
    url = os.environ.get("HOMING_BROKER") or os.environ["AMQP_URL"]
    namespace = os.environ.get("HOMING_NAMESPACE")
    tasks = f"{namespace}.tasks" if namespace else "tasks"

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(tasks, passive=True)
    replies = channel.queue_declare("", exclusive=True).method.queue

    for correlation_id, kind in [("hola 1", "demo.hola"), ("hola 2", None)]:
        channel.basic_publish(
            exchange=tasks,
            routing_key=tasks,
            body=json.dumps(JOB),
            properties=pika.BasicProperties(
                type=kind,
                content_type="application/json",
                correlation_id=correlation_id,
                reply_to=replies,
                delivery_mode=2,
            ),
            mandatory=True,
        )

    outcomes = {}
    for method, properties, body in channel.consume(replies, inactivity_timeout=PAUSE_MAX):
        if method is None:
            sys.exit(f"error: {len(outcomes)} of 2 outcomes, and no other for {PAUSE_MAX} s")
        channel.basic_ack(method.delivery_tag)
        outcomes[properties.correlation_id] = json.loads(body)
        print(properties.correlation_id, body.decode())
        if len(outcomes) == 2:
            break
    connection.close()

    for correlation_id in ["hola 1", "hola 2"]:
        outcome = outcomes[correlation_id]
        assert outcome["status"] == "succeeded", outcome
        assert outcome["kind"] == "demo.hola", outcome
        assert outcome["output"] == {"salida": "hola, mundo"}, outcome


if __name__ == "__main__":
    main()
