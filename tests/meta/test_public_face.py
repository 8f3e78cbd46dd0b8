"""The public names are the ones that are promised, and each says what it does."""

from __future__ import annotations

import inspect

import fanmap
import fanmap.testing


def test_all_is_sorted_and_exists() -> None:
    for module in (fanmap, fanmap.testing):
        assert list(module.__all__) == sorted(module.__all__)
        for name in module.__all__:
            assert hasattr(module, name), f"{module.__name__}.{name}"


def test_no_public_name_is_missing_from_all() -> None:
    public = {name for name, value in vars(fanmap).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == set(fanmap.__all__)


def test_every_public_name_has_a_docstring() -> None:
    for module in (fanmap, fanmap.testing):
        for name in module.__all__:
            assert inspect.getdoc(getattr(module, name)), f"{module.__name__}.{name}"


def test_every_public_method_has_a_docstring() -> None:
    missing: list[str] = []
    for name in fanmap.__all__:
        value = getattr(fanmap, name)
        if inspect.isclass(value):
            for member, inner in vars(value).items():
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
