"""A RabbitMQ of its own, on free ports: from the programs that are installed, else in a container, as the tests choose."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pika
from processes import Process, until

# Where Debian keeps the programs behind its wrapper, which would switch to another user.
DEBIAN = "/usr/lib/rabbitmq/bin"

# The tests' choice: "installed" or "container". Without it, a container where no RabbitMQ is installed.
CHOICE = "BANKREFRESH_TEST_BROKER"

# Removes the container once the pipe to this ends, so also when this process was killed.
REMOVE = 'cat >/dev/null; docker rm --force --volumes "$1"'

# epmd in the foreground and of our own: one that the server starts would outlive it.
NODE = '"$EPMD" -port "$ERL_EPMD_PORT" -address 127.0.0.1 & exec "$SERVER"'


def find(name):
    return shutil.which(name, path=os.pathsep.join([DEBIAN, os.environ["PATH"], "/usr/sbin"]))


def program(name):
    path = find(name)
    if path is None:
        raise SystemExit(f"{name} is needed (Debian: apt-get install rabbitmq-server)")
    return path


def image():
    """The environment's, else the one of .env."""
    named = re.search(r"^RABBITMQ_IMAGE=(.+)$", Path(__file__).parents[2].joinpath(".env").read_text(), re.MULTILINE)
    return os.environ.get("RABBITMQ_IMAGE", named[1])


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]


def environment(home, amqp, dist, epmd):
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": home,
        "SERVER": program("rabbitmq-server"),
        "EPMD": program("epmd"),
        "RABBITMQ_NODENAME": f"downstream-{secrets.token_hex(8)}@localhost",
        "RABBITMQ_CONF_ENV_FILE": f"{home}/env.conf",
        "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{home}/advanced.config",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/plugins",
        "RABBITMQ_GENERATED_CONFIG_DIR": f"{home}/generated",
        "RABBITMQ_MNESIA_BASE": f"{home}/data",
        "RABBITMQ_LOG_BASE": f"{home}/log",
        "RABBITMQ_NODE_PORT": str(amqp),
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }


def prepare(home, amqp):
    for name in ["data", "log", "generated"]:
        Path(home, name).mkdir()
    files = {"env.conf": "", "plugins": "[].", "advanced.config": "[].", "rabbitmq.conf": f"listeners.tcp.1 = 127.0.0.1:{amqp}\n"}
    for name, text in files.items():
        Path(home, name).write_text(text)
    cookie = Path(home, ".erlang.cookie")
    cookie.write_text(secrets.token_hex(16))
    cookie.chmod(0o400)


@contextlib.contextmanager
def started(node, port):
    url = f"amqp://guest:guest@127.0.0.1:{port}/%2f"
    with node:
        until("RabbitMQ did not start", lambda: pika.BlockingConnection(pika.URLParameters(url)).close(), node)
        yield url


@contextlib.contextmanager
def installed():
    with tempfile.TemporaryDirectory(prefix="downstream-", ignore_cleanup_errors=True) as home:
        amqp, dist, epmd = free_ports(3)
        prepare(home, amqp)
        node = Process("rabbitmq", ["sh", "-c", NODE], cwd=home, env=environment(home, amqp, dist, epmd))
        with started(node, amqp) as url:
            yield url


@contextlib.contextmanager
def contained():
    name, [port] = f"downstream-{secrets.token_hex(8)}", free_ports(1)
    command = ["docker", "run", "--name", name, "--publish", f"127.0.0.1:{port}:5672", image()]
    remove = ["sh", "-c", REMOVE, "guard", name]
    guard = subprocess.Popen(remove, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        with started(Process("rabbitmq", command), port) as url:
            yield url
    finally:
        guard.communicate()


def rabbitmq():
    """Its URL, once it answers. Takes all of it away in the end."""
    choice = os.environ.get(CHOICE, "installed" if find("rabbitmq-server") else "container")
    choices = {"installed": installed, "container": contained}
    if choice not in choices:
        raise SystemExit(f'{CHOICE} is "{choice}": it is "installed" or "container"')
    return choices[choice]()
