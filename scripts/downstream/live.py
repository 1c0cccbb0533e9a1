#!/usr/bin/env python3
"""The consumers against a real worker, RabbitMQ and finAPI's simulator.

    live.py BANKREFRESH PYTHON_EXAMPLE [TYPESCRIPT_EXAMPLE]

The examples are built. Their events are compared with what the commands must lead to; then events are published again, and such that
nobody can read; then the consumers are started again.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pika
import yaml
from processes import Process
from rabbitmq import rabbitmq

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/reference/events.md").read_text()
API = yaml.safe_load((ROOT / "asyncapi.yaml").read_text())
PROBE = "probe"

# The simulator goes by the connection's id. The first one is refreshed by the command in docs/reference/events.md.
SENT = [2, 9001, 9005]
EXPECTED = [
    ("TransactionsUpdated", "1", "origin=SILENT"),
    ("TransactionsUpdated", "2", "origin=SILENT"),
    ("UserActionRequired", "9001", "reason=DURING_UPDATE"),
    ("TransactionsUpdated", "9001", "origin=USER_ACTED"),
    ("RefreshFailed", "9005", "reason=BANK_REJECTED"),
]
EVENT = r"^(TransactionsUpdated|UserActionRequired|RefreshFailed) command_id=\S+ connection=(\d+) ((?:origin|reason)=\S+)"


def same(what, is_, should):
    if is_ != should:
        raise SystemExit(f"{what}:\n  is        {is_}\n  should be {should}")


def settings(url, sandbox):
    """The environment without settings of the caller's, and with ours."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BANKREFRESH__")}
    return clean | {
        "BANKREFRESH__AMQP__URL": url,
        "BANKREFRESH__FINAPI__ACCESS_URL": sandbox,
        "BANKREFRESH__FINAPI__WEB_FORM_URL": sandbox,
        "BANKREFRESH__FINAPI__CLIENT_ID": "sandbox-client",
        "BANKREFRESH__FINAPI__CLIENT_SECRET": "sandbox-secret",
        "BANKREFRESH__CREDENTIALS__SOURCE": "http",
        "BANKREFRESH__CREDENTIALS__URL": f"{sandbox}/sandbox/credentials",
    }


def send_as_in_docs(url, example):
    """Runs the command's example in docs/reference/events.md as it stands there, but for the broker's address."""
    text = re.search(r"```python\n(.*?)```", DOCS, re.DOTALL)[1]
    written = "amqp://guest:guest@127.0.0.1:5672/%2f"
    assert text.count(written) == 1
    subprocess.run([sys.executable, "-c", text.replace(written, url)], cwd=example, check=True)


def messages(channel, queue, count):
    """So many messages, acknowledged."""
    got = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=30):
        if method is None:
            raise SystemExit(f"the queue {queue} has {len(got)} messages instead of {count}")
        channel.basic_ack(method.delivery_tag)
        got.append((method, properties, body))
        if len(got) == count:
            break
    channel.cancel()
    return got


def check_wire(probed):
    """What came is what docs/reference/events.md and asyncapi.yaml say; agreement.py holds these two together."""
    headers = API["components"]["messageTraits"]["event"]["headers"]
    by_key = {channel["address"]: list(channel["messages"]) for channel in API["channels"].values()}
    for method, properties, _ in probed:
        required, allowed = set(headers["required"]), set(headers["properties"])
        here = set(properties.headers)
        same("headers that are missing, and unknown ones", (required - here, here - allowed), (set(), set()))
        same("the type of its key", by_key[method.routing_key], [properties.type.rsplit(".")[-1]])
        given = (properties.content_type, properties.app_id, properties.delivery_mode, bool(properties.timestamp))
        same("properties", given, ("application/protobuf", "bankrefresh", 2, True))
        assert re.fullmatch(r"[0-9a-f-]{36}", properties.message_id) and properties.correlation_id
        attributes = [properties.headers[f"cloudEvents_{name}"] for name in ["specversion", "id", "source", "type"]]
        same("attributes", attributes, ["1.0", properties.message_id, "/bankrefresh", properties.type])
        assert re.fullmatch(r"bankConnections/\d+", properties.headers["cloudEvents_subject"])


def check_events(consumers):
    for consumer in consumers:
        lines = [match.groups() for match in consumer.wait_for(EVENT, len(EXPECTED))]
        same(f"events that {consumer.name} printed", sorted(lines), sorted(EXPECTED))


def check_repeats(consumers, channel, probed):
    """One event of each type is published again, twice."""
    again = {properties.type: (method, properties, body) for method, properties, body in probed}
    for method, properties, body in again.values():
        for _ in range(2):
            channel.basic_publish("bankrefresh.events", method.routing_key, body, properties, mandatory=True)
    ids = sorted(2 * [properties.message_id for _, properties, _ in again.values()])
    for consumer in consumers:
        repeats = consumer.wait_for(r"^repeated event_id=(\S+)$", len(ids), seconds=30)
        same(f"repeats that {consumer.name} dropped", sorted(match[1] for match in repeats), ids)


def check_unreadable(consumers, channel):
    """A body that is none, a type that is none, and no type at all end in the consumers' dead letters."""
    kinds = ["bankrefresh.v1.RefreshFailed", "bankrefresh.v1.Unheard", None]
    for kind in kinds:
        channel.basic_publish("bankrefresh.events", "refresh.failed", b"\xff", pika.BasicProperties(type=kind), mandatory=True)
    for consumer in consumers:
        consumer.wait_for(r"^unreadable: ", len(kinds), seconds=30)
        dead = messages(channel, f"{consumer.name}.dead-letters", len(kinds))
        same(f"dead letters of {consumer.name}", [properties.type for _, properties, _ in dead], kinds)


def check_output(consumers, probed):
    """No consumer printed a web form's URL, or anything but what was waited for."""
    from bankrefresh.v1 import events_pb2  # made by the example's own build

    bodies = [body for method, _, body in probed if method.routing_key == "user-action.required"]
    urls = [events_pb2.UserActionRequired.FromString(body).web_form_url for body in bodies]
    assert urls and all(urls)
    expected = Counter(event for event, _, _ in EXPECTED) + Counter({"consuming": 1, "repeated": 6, "unreadable:": 3})
    for consumer in consumers:
        printed = consumer.output()
        assert not any(url in printed for url in urls), f"{consumer.name} printed a web form's URL"
        same(f"lines of {consumer.name}\n{printed}\nby their first word", consumer.first_words(), expected)


def check_restart(consumers, channel):
    """What was published meanwhile comes; what was acknowledged does not come again."""
    channel.basic_publish("bankrefresh.events", "refresh.failed", b"", pika.BasicProperties(type="meanwhile"), mandatory=True)
    with contextlib.ExitStack() as stack:
        for name, (cwd, command) in consumers.items():
            consumer = stack.enter_context(Process(name, command, cwd=cwd))
            consumer.wait_for("^unreadable: .*meanwhile", seconds=30)
            same(
                f"lines of {name}\n{consumer.output()}\nonce started again",
                consumer.first_words(),
                {"consuming": 1, "unreadable:": 1},
            )


def commands_of(url, python_example, typescript_example=None):
    """Each consumer's folder and command, by its name."""
    commands = {"example-python": (python_example, [sys.executable, "consumer.py", "--url", url])}
    if typescript_example:
        commands["example-typescript"] = (typescript_example, ["npm", "start", "--silent", "--", "--url", url])
    return commands


def run(bankrefresh, *examples):
    with contextlib.ExitStack() as stack:
        start = stack.enter_context
        url = start(rabbitmq())
        sandbox = start(Process("sandbox", [bankrefresh, "sandbox", "--listen", "127.0.0.1:0"]))
        environment = settings(url, sandbox.wait_for(r"simulator is at (\S+)")[0][1])
        subprocess.run([bankrefresh, "topology", "apply"], env=environment, check=True)

        channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
        stack.callback(channel.connection.close)
        channel.confirm_delivery()
        channel.queue_declare(PROBE, exclusive=True)
        channel.queue_bind(PROBE, "bankrefresh.events", "#")
        commands = commands_of(url, *examples)
        running = start(contextlib.ExitStack())
        consumers = [running.enter_context(Process(name, command, cwd=cwd)) for name, (cwd, command) in commands.items()]
        for consumer in consumers:
            consumer.wait_for(rf"^consuming {consumer.name}$")

        start(Process("worker", [bankrefresh, "worker"], env=environment))
        send_as_in_docs(url, examples[0])
        for connection in SENT:
            command = [bankrefresh, "send", "--user", "anna", "--connection", str(connection)]
            subprocess.run(command, env=environment, check=True)

        check_events(consumers)
        probed = messages(channel, PROBE, len(EXPECTED))
        check_wire(probed)
        check_repeats(consumers, channel, probed)
        check_unreadable(consumers, channel)
        check_output(consumers, probed)
        running.close()
        check_restart(commands, channel)
        for consumer in consumers:
            print(f"--- {consumer.name}\n{consumer.output()}")


def main():
    # So that ends by the signal, too, take along all that was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bankrefresh, *examples = (Path(argument).resolve() for argument in sys.argv[1:])
    sys.path.append(str(examples[0]))
    run(bankrefresh, *examples)


if __name__ == "__main__":
    main()
