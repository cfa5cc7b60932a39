"""Fifteen hello-world messages over three workers, shared evenly.

The work queue of RabbitMQ's own tutorial with two changes: the queue is declared
passively, and a message has a `type`. With --prefetch 1 a worker gets its next
message only after it has acked the one before, so each gets five.

    for n in 1 2 3; do
        WORKER=$n homing worker --run demo.hello='sh examples/python/work.sh' \\
            --prefetch 1 --concurrency 1 --foreign-replies &
    done
    python3 examples/python/work_queue.py
"""

import json
import os
import sys
from collections import Counter

import pika

MESSAGES = 15
WORKERS = 3

# Seconds without an outcome that count as never.
PAUSE_MAX = 30


def main():
    url = os.environ.get("HOMING_BROKER") or os.environ["AMQP_URL"]
    namespace = os.environ.get("HOMING_NAMESPACE")
    tasks = f"{namespace}.tasks" if namespace else "tasks"

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(tasks, passive=True)
    replies = channel.queue_declare("", exclusive=True).method.queue

    for number in range(1, MESSAGES + 1):
        channel.basic_publish(
            exchange=tasks,
            routing_key=tasks,
            body=json.dumps(f"hello world {number}"),
            properties=pika.BasicProperties(
                type="demo.hello",
                content_type="application/json",
                correlation_id=str(number),
                reply_to=replies,
                delivery_mode=2,
            ),
            mandatory=True,
        )

    handled, shares = Counter(), Counter()
    for method, properties, body in channel.consume(replies, inactivity_timeout=PAUSE_MAX):
        if method is None:
            sys.exit(f"error: {handled.total()} of {MESSAGES} outcomes, and no other for {PAUSE_MAX} s")
        channel.basic_ack(method.delivery_tag)
        outcome = json.loads(body)
        assert outcome["status"] == "succeeded", outcome
        output = outcome["output"]
        assert output["said"] == f"hello world {properties.correlation_id}", outcome
        handled[properties.correlation_id] += 1
        shares[output["worker"]] += 1
        print(f"worker {output['worker']}: {output['said']}")
        if handled.total() == MESSAGES:
            break

    left = channel.queue_declare(replies, passive=True).method.message_count
    connection.close()
    assert len(handled) == MESSAGES and left == 0, f"not each once: {handled}, {left} more"
    assert sorted(shares.values()) == [MESSAGES // WORKERS] * WORKERS, f"not shared evenly: {shares}"


if __name__ == "__main__":
    main()
