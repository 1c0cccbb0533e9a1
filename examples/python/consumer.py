#!/usr/bin/env python3
"""Reads bankrefresh's events with pika and protobuf classes made from proto/.

    python -m pip install -r requirements.txt
    python -m grpc_tools.protoc -I ../../proto --python_out=. ../../proto/bankrefresh/v1/commands.proto \
        ../../proto/bankrefresh/v1/events.proto
    python consumer.py amqp://guest:guest@127.0.0.1:5672/%2f [--prefix bankrefresh] [--count N]

Binds a durable queue of its own, so that nothing is missed while it is not running, and remembers the ids it has seen,
because an event can come twice.
"""

import argparse

import pika

from bankrefresh.v1 import events_pb2

EVENTS = {
    "bankrefresh.v1.TransactionsUpdated": events_pb2.TransactionsUpdated,
    "bankrefresh.v1.UserActionRequired": events_pb2.UserActionRequired,
    "bankrefresh.v1.RefreshFailed": events_pb2.RefreshFailed,
}


def describe(kind, event):
    if kind.endswith("TransactionsUpdated"):
        amounts = ", ".join(f"{t.amount} {t.currency}" for t in event.transactions[:3])
        return f"{event.new_transactions} new transactions ({amounts}, …), part {event.part} of {event.parts}"
    if kind.endswith("UserActionRequired"):
        return f"{events_pb2.UserActionReason.Name(event.reason)}, a web form until {event.expires_at.ToJsonString()}"
    return f"{events_pb2.FailureReason.Name(event.reason)} {event.finapi_code}".rstrip()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("url")
    arguments.add_argument("--prefix", default="bankrefresh")
    arguments.add_argument("--queue", default="example-consumer")
    arguments.add_argument("--count", type=int, help="stop after so many events")
    arguments = arguments.parse_args()

    connection = pika.BlockingConnection(pika.URLParameters(arguments.url))
    channel = connection.channel()
    channel.queue_declare(arguments.queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(arguments.queue, f"{arguments.prefix}.events", "#")
    channel.basic_qos(prefetch_count=100)
    print("consuming", flush=True)

    seen = set()
    for method, properties, body in channel.consume(arguments.queue):
        event = EVENTS[properties.type].FromString(body)
        if event.refresh.event_id not in seen:
            seen.add(event.refresh.event_id)
            print(f"{properties.type.rsplit('.')[-1]}: connection {event.refresh.bank_connection_id}: "
                  f"{describe(properties.type, event)}")
            print(f"  content_type={properties.content_type} message_id={properties.message_id} "
                  f"correlation_id={properties.correlation_id} app_id={properties.app_id} "
                  f"timestamp={properties.timestamp}")
            print(f"  headers={properties.headers}", flush=True)
        channel.basic_ack(method.delivery_tag)
        if arguments.count is not None and len(seen) >= arguments.count:
            break
    connection.close()


if __name__ == "__main__":
    main()
