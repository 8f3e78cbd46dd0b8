"""A newcomer's hour with `fanmap run`: a CSV of 2,000 rows, and everything that goes wrong on the way.

    python examples/newcomers_hour.py
    python examples/newcomers_hour.py --scale 0.02     (40 rows)

A trial, Ctrl-C, kill -9, failures, refusals, and a function that changes. The server is simulated and counts what it
is asked: what was answered is not asked for again.
"""

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fanmap.testing import serve

JOB = """\
from openai import OpenAI

client = OpenAI(max_retries=0)  # address and key are in the environment

def ask(question: str) -> str:
    reply = client.responses.create(model="small", input=question)
    return reply.output_text
"""
CITIES = ["Lima", "Oslo", "Rome", "Cairo", "Delhi", "Quito", "Hanoi", "Paris"]
RUN = "job:ask tickets.csv -o answers.csv --max-concurrency 16"


class Hour:
    """Runs the command in a folder, against a server, and tells what happened."""

    def __init__(self, folder, server):
        self.folder, self.server, self.sent, self.refused = folder, server, 0, 0
        self.environment = {**os.environ, "OPENAI_BASE_URL": server.openai_url, "OPENAI_API_KEY": "none"}

    def run(self, more="", *, signal_after=None, by=None):
        words = f"{RUN} {more}".split()
        print(f"$ fanmap run {' '.join(words)}", flush=True)
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "fanmap", "run", *words],
            stderr=subprocess.PIPE, text=True, cwd=self.folder, env=self.environment,
        ) as process:  # fmt: skip
            if signal_after is not None:
                while self.server.sent - self.sent < signal_after and process.poll() is None:
                    time.sleep(0.005)
                process.send_signal(by)
                print({signal.SIGINT: "^C", signal.SIGKILL: "(kill -9, from elsewhere)"}[by])
            said = process.communicate()[1]
        seconds = time.perf_counter() - began
        print(said, end="")
        sent, refused = self.server.sent - self.sent, self.server.refused - self.refused
        self.sent, self.refused = self.server.sent, self.server.refused
        status = process.returncode if process.returncode >= 0 else f"killed by signal {-process.returncode}"
        print(f"-> exit status {status}, {seconds:.1f} s; the server saw {sent} requests, refused {refused} of them\n")


def write_tickets(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question"])
        for number in range(rows):
            writer.writerow([number, f"Ticket {number}: when is the train\nto {CITIES[number % len(CITIES)]}?"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="times 2,000 rows (default: 1)")
    rows = max(40, round(2000 * parser.parse_args().scale))
    latency = 0.1 if rows > 1000 else 0.3
    # It serves 12 at once and refuses the rest; one request in 200 fails after its time.
    with (
        tempfile.TemporaryDirectory() as name,
        serve(latency=latency, sigma=0.3, max_concurrency=12, failure_rates={500: 0.005}, seed=4) as server,
    ):
        folder = Path(name)
        hour = Hour(folder, server)
        write_tickets(folder / "tickets.csv", rows)
        (folder / "job.py").write_text(JOB, encoding="utf-8")
        print("# job.py\n" + JOB)

        print("# A trial, with the first rows.")
        hour.run("--limit 10")
        print("# All of it, and Ctrl-C after a third: calls under way end, answers.csv is still that of the trial.")
        hour.run(signal_after=rows // 3, by=signal.SIGINT)
        print("# The same command goes on; then the machine kills it.")
        hour.run(signal_after=rows // 3, by=signal.SIGKILL)
        print("# The same command once more, to the end of the file.")
        hour.run()
        print("# The same command again: it calls only for what failed.")
        hour.run()
        check(folder / "answers.csv", rows, "Ticket")
        times = Counter(server.prompts[record.index] for record in server.log if record.status == 200)
        again = sum(times.values()) - len(times)
        print(f"The server's log: {len(times)} questions answered, {again} of them twice (before kill -9, and after)\n")

        print("# job.py changes: another prompt is another function, so the answers are asked for anew.")
        (folder / "job.py").write_text(JOB.replace("input=question", 'input=f"Be brief. {question}"'), encoding="utf-8")
        hour.run("--function-version 2 --retry 3")
        check(folder / "answers.csv", rows, "Be brief. Ticket")


def check(path, rows, start):
    """Every row is there, in order, with an answer to its own question."""
    with open(path, newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    assert [record["id"] for record in records] == [str(number) for number in range(rows)]
    for record in records:
        assert not record["error"]
        assert f"{start} {record['id']}:" in record["answer"]
    print(f"answers.csv: {rows} rows in order, each with the answer to its own question")


if __name__ == "__main__":
    main()
