#!/usr/bin/env python3
"""Sees that asyncapi.yaml, docs/reference/events.md and the examples name what src/ and proto/ name, no more and no less."""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/reference/events.md").read_text()
MESSAGE = "".join(file.read_text() for file in sorted((ROOT / "src/message").glob("*.rs")))
EVENT = (ROOT / "src/refresh/event/mod.rs").read_text()
TOPOLOGY = (ROOT / "src/broker/topology.rs").read_text()
PROPERTIES = (ROOT / "src/broker/rabbit/convert.rs").read_text()
PROTO = "".join((ROOT / "proto/bankrefresh/v1" / file).read_text() for file in ["commands.proto", "control.proto", "events.proto"])
API = yaml.safe_load((ROOT / "asyncapi.yaml").read_text())
PREFIX = "bankrefresh"

faults = []
compared = 0


def same(what, said, where, true):
    global compared
    said, true = set(map(str, said)), set(map(str, true))
    assert true, f"nothing was found in the sources for {what}: this check has gone blind"
    compared += len(true)
    if true - said:
        faults.append(f"{where}: {what}: lacks {', '.join(sorted(true - said))}")
    if said - true:
        faults.append(f"{where}: {what}: {', '.join(sorted(said - true))} is not in the sources")


def const(name, text):
    return re.search(rf'const {name}: &str = "([^"]+)";', text)[1]


def enum(name):
    body = re.search(rf"^enum {name} \{{\n(.*?)^\}}", PROTO, re.MULTILINE | re.DOTALL)[1]
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() + "_"
    values = {value.removeprefix(prefix) for value in re.findall(r"^  ([A-Z_]+) = \d+;", body, re.MULTILINE)}
    return values - {"UNSPECIFIED"}


def code(pattern):
    """What is in backticks in the docs, whole, and matches."""
    return {word for word in re.findall(r"`([^`\n]+)`", DOCS) if re.fullmatch(pattern, word)}


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCS, re.MULTILINE | re.DOTALL)[1]


def arms(function):
    body = re.search(rf"pub fn {function}\(.*?\n    \}}\n", EVENT, re.DOTALL)[0]
    return dict(re.findall(r'EventKind::(\w+)\(_\) => "([^"]+)"', body))


def first_column(text):
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


class Sources:
    """What src/ and proto/ name."""

    types, keys = arms("message_name"), arms("routing_key")
    command_type = const("COMMAND_NAME", MESSAGE)
    order_types = [const(name, MESSAGE) for name in ["CANCEL_NAME", "PAUSE_NAME", "RESUME_NAME"]]
    all_types = [command_type, *order_types, *types.values()]
    command_keys = re.findall(r'self\.commands\(\), "(\w+)"', TOPOLOGY)
    cloud_events = re.findall(r'"(cloudEvents_\w+)"', MESSAGE)
    trace = re.findall(r'\("(trace\w+)", &envelope', MESSAGE)
    dead_letter_headers = [const(name, MESSAGE) for name in ["REASON_HEADER", "QUEUE_HEADER", "DIED_AT_HEADER"]]
    content_type = [const("CONTENT_TYPE", MESSAGE)]
    places = {f"{PREFIX}.{rest}" for rest in re.findall(r'self\.name\("([^"]+)"\)', TOPOLOGY)}
    public_places = {f"{PREFIX}.{rest}" for rest in ["commands", "control", "events", "events.unrouted", "dead-letters"]}
    kinds = dict(re.findall(r"exchange\(self\.(\w+)\(\), ExchangeKind::(\w+),", TOPOLOGY))
    unrouted_max = re.search(r"UNROUTED_EVENTS_MAX: u32 = ([\d_]+);", TOPOLOGY)[1].replace("_", ",")


def check_channels(where):
    by_place = {}
    for channel in API["channels"].values():
        binding = channel["bindings"]["amqp"]
        place = binding["exchange"]["name"] if binding["is"] == "routingKey" else binding["queue"]["name"]
        by_place.setdefault(place, []).append(channel)
    same("exchanges and queues", by_place, where, Sources.places & Sources.public_places)
    for kind, keys in [("commands", Sources.command_keys), ("events", Sources.keys.values())]:
        channels = by_place.get(f"{PREFIX}.{kind}", [])
        same(f"keys of {kind}", [channel["address"] for channel in channels], where, keys)
        kinds = [channel["bindings"]["amqp"]["exchange"]["type"] for channel in channels]
        same(f"kind of {kind}", kinds, where, [Sources.kinds[kind].lower()])
    for channel in by_place.get(f"{PREFIX}.events", []):
        sent = [reference["$ref"].rsplit("/")[-1] for reference in channel["messages"].values()]
        right = [name for name, key in Sources.keys.items() if key == channel["address"]]
        if right:
            same(f"message at {channel['address']}", sent, where, right)


def check_messages(where):
    components = API["components"]
    messages, event = components["messages"], components["messageTraits"]["event"]
    typed = {message["name"]: message for message in messages.values() if "payload" in message}
    same("types", typed, where, Sources.all_types)
    for name, message in typed.items():
        same(f"messageType of {name}", [message["bindings"]["amqp"]["messageType"]], where, [name])
        same(f"payload of {name}", [message["payload"]["$ref"].rsplit("/")[-1]], where, [name.rsplit(".")[-1]])
    same("headers of events", event["headers"]["properties"], where, [*Sources.cloud_events, *Sources.trace])
    same("required headers of events", event["headers"]["required"], where, Sources.cloud_events)
    same("headers of commands", messages["RefreshConnection"]["headers"]["properties"], where, Sources.trace)
    ours = [name for name in messages["DeadLetter"]["headers"]["properties"] if not name.startswith("x-")]
    same("headers of dead letters", ours, where, Sources.dead_letter_headers)
    same("content types", {event["contentType"], API["defaultContentType"]}, where, Sources.content_type)


def check_docs(where):
    events = section("Which events there are")
    rows = re.findall(r"^\| `([a-z.-]+)` \| `([\w.]+)` \|", events, re.MULTILINE)
    same("keys with their types", rows, where, [(Sources.keys[name], Sources.types[name]) for name in Sources.types])
    same("types", code(r"bankrefresh\.v1\.\w+"), where, Sources.all_types)
    same("keys of commands", code(r"interactive|background"), where, Sources.command_keys)
    same("headers", code(r"cloudEvents_\w+|trace\w+"), where, [*Sources.cloud_events, *Sources.trace])
    same("headers of dead letters", code(r"bankrefresh_\w+"), where, Sources.dead_letter_headers)
    same("content types", code(r"application/\w+"), where, Sources.content_type)
    same("exchanges and queues", code(rf"{PREFIX}\.(?!v1\b)[a-z.-]+"), where, Sources.places & Sources.public_places)
    same("most unrouted events", re.findall(r"newest ([\d,]+)", DOCS), where, [Sources.unrouted_max])
    upper = [word for word in first_column(events) if word.isupper()]
    same("origins and reasons", upper, where, enum("UpdateOrigin") | enum("UserActionReason"))
    reasons = [word for word in first_column(section("When a refresh fails")) if word.isupper()]
    same("failure reasons", reasons, where, enum("FailureReason"))
    known = PROTO + MESSAGE + PROPERTIES
    fields = code(r"[a-z]+(_[a-z]+)+")
    same("fields and properties", fields, where, [field for field in fields if re.search(rf"\b(with_)?{field}\b", known)])


def check_example(path):
    text = (ROOT / path).read_text()
    same("keys", re.findall(r'"([a-z-]+\.[a-z]+)"', text), path, Sources.keys.values())
    same("types", re.findall(r'"(bankrefresh\.v1\.\w+)"', text), path, Sources.types.values())


check_channels("asyncapi.yaml")
check_messages("asyncapi.yaml")
check_docs("docs/reference/events.md")
check_example("examples/python/consumer.py")
check_example("examples/typescript/consumer.ts")
if faults:
    sys.exit("\n".join(faults))
print(f"asyncapi.yaml, docs/reference/events.md, the examples and the sources agree on {compared} names")
