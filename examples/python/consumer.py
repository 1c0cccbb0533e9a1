#!/usr/bin/env python3
"""Reads bankrefresh's events from a durable queue of its own and prints a line for each, without anything secret or personal.

See README.md beside this file for how to run it.
"""

import argparse
from collections import OrderedDict

import pika
from bankrefresh.v1 import events_pb2
from google.protobuf.message import DecodeError

EVENTS = {
    "bankrefresh.v1.TransactionsUpdated": events_pb2.TransactionsUpdated,
    "bankrefresh.v1.UserActionRequired": events_pb2.UserActionRequired,
    "bankrefresh.v1.RefreshFailed": events_pb2.RefreshFailed,
}
ROUTING_KEYS = ["transactions.updated", "user-action.required", "refresh.failed"]
IDS_MAX = 100_000
PREFETCH = 100


class Unreadable(Exception):
    pass


def decode(kind, body):
    if kind not in EVENTS:
        raise Unreadable(f"type {kind!r} is no event")
    try:
        event = EVENTS[kind].FromString(body)
    except DecodeError as error:
        raise Unreadable(f"the body is no {kind}") from error
    if not event.refresh.event_id:
        raise Unreadable("no event_id")
    return event


def name(enum, number):
    """An enum value's name without its prefix; releases to come may send values that this one has no name for."""
    prefix = enum.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
    value = enum.DESCRIPTOR.values_by_number.get(number)
    return value.name.removeprefix(prefix) if value else str(number)


def plain(text):
    """The text without what commands a terminal, breaks a line or turns its direction, for a line that is printed."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def describe(event):
    match event:
        case events_pb2.TransactionsUpdated():
            origin = name(events_pb2.UpdateOrigin, event.origin)
            return f"origin={origin} new_transactions={event.new_transactions} part={event.part} last={str(event.last).lower()}"
        case events_pb2.UserActionRequired():
            # Here the web form would be put before the user. Its URL is a secret: never print it.
            return f"reason={name(events_pb2.UserActionReason, event.reason)}"
        case events_pb2.RefreshFailed():
            reason = name(events_pb2.FailureReason, event.reason)
            return f"reason={reason} finapi_code={plain(event.finapi_code)} retryable={str(event.retryable).lower()}"


def advance(cursors, event):
    """Moves the connection's cursor to what is covered now. Returns from where to ask again where something is missing before."""
    if not event.last or not event.HasField("covered_until"):
        return None
    connection = (event.refresh.user_id, event.refresh.bank_connection_id)
    start, end = event.covered_from.ToNanoseconds(), event.covered_until.ToNanoseconds()
    cursor = cursors.get(connection, start)
    if start > cursor:
        return cursor
    cursors[connection] = max(cursor, end)
    return None


class Consumer:
    def __init__(self):
        # In memory as well; a service keeps it beside the transactions, and passes it into the connection's next command.
        self.cursors = {}
        # In memory, so a restart forgets them. A service keeps the id where it keeps what it makes of the event, in one transaction.
        self.ids = OrderedDict()

    def on_message(self, channel, method, properties, body):
        try:
            event = decode(properties.type, body)
        except Unreadable as unreadable:
            print(f"unreadable: {unreadable}", flush=True)
            channel.basic_nack(method.delivery_tag, requeue=False)
            return
        refresh = event.refresh
        if refresh.event_id in self.ids:
            print(f"repeated event_id={plain(refresh.event_id)}", flush=True)
        else:
            print(
                f"{type(event).__name__} command_id={plain(refresh.command_id)} connection={refresh.bank_connection_id} "
                f"{describe(event)} event_id={plain(refresh.event_id)}",
                flush=True,
            )
            self.remember(refresh.event_id)
            if isinstance(event, events_pb2.TransactionsUpdated):
                # Here each transaction would be stored by its account and id, in the same transaction as the cursor.
                missing = advance(self.cursors, event)
                if missing is not None:
                    # Here a command would be sent with this as `transactions_since`, and a `max_age`.
                    print(f"gap connection={refresh.bank_connection_id} transactions_since={missing}", flush=True)
        channel.basic_ack(method.delivery_tag)

    def remember(self, event_id):
        self.ids[event_id] = None
        if len(self.ids) > IDS_MAX:
            self.ids.popitem(last=False)


def declare(channel, queue, exchange):
    """The queue, and one for what it can't read. The events' exchange is the worker's; it must be there."""
    dead_letters = f"{queue}.dead-letters"
    channel.queue_declare(dead_letters, durable=True, arguments={"x-queue-type": "quorum"})
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_letters,
    }
    channel.queue_declare(queue, durable=True, arguments=arguments)
    for key in ROUTING_KEYS:
        channel.queue_bind(queue, exchange, key)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/%2f")
    parser.add_argument("--prefix", default="bankrefresh")
    parser.add_argument("--queue", default="example-python")
    options = parser.parse_args()

    channel = pika.BlockingConnection(pika.URLParameters(options.url)).channel()
    declare(channel, options.queue, f"{options.prefix}.events")
    channel.basic_qos(prefetch_count=PREFETCH)
    channel.basic_consume(options.queue, Consumer().on_message)
    print(f"consuming {options.queue}", flush=True)
    try:
        channel.start_consuming()
    except KeyboardInterrupt:
        channel.connection.close()


if __name__ == "__main__":
    main()
