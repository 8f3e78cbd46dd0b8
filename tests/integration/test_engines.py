"""The examples of `examples/engines` on the real engines: every prompt is asked once, and never more than four at once.

The loopback server is the witness. It serves four at a time and refuses what is more; each of the processes alone would
have four under way. An engine that is not installed is skipped: `.ci/engines-requirements.txt` has them all.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import fanmap
from fanmap.testing import serve

from .shared_redis import SERVERS, WHY_NOT, Server

ENGINES = Path(__file__).parents[2] / "examples" / "engines"
PROMPTS = [f"Summarise document {number}." for number in range(40)]
if importlib.util.find_spec("openai") is None:  # the examples import it; here, it would only take its time
    pytest.skip("openai is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def provider():
    with serve(latency=0.03, max_concurrency=4, seed=3) as server:
        yield server


@pytest.fixture
def environment(provider, tmp_path):
    provider.reset()
    source = str(Path(fanmap.__file__).parents[1])
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([source, str(ENGINES)]),
        "OPENAI_BASE_URL": provider.openai_url,
        "OPENAI_API_KEY": "none",
        "FANMAP_SHARED": str(tmp_path),
        "PYSPARK_PYTHON": sys.executable,
    }


def run(name, environment, *words, cwd):
    done = subprocess.run(
        [sys.executable, ENGINES / f"{name}.py", *words],
        capture_output=True, text=True, timeout=600, cwd=cwd, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def told(done):
    """How many answers and processes there were, as the example says."""
    answers, processes = re.search(r"^(\d+) answers, (\d+) processes$", done.stdout, re.M).groups()
    return int(answers), int(processes)


def check(provider, more=()):
    assert sorted(provider.prompts) == sorted([*PROMPTS, *more])
    assert provider.refused == 0
    assert provider.max_in_flight <= 4


def needs(*packages):
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@contextmanager
def running(words, environment, cwd):
    """A server or worker, in a group of its own, which is ended with all that it has started."""
    with (cwd / "log").open("wb") as log:
        process = subprocess.Popen(
            words, env=environment, cwd=cwd, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(600)
    except BaseException:
        print((cwd / "log").read_text())
        raise
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(600)


WHOLE = pytest.mark.whole


@pytest.mark.parametrize("how", ["fork", pytest.param("spawn", marks=WHOLE), pytest.param("forkserver", marks=WHOLE)])
@pytest.mark.whole
def test_a_process_pool(how, provider, environment, tmp_path):
    answers, processes = told(run("process_pool", environment, how, cwd=tmp_path))
    assert answers == 40
    assert 1 <= processes <= 5  # on a busy machine the others have had nothing to do for so long that they left
    check(provider)


@needs("joblib")
def test_joblib(provider, environment, tmp_path):
    answers, processes = told(run("joblib_loky", environment, cwd=tmp_path))
    assert answers == 40
    assert 1 <= processes <= 5
    check(provider)


@needs("gunicorn", "uvicorn_worker")
def test_gunicorn_with_uvicorn_workers(provider, environment, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "gunicorn", "web_app:app", "--workers", "4", "--worker-class", "uvicorn_worker.UvicornWorker"]
    with running([sys.executable, *words, "--bind", f"127.0.0.1:{port}"], environment, tmp_path) as server:
        url = f"http://127.0.0.1:{port}/summarise"
        while True:
            try:
                httpx.post(url, json=[], timeout=60)
                break
            except httpx.TransportError:
                assert server.poll() is None
                time.sleep(0.05)

        def post(part):
            with httpx.Client() as client:  # a connection of its own, so that any worker may take it
                return client.post(url, json=[part], timeout=600).json()

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(post, PROMPTS))
    assert all(len(answer["answers"]) == 1 for answer in answers)
    assert 2 <= max(answer["processes"] for answer in answers) <= 4
    check(provider)


@needs("celery", "redis")
@pytest.mark.skipif(not SERVERS, reason=WHY_NOT)
def test_celery_with_redis_as_broker_and_as_the_place_of_the_budget(provider, environment, tmp_path):
    broker = Server(tmp_path)
    try:
        place = {"CELERY_BROKER_URL": broker.url, "FANMAP_SHARED": broker.url.replace("/0", "/1")}
        words = ["-m", "celery", "-A", "celery_tasks", "worker", "--concurrency", "4", "--without-mingle"]
        with running([sys.executable, *words], environment | place, tmp_path):
            code = """
import sys
from celery import group
from celery_tasks import summarise
answers = group(summarise.s(prompt) for prompt in sys.argv[1:])().get(timeout=600)
print(len(answers), "answers,", len({pid for _, pid in answers}), "processes")
"""
            done = subprocess.run(
                [sys.executable, "-c", code, *PROMPTS],
                capture_output=True, text=True, timeout=600, env=environment | place,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
    finally:
        broker.kill()
    answers, processes = told(done)
    assert answers == 40
    assert 2 <= processes <= 4
    check(provider)


@needs("dask", "distributed", "pandas")
def test_dask(provider, environment, tmp_path):
    answers, processes = told(run("dask_frames", environment, cwd=tmp_path))
    assert answers == 42
    assert 2 <= processes <= 5
    check(provider, ["One more.", "And another."])


@needs("ray", "pandas", "pyarrow")
def test_ray(provider, environment, tmp_path):
    answers, processes = told(run("ray_data", environment, cwd=tmp_path))
    assert answers == 42
    assert processes >= 2
    check(provider, ["One more.", "And another."])


@needs("pyspark", "pandas", "pyarrow")
@pytest.mark.skipif(shutil.which("java") is None, reason="there is no java on this machine")
def test_spark(provider, environment, tmp_path):
    answers, processes = told(run("spark_frames", environment, cwd=tmp_path))
    assert answers == 40
    assert 2 <= processes <= 5
    check(provider)


BY_VALUE = """
import os
import sys

import httpx

from fanmap import Limits, parallel_map

account = Limits(max_concurrency=4, rpm=30_000, shared="by-value")
url = os.environ["OPENAI_BASE_URL"] + "/responses"
prompts = sys.argv[1:]


def made():
    model = "small"

    @parallel_map(limits=account)
    def ask(prompt):
        answer = httpx.post(url, json={"model": model, "input": prompt}, timeout=600)
        answer.raise_for_status()
        return answer.json()["output"][0]["content"][0]["text"]

    return ask


ask = made()

if __name__ == "__main__":
    %s
    print(len(answers), "answers,", account.everybody.members, "processes")
"""
IN = {
    "joblib": """
    import joblib
    with joblib.Parallel(4) as parallel:
        answers = parallel(joblib.delayed(ask)(prompt) for prompt in prompts)
""",
    "distributed": """
    from dask.distributed import Client, LocalCluster
    with LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        answers = client.gather(client.map(ask, prompts))
""",
    "ray": """
    import ray
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    one = ray.remote(lambda part: ask.map(part))
    answers = [answer for part in ray.get([one.remote(prompts[n::4]) for n in range(4)]) for answer in part]
""",
    "pyspark": """
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.master("local[4]").config("spark.ui.enabled", "false").getOrCreate()
    parts = spark.sparkContext.parallelize(prompts, 4)
    answers = parts.mapPartitions(lambda part: ask.map(list(part))).collect()
""",
}


@pytest.mark.parametrize("engine", IN)
def test_a_function_that_no_name_finds_goes_by_value_and_its_budget_by_name(engine, provider, environment, tmp_path):
    pytest.importorskip(engine)
    if engine == "pyspark" and shutil.which("java") is None:
        pytest.skip("there is no java on this machine")
    script = tmp_path / "script.py"
    script.write_text(BY_VALUE % IN[engine].strip())
    done = subprocess.run(
        [sys.executable, script, *PROMPTS],
        capture_output=True, text=True, timeout=600, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert told(done)[0] == 40
    check(provider)
