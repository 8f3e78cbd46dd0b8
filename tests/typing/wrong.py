"""What type checkers say of wrong code. Read by them, never run.

Each wrong line names what mypy and what pyright must call it, in that order (pyright may have several); every other line must please both.
"""

# pyright: strict

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from fanmap import Limits, Outcome, Retry, gather_bounded, parallel_map, to_async, to_sync


@parallel_map(max_concurrency=4)
def ask(prompt: str, *, model: str = "small") -> int:
    return len(prompt + model)


@parallel_map
async def aask(prompt: str) -> int:
    return len(prompt)


# Direct calls

ask()  # error: call-arg, reportCallIssue
ask(3)  # error: arg-type, reportArgumentType
ask("a", "large")  # error: call-arg, reportCallIssue
ask("a", models="large")  # error: call-arg, reportCallIssue
ask("a", model=3)  # error: arg-type, reportArgumentType
text: str = ask("a")  # error: assignment, reportAssignmentType


async def awaiting() -> None:
    await aask()  # error: call-arg, reportCallIssue
    await aask(b"a")  # error: arg-type, reportArgumentType
    await ask("a")  # error: misc, reportGeneralTypeIssues
    number: int = aask("a")  # error: assignment, reportAssignmentType
    print(number)


# Methods


class Client:
    @parallel_map
    def ask(self, prompt: str) -> int:
        return len(prompt)


Client().ask()  # error: call-arg, reportCallIssue
Client().ask("a", "b")  # error: call-arg, reportCallIssue
Client.ask(Client())  # error: call-arg, reportCallIssue


class Service:
    @parallel_map
    @classmethod
    def ask(cls, prompt: str) -> int:
        return len(prompt)

    @parallel_map
    @staticmethod
    def count(prompt: str) -> int:
        return len(prompt)


Service.count()  # error: call-arg, reportCallIssue
Service.count(3)  # error: arg-type, reportArgumentType
Service.count("a", "b")  # error: call-arg, reportCallIssue
length: str = Service.count("a")  # error: assignment, reportAssignmentType
lengths: list[str] = Service.ask.map(["a"])  # error: assignment, reportAssignmentType
# Right, and called wrong all the same: a checker takes the two decorators off before it asks what is below them,
# and then no type can tell a class method or a static one from a method.
Service.ask(prompt="a")  # error: call-arg, reportCallIssue
Service().count("a")  # error: call-arg, reportCallIssue

# Runs

texts: list[str] = ask.map(["a"])  # error: assignment, reportAssignmentType
numbers: list[int] = ask.map(["a"], return_exceptions=True)  # error: assignment, reportAssignmentType
first = next(ask.as_completed(["a"]))
outcome: Outcome[str] = first  # error: assignment, reportAssignmentType
ask.map(3)  # error: call-overload, reportArgumentType
ask.map(["a"], max_workers=3)  # error: call-overload, reportCallIssue
ask.map(["a"], ["b"])  # error: call-overload, reportCallIssue
ask.map(["a"], max_concurrency="3")  # error: call-overload, reportArgumentType
ask.map(["a"], max_failures=3)  # error: call-overload, reportCallIssue
ask.map(["a"], deadline="soon")  # error: call-overload, reportArgumentType
ask.map(["a"], progress=3)  # error: call-overload, reportArgumentType
ask.imap(["a"], unpacked=True)  # error: call-overload, reportCallIssue
ask.as_completed(["a"], ordered=True)  # error: call-arg, reportCallIssue
ask.mapped(["a"])  # error: attr-defined, reportAttributeAccessIssue, reportUnknownMemberType


async def asynchronous_input_is_not_for_map() -> None:
    async def inputs() -> AsyncIterator[str]:
        yield "a"

    ask.map(inputs())  # error: call-overload, reportArgumentType
    await ask.map(["a"])  # error: misc, reportGeneralTypeIssues


# Streams


@parallel_map
def tell(prompt: str) -> Iterator[str]:
    yield prompt


lists: list[str] = tell.map(["a"])  # error: assignment, reportAssignmentType
ask.stream(["a"])  # error: misc, reportAttributeAccessIssue, reportUnknownMemberType
tell.stream(["a"], resume="answers.jsonl")  # error: call-overload, reportCallIssue
chunks: list[tuple[int, bytes]] = list(tell.stream(["a"]))  # error: arg-type, reportAssignmentType

# Settings

parallel_map(max_workers=3)  # error: call-overload, reportCallIssue
parallel_map(max_concurrency="many")  # error: call-overload, reportArgumentType
parallel_map(rpm="500")  # error: call-overload, reportArgumentType
parallel_map(retry=3)  # error: call-overload, reportArgumentType
parallel_map(retry=True)  # error: call-overload, reportArgumentType
parallel_map(limits=8)  # error: call-overload, reportArgumentType
parallel_map(3)  # error: call-overload, reportArgumentType, reportCallIssue
ask.with_options(rpm=3)  # error: call-arg, reportCallIssue
ask.with_options(model="large")  # error: call-arg, reportCallIssue
print(ask.stat)  # error: attr-defined, reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType
ask.with_options(max_concurrency=3.5)  # error: arg-type, reportArgumentType
Limits(8, 500)  # error: call-arg, reportCallIssue
Limits(rate="10/s")  # error: arg-type, reportArgumentType
ask.map(["a"], max_concurrency="auto")  # error: call-overload, reportArgumentType
Limits(8, max_concurrency=8)  # error: misc, reportCallIssue
Retry(on="429")  # error: arg-type, reportArgumentType

# A journal

ask.map(["a"], resume=3)  # error: call-overload, reportArgumentType
ask.map(["a"], resume="a", version=1.5)  # error: call-overload, reportArgumentType
ask.map(["a"], model="large")  # error: call-overload, reportCallIssue
ask.as_completed(["a"], model="large")  # error: call-arg, reportCallIssue

# gather_bounded


async def gathered() -> None:
    await gather_bounded(3)  # error: call-overload, reportArgumentType, reportCallIssue
    await gather_bounded(aask("a"), "a")  # error: call-overload, reportArgumentType, reportCallIssue
    await gather_bounded(aask("a"), limit=3)  # error: call-overload, reportCallIssue
    one, _ = await gather_bounded(aask("a"))  # error: misc, reportAssignmentType, reportUnknownVariableType
    results = await gather_bounded([aask("a")], return_exceptions=True)
    plain: list[int] = results  # error: assignment, reportAssignmentType
    print(one, plain)


# The bridge


def blocking(prompt: str) -> int:
    return len(prompt)


async def awaitable(prompt: str) -> int:
    return len(prompt)


to_sync(blocking)  # error: arg-type, reportArgumentType
to_sync(awaitable)(3)  # error: arg-type, reportArgumentType
number_now: str = to_sync(awaitable)("a")  # error: assignment, reportAssignmentType
waiting = to_async(blocking)(prompts="a")  # error: call-arg, reportCallIssue, reportUnknownVariableType
