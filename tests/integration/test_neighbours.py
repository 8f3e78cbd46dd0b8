"""What stands beside a decorated function in people's code: tables of data, and other libraries' decorators."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys

import pytest

from fanmap import AsyncParallelFunction, ParallelFunction, Rate, gather_bounded, parallel_map

pytestmark = pytest.mark.usefixtures("nothing_left")


@parallel_map
def ask(prompt, model="small"):
    return f"{model}: {prompt}"


ROWS = {"prompt": ["a", "b"], "model": ["small", "large"]}
COLUMN = ["small: a", "small: b"]
BOTH = ["small: a", "large: b"]


def refused(inputs, line, *, table):
    for method in ("map", "imap", "as_completed", "amap"):
        what = f"ask.{method}"
        text = f"{what} must be given an iterable of inputs, got a {table}: {line.replace('ask.map', what)}"
        with pytest.raises(TypeError, match=f"^{re.escape(text)}$") as raised:
            called = getattr(ask, method)(inputs)
            asyncio.run(called)
        assert "prompt" not in str(raised.value)


def test_a_dict_is_refused_and_its_views_are_taken():
    rows = {"a": "small", "b": "large"}
    line = "write ask.map(inputs.items(), unpack=True), ask.map(inputs.values()) or ask.map(list(inputs))"
    refused(rows, line, table="dict")
    assert ask.map(rows.items(), unpack=True) == BOTH
    assert ask.map(list(rows)) == ask.map(rows.keys()) == COLUMN
    assert ask.map(rows.values()) == ["small: small", "small: large"]


def test_a_frame_of_pandas_is_refused_and_its_columns_and_rows_are_taken():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    refused(
        frame,
        'write ask.map(inputs["COLUMN"]) for one column, or ask.map(inputs.itertuples(index=False), unpack=True) '
        "for its rows",
        table="DataFrame",
    )
    assert ask.map(frame["prompt"]) == ask.map(frame["prompt"].to_numpy()) == ask.map(frame["prompt"].array) == COLUMN
    assert ask.map(frame.itertuples(index=False), unpack=True) == BOTH
    assert ask.map(frame.to_dict("records"), unpack=True) == BOTH
    assert ask.map(frame.columns) == ["small: prompt", "small: model"]


def test_a_frame_of_polars_is_refused_and_its_columns_and_rows_are_taken():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(ROWS)
    refused(
        frame,
        'write ask.map(inputs["COLUMN"]) for one column, or ask.map(inputs.iter_rows(named=True), unpack=True) '
        "for its rows",
        table="DataFrame",
    )
    refused(frame.lazy(), 'write ask.map(inputs.collect()["COLUMN"]) for one column', table="LazyFrame")
    assert ask.map(frame["prompt"]) == COLUMN
    assert ask.map(frame.iter_rows(named=True), unpack=True) == ask.map(frame.iter_rows(), unpack=True) == BOTH


def test_a_table_of_pyarrow_is_refused_and_its_columns_and_rows_are_taken():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(ROWS)
    refused(
        table,
        'write ask.map(inputs["COLUMN"].to_pylist()) for one column, or ask.map(inputs.to_pylist(), unpack=True) '
        "for its rows",
        table="Table",
    )
    assert ask.map(table["prompt"].to_pylist()) == COLUMN
    assert ask.map(table.to_pylist(), unpack=True) == BOTH


# pydantic


def test_validate_call_stands_below():
    pydantic = pytest.importorskip("pydantic")

    @parallel_map
    @pydantic.validate_call
    def double(number: int) -> int:
        return number * 2

    class Client:
        @parallel_map
        @pydantic.validate_call
        async def double(self, number: int) -> int:
            return number * 2

    assert double.map(["1", 2]) == Client().double.map(["1", 2]) == [2, 4]
    with pytest.raises(pydantic.ValidationError) as raised:
        double.map(["one"])
    assert raised.value.__notes__ == ["fanmap: item 0 of double"]
    with pytest.raises(pydantic.PydanticUserError, match="validate_call"):  # the reference says what to write

        @pydantic.validate_call
        @parallel_map
        def above(number: int) -> int:
            return number


def test_methods_of_a_pydantic_model_work_with_ignored_types():
    pydantic = pytest.importorskip("pydantic")

    class Client(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(ignored_types=(ParallelFunction, AsyncParallelFunction))
        model: str = "small"

        @parallel_map
        def ask(self, prompt):
            return f"{self.model}: {prompt}"

        @parallel_map(max_concurrency=2)
        async def aask(self, prompt):
            return f"{self.model}: {prompt}"

    client = Client(model="large")
    assert client.ask.map(["a"]) == client.aask.map(["a"]) == ["large: a"]
    assert client.model_dump() == {"model": "large"}
    with pytest.raises(pydantic.PydanticUserError, match="ignored_types"):

        class Without(pydantic.BaseModel):
            @parallel_map
            def ask(self, prompt):
                return prompt


# wrapt


def test_decorators_of_wrapt_stand_below():
    wrapt = pytest.importorskip("wrapt")

    @wrapt.decorator
    def loud(wrapped, instance, args, kwargs):
        return wrapped(*args, **kwargs).upper()

    class Client:
        model = "small"

        @parallel_map
        @loud
        def ask(self, prompt):
            return f"{self.model}: {prompt}"

        @parallel_map
        @loud
        def ask_with_suffix(self, prompt, *, suffix):
            return f"{prompt}{suffix}"

        @loud
        @parallel_map
        def above(self, prompt):
            return prompt

    client = Client()
    assert client.ask.map(["a"]) == ["SMALL: A"]
    assert client.ask_with_suffix.partial(suffix="!").map(["a"]) == ["A!"]
    assert client.above("a") == "A"


# aiolimiter


def test_aiolimiter_is_imported_only_where_one_is_given():
    script = (
        "import sys\n"
        "from fanmap import Limits, Rate\n"
        "Limits(rpm=5, tpm=5, rate=[Rate(5), Rate(6)])\n"
        "try: Limits(rate=5)\n"
        "except TypeError: pass\n"
        "print('aiolimiter' in sys.modules)\n"
        "from aiolimiter import AsyncLimiter\n"
        "print(Limits(rate=[AsyncLimiter(5), Rate(6)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nLimits(max_concurrency=8, rate=[AsyncLimiter(5, 60), Rate(6)])\n"


def test_a_limiter_of_a_subclass_is_one_too():
    from aiolimiter import AsyncLimiter

    class Mine(AsyncLimiter):
        pass

    async def answer():
        return "a"

    async def main():
        return await gather_bounded(answer(), rate=[Mine(100, 0.01), Rate(1000, 0.01, burst=100)])

    assert asyncio.run(main()) == ["a"]
