"""A RabbitMQ of its own, on free ports, from the programs that are installed."""

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path

import pika
from processes import Process, until

# Where Debian keeps the programs behind its wrapper, which would switch to another user.
DEBIAN = "/usr/lib/rabbitmq/bin"

# epmd in the foreground and of our own: one that the server starts would outlive it.
NODE = '"$EPMD" -port "$ERL_EPMD_PORT" -address 127.0.0.1 & exec "$SERVER"'


def program(name):
    path = shutil.which(name, path=os.pathsep.join([DEBIAN, os.environ["PATH"], "/usr/sbin"]))
    if path is None:
        raise SystemExit(f"{name} is needed (Debian: apt-get install rabbitmq-server)")
    return path


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
def rabbitmq():
    """Its URL, once it answers. Takes the node, its epmd and its data away in the end."""
    with tempfile.TemporaryDirectory(prefix="downstream-", ignore_cleanup_errors=True) as home:
        amqp, dist, epmd = free_ports(3)
        prepare(home, amqp)
        with Process("rabbitmq", ["sh", "-c", NODE], cwd=home, env=environment(home, amqp, dist, epmd)) as node:
            url = f"amqp://guest:guest@127.0.0.1:{amqp}/%2f"
            until("RabbitMQ did not start", lambda: pika.BlockingConnection(pika.URLParameters(url)).close(), node)
            yield url
