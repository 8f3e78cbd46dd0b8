"""OpenTelemetry: a span for each wait with its reason, under the caller's span; metrics; nothing where it is not there.

With the real SDK and its in-memory exporters, each in a process of its own: providers are set once a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fanmap

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fanmap.__file__).parents[1])}
SET_UP = """
import asyncio, gc, json, sys, trio
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from fanmap import Limits, Retry, gather_bounded, parallel_map
from fanmap.testing import SimulatedAPIError, VirtualTime, sleep

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))
tracer = trace.get_tracer("the app")

def told():
    points = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    points[" ".join([metric.name, *map(str, point.attributes.values())])] = point.value
    return points

def spans():
    names = {span.context.span_id: span.name for span in exporter.get_finished_spans()}
    return [
        [span.attributes["fanmap.reason"], round((span.end_time - span.start_time) / 1e9, 3), span.attributes["fanmap.function"],
         names.get(span.parent.span_id) if span.parent else None]
        for span in exporter.get_finished_spans() if span.name == "fanmap.wait"
    ]
"""


def run(code):
    """What the code prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", SET_UP + textwrap.dedent(code)],
        capture_output=True, text=True, timeout=600, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


WAYS = {
    "threads": "ask.map(range(3))",
    "asyncio": "virtual.run(aask.amap(range(3)))",
    "trio": "virtual.run_trio(lambda: aask.amap(range(3)))",
    "the background loop": "aask.map(range(3))",
    "direct": "[ask(item) for item in range(3)]",
}


@pytest.mark.parametrize("way", ["threads", *(pytest.param(way, marks=pytest.mark.whole) for way in list(WAYS)[1:])])
def test_each_wait_is_a_span_under_the_callers(way):
    found = run(f"""
    with VirtualTime() as virtual:
        ask = parallel_map(max_concurrency=4, rpm=60)(lambda item: None)
        async def aasked(item): pass
        aask = parallel_map(max_concurrency=4, rpm=60)(aasked)
        with tracer.start_as_current_span("the request"):
            {WAYS[way]}
    print(json.dumps(sorted(spans())))
    """)
    assert {(reason, parent) for reason, _, _, parent in found} == {("rate", "the request")}
    assert [seconds for _, seconds, _, _ in found] == ([1.0, 1.0] if way == "direct" else [1.0, 2.0])


def test_a_slot_a_gate_and_a_back_off_are_told_apart():
    found = run("""
    account = Limits(1)
    refused = []

    @parallel_map(limits=account)
    async def ask(item):
        await asyncio.sleep(2.0)
        if item == 1 and not refused:
            refused.append(item)
            raise SimulatedAPIError("slow down", 429, {"retry-after": "5"}, {})

    async def main():
        await asyncio.gather(*[ask(item) for item in range(3)])

    with VirtualTime() as virtual:
        virtual.run(main())
    print(json.dumps([spans(), told()]))
    """)
    reasons = {reason for reason, *_ in found[0]}
    assert reasons == {"slot", "gate", "back-off"}
    assert ["slot", 2.0, "ask", None] in found[0]
    assert found[1]["fanmap.calls.started"] == 4
    assert found[1]["fanmap.calls.refused"] == 1
    assert found[1]["fanmap.wait slot"] >= 2.0
    assert found[1]["fanmap.wait back-off"] >= 5.0


@pytest.mark.whole
def test_metrics_are_those_of_all_limits_also_of_those_that_are_no_more():
    first, second = run("""
    def ask(item):
        if item == 7:
            raise ValueError

    async def main():
        for _ in range(3):
            await gather_bounded(*[asyncio.sleep(0) for _ in range(10)])
    parallel_map()(ask).map(range(10), return_exceptions=True)
    before = told()
    asyncio.run(main())
    parallel_map()(ask).map(range(10), return_exceptions=True)
    gc.collect()
    print(json.dumps([before, told()]))
    """)
    assert (first["fanmap.calls.started"], first["fanmap.items.failed"]) == (10, 1)
    assert (second["fanmap.calls.started"], second["fanmap.items.failed"]) == (50, 2)
    assert (second["fanmap.calls.under_way"], second["fanmap.calls.waiting"]) == (0, 0)


@pytest.mark.whole
def test_calls_under_way_and_waiting_are_counted_while_they_are():
    found = run("""
    seen = []
    account = Limits(2)

    @parallel_map(limits=account)
    async def ask(item):
        await asyncio.sleep(1.0)
        seen.append(told())

    async def main():
        await asyncio.gather(*[ask(item) for item in range(5)])
    with VirtualTime() as virtual:
        virtual.run(main())
    print(json.dumps(seen[0]))
    """)
    assert (found["fanmap.calls.under_way"], found["fanmap.calls.waiting"]) == (2, 3)


def test_where_it_is_not_there_nothing_is_imported():
    code = """
import sys
from fanmap import parallel_map
parallel_map(max_concurrency=2, rpm=60_000)(lambda item: item).map(range(20))
print([name for name in sys.modules if "opentelemetry" in name or name.endswith("otel")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, env=ENVIRONMENT)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.whole
def test_a_call_that_did_not_wait_has_no_span():
    found = run("""
    ask = parallel_map(max_concurrency=8, rpm=6_000_000)(lambda item: None)
    with VirtualTime():
        for item in range(20):
            ask(item)
    print(json.dumps(spans()))
    """)
    assert found == []


@pytest.mark.whole
def test_a_processor_that_raises_ends_no_call_and_what_is_not_sampled_costs_no_answer():
    found = run("""
    class Fails(SimpleSpanProcessor):
        def on_start(self, *args, **kwargs):
            raise RuntimeError
    provider.add_span_processor(Fails(exporter))
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
    ask = parallel_map(rpm=60)(lambda item: item)
    with VirtualTime():
        done = ask.map(range(3))
    with VirtualTime(), trace.use_span(trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)):
        done += ask.map(range(3))
    from fanmap._drive import telemetry
    telemetry.found._tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer("fanmap")
    with VirtualTime():
        done += ask.map(range(3))
    print(json.dumps(done))
    """)
    assert found == [0, 1, 2] * 3


def test_no_users_data_is_in_a_span():
    found = run("""
    with VirtualTime():
        parallel_map(rpm=60)(lambda prompt: prompt).map(["sk-secret"] * 3)
    print(json.dumps([[span.to_json() for span in exporter.get_finished_spans()]]))
    """)
    assert found[0]
    assert "sk-secret" not in json.dumps(found)
