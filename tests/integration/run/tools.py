"""What the tests of `fanmap run` share: a job, its calls, files, and what is in them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fanmap

PATIENCE = 120.0  # seconds after which something that should have happened has not
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fanmap.__file__).parents[1])}
JOB = """
import dataclasses
import enum
from fanmap import NotRun, parallel_map

CALLS = []

def ask(prompt):
    CALLS.append(prompt)
    if "bad" in str(prompt):
        raise ValueError(f"no: {prompt}")
    return f"<{prompt}>"

def two(prompt: str, model: str = "small", *, note: str = "") -> list[str]:
    CALLS.append(prompt)
    return [prompt, model, note]

def only(*, prompt):
    return prompt

def bare(*args):
    return list(args)

def options(**options):
    return options

async def later(prompt):
    return prompt

@parallel_map(max_concurrency=3, retry=False)
def decorated(prompt):
    CALLS.append(prompt)
    return decorated._settings.limits.max_concurrency

@dataclasses.dataclass
class Answer:
    text: str
    size: int

def dressed(prompt) -> Answer:
    return Answer(prompt, len(prompt))

def foreign(prompt):
    CALLS.append(prompt)
    return {prompt}

def printing(prompt):
    print("from the function")
    return prompt

def nothing(prompt):
    return None

def generator(prompt):
    yield prompt

class Fatal(Exception):
    status_code = 401

def locked(prompt):
    CALLS.append(prompt)
    raise Fatal("the key sk-secret is wrong")

number = 3
"""


def calls():
    return sys.modules["job"].CALLS


def put(name: str, text: str | bytes) -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def got(name: str) -> str:
    return Path(name).read_bytes().decode()


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.split("\n") if line]


def records(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def is_one_line(text: str) -> bool:
    return text.startswith("fanmap: ") and text.count("\n") == 1 and text.endswith("\n")


# In processes of its own


def command(*words: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "fanmap", "run", *words]


def start(*words: str, stdin: int = subprocess.DEVNULL, **more) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, **more
    )


def finish(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), input=text, capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT
    )


def shell(line: str, **more) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell, in which `fanmap run` is written out."""
    line = line.replace("fanmap run", " ".join(command()))
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT, **more)


def until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "what should have happened has not"
        time.sleep(0.01)
