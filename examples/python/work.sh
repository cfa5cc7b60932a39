#!/bin/sh
# The handler of work_queue.py: says it again, with the name of the worker, and
# takes its time for it.
sleep 0.4
printf '{"worker": "%s", "said": %s}\n' "$WORKER" "$(cat)"
