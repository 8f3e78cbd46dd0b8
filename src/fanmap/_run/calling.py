"""From a row to the arguments of a call.

What is passed is all that a kept answer depends on: a column that is not passed may change freely.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from fanmap._callables import innermost, is_coroutine_function, is_generator_function
from fanmap._failure import CommandError
from fanmap._run.rows_in import ONLY, Row
from fanmap._run.texts import wrong

Call = tuple[Any, ...] | dict[str, Any]
_Make = Callable[[dict[str, Any]], Call]
_MOST_SHAPES = 1000  # sets of fields that are remembered


def open_to_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose positional-only parameters may be passed by name too: fields have nothing else."""
    signature = _signature_of(function)
    if signature is None:
        return function
    if not any(one.kind is one.POSITIONAL_ONLY for one in signature.parameters.values()):
        return function
    named = signature.replace(
        parameters=[
            one.replace(kind=one.POSITIONAL_OR_KEYWORD) if one.kind is one.POSITIONAL_ONLY else one
            for one in signature.parameters.values()
        ]
    )

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = named.bind(*args, **kwargs)
        bound.apply_defaults()  # of two positional ones with a default, the second may be the one that is passed
        return function(*bound.args, **bound.kwargs)

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        made = call(*args, **kwargs)
        return made if streams else await made

    streams = is_generator_function(function) == "async"
    opened: Any = call_async if streams or is_coroutine_function(function) else call
    inner: Any = innermost(function)
    named_like: Any = inner if hasattr(inner, "__qualname__") else cast("type[Any]", type(inner))
    functools.update_wrapper(opened, named_like)  # results are kept under the name of the function
    opened.__signature__ = named
    return cast("Callable[..., Any]", opened)


def _signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # a builtin that does not say
        return None


class Calls:
    """How rows become calls of this function.

    Args:
        function: whose parameters are looked at.
        name: of the function, for messages.
        mapping: (field, argument) pairs of `--map`; none: by the names of the parameters.
        source: the name of the input, for messages.

    Raises:
        CommandError: the mapping cannot be right.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, mapping: Sequence[tuple[str, str]], source: str
    ) -> None:
        self._name = name
        self._source = source
        self._signature = _signature_of(function)
        self._fields = {argument: field for field, argument in mapping}
        if len(self._fields) != len(mapping):
            raise CommandError("--map names an argument twice", status=2)
        self._check_arguments()
        self._shapes: dict[tuple[bool, tuple[str, ...]], _Make] = {}

    def of(self, row: Row) -> Call:
        """The call of a row: a tuple of positional arguments, or arguments by name.

        Raises:
            CommandError: its fields do not make a call.
        """
        shape = row.single, tuple(row.fields)
        make = self._shapes.get(shape)
        if make is None:
            make = self._make(row)
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            self._shapes[shape] = make
        return make(row.fields)

    # Inside

    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return {} if self._signature is None else self._signature.parameters

    def _named(self) -> list[str]:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return [name for name, parameter in self._parameters().items() if parameter.kind in kinds]

    def _check_arguments(self) -> None:
        if self._signature is None or any(one.kind is one.VAR_KEYWORD for one in self._parameters().values()):
            return
        unknown = [argument for argument in self._fields if argument not in self._named()]
        if unknown:
            raise CommandError(f"--map: {self._name} has no parameter {unknown[0]}, {self._takes()}", status=2)

    def _make(self, row: Row) -> _Make:
        make = self._mapped(row) if self._fields else self._single() if row.single else self._by_name(row)
        call = make(row.fields)
        if self._signature is not None:
            try:
                self._signature.bind(*call) if isinstance(call, tuple) else self._signature.bind(**call)
            except TypeError as error:
                raise self._wrong(row, str(error)) from error
        return make

    def _mapped(self, row: Row) -> _Make:
        fields = self._fields
        for field in fields.values():
            if field not in row.fields:
                raise self._wrong(row, f"--map: there is no field {field!r}")
        return lambda values: {argument: values[field] for argument, field in fields.items()}

    def _single(self) -> _Make:
        return lambda values: (values[ONLY],)

    def _by_name(self, row: Row) -> _Make:
        names = [name for name in self._named() if name in row.fields]
        if names:
            return lambda values: {name: values[name] for name in names}
        if len(row.fields) != 1:
            raise self._wrong(row, "no field has the name of a parameter")
        needed = [one for one in self._parameters().values() if one.default is one.empty]
        if len(needed) == 1 and needed[0].kind is inspect.Parameter.KEYWORD_ONLY:
            name = needed[0].name
            return lambda values: {name: next(iter(values.values()))}
        if any(one.kind is one.VAR_KEYWORD for one in needed) and len(needed) == 1:
            raise self._wrong(row, "no field has the name of a parameter")
        return lambda values: (next(iter(values.values())),)

    def _wrong(self, row: Row, why: str) -> CommandError:
        if row.single:
            help_ = "a line or a value is one argument; for several, use JSONL objects or CSV"
        else:
            help_ = f"the fields are {', '.join(map(repr, row.fields)) or 'none'}"
            if not self._fields:
                help_ += "; use --map FIELD=ARGUMENT"
        return wrong(self._source, row.line, f"{why}: {self._name} {self._takes()}; {help_}")

    def _takes(self) -> str:
        return f"takes {self._signature}" if self._parameters() else "takes no named arguments"
