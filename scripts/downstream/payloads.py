#!/usr/bin/env python3
"""Sees that the payloads in asyncapi.yaml are what proto/ says, or writes them (--write).

AsyncAPI wants protobuf as one text without imports and with one message that no other one refers to, so each message comes with
all that it refers to.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto/bankrefresh/v1"
ASYNCAPI = ROOT / "asyncapi.yaml"
MARKER = "  # From here on made from proto/ by scripts/downstream/payloads.py --write.\n"
MESSAGES = [
    "RefreshConnection",
    "CancelRefresh",
    "PauseRefreshes",
    "ResumeRefreshes",
    "TransactionsUpdated",
    "UserActionRequired",
    "RefreshFailed",
]
GOOGLE = {"google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}
BLOCK = re.compile(r"(?:^//.*\n)*^(?:message|enum) (\w+) \{\n(?:.*\n)*?^\}\n", re.MULTILINE)


def referred_to(name, blocks, found):
    found.append(name)
    for word in re.findall(r"^ +(?:repeated )?(\w+) \w+ = \d+;", blocks[name], re.MULTILINE):
        if word in blocks and word not in found:
            referred_to(word, blocks, found)
    return found


def payload(name, blocks):
    body = "\n".join(blocks[name] for name in referred_to(name, blocks, []))
    imports = "".join(f'import "google/protobuf/{file}.proto";\n' for word, file in GOOGLE.items() if word in body)
    return f'syntax = "proto3";\n\npackage bankrefresh.v1;\n\n{imports}\n{body}'


def schema(name, blocks):
    lines = payload(name, blocks).splitlines()
    text = "".join(f"        {line}\n" if line else "\n" for line in lines)
    return f"    {name}:\n      schemaFormat: application/vnd.google.protobuf;version=3\n      schema: |\n{text}"


def main():
    sources = "".join((PROTO / file).read_text() for file in ["commands.proto", "control.proto", "events.proto"])
    blocks = {match[1]: match[0] for match in BLOCK.finditer(sources)}
    made = "  schemas:\n" + "".join(schema(name, blocks) for name in MESSAGES)
    head, marker, there = ASYNCAPI.read_text().partition(MARKER)
    assert marker, f"{ASYNCAPI} has lost the line {MARKER!r}"
    if sys.argv[1:] == ["--write"]:
        ASYNCAPI.write_text(head + marker + made)
    elif there != made:
        sys.exit("asyncapi.yaml: the payloads are not what proto/ says; run scripts/downstream/payloads.py --write")


if __name__ == "__main__":
    main()
