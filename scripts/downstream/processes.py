"""Processes that end with this one, and what they print."""

import collections
import os
import re
import signal
import subprocess
import threading
import time

START_SECONDS = 90

# Kills the group of a parent that was itself killed: then the pipe to this ends.
GUARD = 'cat >/dev/null; kill -s KILL -- "-$1"'


class Process:
    """A program in a process group of its own. What it prints is kept and can be waited for."""

    def __init__(self, name, command, **options):
        self.name = name
        self.lines = []
        self.printed = threading.Condition()
        self.child = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,
        )
        guard = ["sh", "-c", GUARD, "guard", str(self.child.pid)]
        self.guard = subprocess.Popen(guard, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Ends the group: asks first, for what it would clean up, then kills."""
        for signum in [signal.SIGTERM, signal.SIGKILL]:
            try:
                os.killpg(self.child.pid, signum)
                self.child.wait(timeout=15)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.child.wait()
        os.killpg(self.guard.pid, signal.SIGKILL)
        self.guard.communicate()
        self.reader.join(timeout=5)

    def _read(self):
        for line in self.child.stdout:
            with self.printed:
                self.lines.append(line.rstrip("\n"))
                self.printed.notify_all()
        with self.printed:
            self.lines.append(None)
            self.printed.notify_all()

    def wait_for(self, pattern, count=1, seconds=START_SECONDS):
        """The lines that match, as soon as there are so many."""

        def found():
            return [match for match in (re.search(pattern, line) for line in self.lines if line is not None) if match]

        def is_decided():
            return len(found()) >= count or None in self.lines

        with self.printed:
            self.printed.wait_for(is_decided, timeout=seconds)
            if len(found()) < count:
                raise SystemExit(f"{self.name} did not print {pattern!r} {count} times:\n{self.output()}")
            return found()

    def output(self):
        return "\n".join(line for line in self.lines if line is not None)

    def first_words(self):
        """How many lines begin with each word."""
        return collections.Counter(line.split(" ")[0] for line in self.lines if line is not None)


def until(what, attempt, process, seconds=START_SECONDS):
    """Tries until it succeeds, as long as the process lives."""
    end = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except Exception as error:
            if process.child.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{what}: {error!r}\n{process.output()}") from error
            time.sleep(0.2)
