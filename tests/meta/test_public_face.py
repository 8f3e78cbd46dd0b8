"""The public names are the ones that are promised, and each says what it does."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
import typing
from collections.abc import Iterator
from typing import Any

import aiolimiter

import fanmap
import fanmap.testing


def test_all_is_sorted_and_exists() -> None:
    for module in (fanmap, fanmap.testing, fanmap.types):
        assert list(module.__all__) == sorted(module.__all__)
        for name in module.__all__:
            assert hasattr(module, name), f"{module.__name__}.{name}"


def test_no_public_name_is_missing_from_all() -> None:
    public = {name for name, value in vars(fanmap).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == set(fanmap.__all__)


def test_the_top_level_holds_what_people_type_and_types_the_rest() -> None:
    assert not set(fanmap.__all__) & set(fanmap.types.__all__)
    for name in fanmap.types.__all__:
        assert not hasattr(fanmap, name)


def test_every_public_name_has_a_docstring() -> None:
    for module in (fanmap, fanmap.testing, fanmap.types):
        for name in module.__all__:
            assert inspect.getdoc(getattr(module, name)), f"{module.__name__}.{name}"


def test_every_public_method_has_a_docstring() -> None:
    missing: list[str] = []
    for module in (fanmap, fanmap.testing, fanmap.types):
        for name in module.__all__:
            value = getattr(module, name)
            for member, inner in vars(value).items() if inspect.isclass(value) else ():
                if not member.startswith("_") and callable(inner) and not inspect.getdoc(inner):
                    missing.append(f"{name}.{member}")
    assert not missing


def test_parameters_with_a_default_are_keyword_only() -> None:
    positional: list[str] = []
    for name in ("parallel_map", "gather_bounded", "to_sync", "to_async", "partial_results"):
        for parameter in inspect.signature(getattr(fanmap, name)).parameters.values():
            if parameter.default is not parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                positional.append(f"{name}({parameter.name})")
    assert not positional


def public_callables() -> Iterator[tuple[str, Any]]:
    """Every public name, and every method of the public classes, those with two underscores included."""
    for module in (fanmap, fanmap.testing, fanmap.types):
        for name in module.__all__:
            value = getattr(module, name)
            yield name, value
            for owner in value.__mro__ if inspect.isclass(value) else ():
                for member, inner in vars(owner).items() if owner.__module__.startswith("fanmap") else ():
                    function = inner.fget if isinstance(inner, property) else getattr(inner, "__func__", inner)
                    if inspect.isfunction(function) and (not member.startswith("_") or member.endswith("__")):
                        yield f"{name}.{member}", function


def test_type_hints_of_everything_public_can_be_asked_for() -> None:
    found = {name: typing.get_type_hints(function) for name, function in public_callables()}
    assert len(found) > 100
    for name in ("parallel_map", "gather_bounded", "Limits.__init__"):
        assert aiolimiter.AsyncLimiter in typing.get_args(found[name]["rate"])


def test_what_the_four_ways_return_is_said_and_not_any() -> None:
    """The pages of the reference show what is written at the function itself, not what its overloads say."""
    ways = ("map", "amap", "imap", "as_completed", "stream", "batch", "abatch")
    functions = [getattr(fanmap.ParallelFunction, name) for name in ways]
    for function in (*functions, fanmap.parallel_map, fanmap.gather_bounded, fanmap.to_sync, fanmap.to_async):
        said = str(inspect.signature(function).return_annotation)
        assert said not in ("Any", "list[Any]", "Results[Any]", "Results[Outcome[Any]]"), function.__qualname__


def test_type_hints_of_a_decorated_function_are_the_functions_own() -> None:
    def ask(prompt: str) -> int:
        return len(prompt)

    @functools.wraps(ask)
    async def aask(prompt: str) -> int:
        return len(prompt)

    for function in (ask, aask):
        decorated: Any = fanmap.parallel_map(function)
        assert typing.get_type_hints(decorated) == {"prompt": str, "return": int}


def test_importing_fanmap_does_not_import_what_only_some_need() -> None:
    script = (
        "import sys, fanmap; print([name for name in ('aiolimiter', 'trio', 'tqdm', 'httpx') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
