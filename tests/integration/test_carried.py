"""Functions and Limits that go into another process: by name under any pickler, by value under cloudpickle."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import warnings

import pytest
import tenacity

from fanmap import Limits, Rate, Retry, parallel_map
from fanmap._drive.limits.limits import budget_of

cloudpickle = pytest.importorskip("cloudpickle")


@parallel_map(max_concurrency=3)
def ask(text):
    return text.upper()


class Client:
    @parallel_map
    def ask(self, text):
        return text


def loads_elsewhere(what, code):
    """The last line that the code prints, in a process that has only what was pickled, and its warnings."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", f"import pickle, sys\nit = sys.stdin.buffer.read()\n{code}"],
        input=cloudpickle.dumps(what), capture_output=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split("\n")[-2], done.stderr.decode()


def test_what_its_module_finds_goes_by_name():
    for dumps in (pickle.dumps, cloudpickle.dumps):
        assert pickle.loads(dumps(ask)) is ask
        assert pickle.loads(dumps(Client.ask)) is Client.ask
        assert pickle.loads(dumps(Client().ask)).map(["a"]) == ["a"]


def test_a_function_of_main_goes_by_name_under_pickle_and_by_value_under_cloudpickle(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
import pickle, sys
import cloudpickle
from fanmap import parallel_map

@parallel_map(max_concurrency=2)
def ask(number):
    return ask(number - 1) + 1 if number else 0

class Client:
    @parallel_map
    def ask(self, number):
        return number

if __name__ == "__main__":
    for function in (ask, Client.ask):
        by_name = pickle.dumps(function)
        assert pickle.loads(by_name) is function
        assert b"fanmap._functions" not in by_name and len(by_name) < 400
    sys.stdout.buffer.write(cloudpickle.dumps((ask, Client)))
""")
    made = subprocess.run([sys.executable, script], capture_output=True, timeout=600, check=True).stdout
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        function, client = pickle.loads(made)
    assert function.map([3, 0]) == [3, 0]
    assert client().ask.map([1, 2]) == [1, 2]


def test_closures_lambdas_and_copies_with_other_settings_go_by_value():
    text = "more"

    @parallel_map(rpm=6000, retry=Retry(attempts=3, wait=tenacity.wait_fixed(0)), timeout=60.0)
    def closure(item):
        return closure(item[1:]) if item.startswith("-") else item + text

    @parallel_map
    async def waits(item):
        await asyncio.sleep(0)
        return item + text

    functions = (
        closure,
        waits,
        parallel_map(lambda item: item + text),
        closure.with_options(timeout=None),
        ask.with_options(timeout=5.0),
        ask.partial(),
    )
    said, _ = loads_elsewhere(
        functions[:4],
        "functions = pickle.loads(it)\nprint([f.map(['-x', 'y']) for f in functions], functions[0]._settings)",
    )
    assert said.startswith("[['xmore', 'ymore'], ['-xmore', 'ymore'], ['-xmore', 'ymore'], ['xmore', 'ymore']] ")
    assert "attempts=3" in said and "timeout=60.0" in said and "Limits(max_concurrency=8, rpm=6000)" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it has come home
        for function in functions[4:]:
            copy = pickle.loads(cloudpickle.dumps(function))
            assert copy.map(["a"]) == ["A"]
            assert budget_of(copy._settings.limits) is budget_of(function._settings.limits)
    for function in functions:
        with pytest.raises(
            TypeError, match=r"only a decorated function that is found .* cloudpickle takes any by value"
        ):
            pickle.dumps(function)


def test_a_bound_method_with_other_settings_keeps_them():
    other = Client().ask.with_options(timeout=7.0)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(other)
    copy = pickle.loads(cloudpickle.dumps(other))
    assert copy._settings.timeout == 7.0
    assert copy("a") == "a"


@pytest.mark.whole
def test_a_limits_that_is_not_shared_is_one_of_the_process_it_comes_into_and_says_so_once():
    account = Limits(4, rate=Rate(1000, 1, cost=len))

    @parallel_map(limits=account)
    def one(item):
        return item

    @parallel_map(limits=account)
    def other(item):
        with account:
            return item

    code = """
from fanmap._drive.limits.limits import budget_of
budgets = set()
for _ in range(1000):
    one, other, account = pickle.loads(it)
    budgets |= {budget_of(one._settings.limits), budget_of(other._settings.limits), budget_of(account)}
print(len(budgets), other.map(["a"]), account)
"""
    said, warned = loads_elsewhere((one, other, account), code)
    assert said == "1 ['a'] Limits(max_concurrency=4, rate=Rate(1000, 1, cost=len))"
    assert warned.count("UserWarning") == 1
    assert 'every process now has a budget of its own: for one budget write Limits(..., shared="NAME")' in warned


@pytest.mark.whole
def test_the_background_of_one_stays_its_background():
    account = Limits(4)
    copies = pickle.loads(cloudpickle.dumps((account.background, account)))
    assert [repr(copy) for copy in copies] == ["Limits(max_concurrency=4).background", "Limits(max_concurrency=4)"]
    assert {budget_of(copy) for copy in copies} == {budget_of(account)}
    code = "\nfrom fanmap._drive.limits.limits import budget_of\nb, a = pickle.loads(it)\nprint(b, budget_of(a) is budget_of(b))"
    said, _ = loads_elsewhere((account.background, account), code)
    assert said == "Limits(max_concurrency=4).background True"


def test_plain_pickle_takes_no_limits_that_is_not_shared():
    with pytest.raises(TypeError, match=r"a Limits binds one process and cannot be pickled: .* shared=\"NAME\""):
        pickle.dumps(Limits(4))


def test_an_async_limiter_goes_nowhere():
    from aiolimiter import AsyncLimiter

    limits = Limits(rate=AsyncLimiter(5, 1))
    for dumps in (pickle.dumps, cloudpickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled"):
            dumps(limits)


def test_a_shared_one_arrives_as_itself(tmp_path):
    account = Limits(4, classify=lambda error: None, shared=str(tmp_path / "openai"))

    @parallel_map(limits=account)
    def tell(item):
        return account.everybody.members

    assert tell.map([1]) == [1]
    code = "\nfor _ in range(3):\n    tell = pickle.loads(it)\nprint(tell.map([1]))"
    said, warned = loads_elsewhere(tell, code)
    assert said == "[2]"
    assert "UserWarning" not in warned
    again = pickle.loads(cloudpickle.dumps(tell))
    assert budget_of(again._settings.limits) is budget_of(account)
