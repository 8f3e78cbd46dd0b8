"""Where a batch job stands, told by the lines of its file: what was handed in, what has been answered.

Each line with a `"kind"` is an event. `intent` comes before a hand-in, `handed_in` has the provider's id, `answer` an
answer, `over` ends a batch ("ended": its answers are all in the file; "void": nothing of it was or will be done).
Kinds that are not known are passed over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, cast

from fanmap._policy.batch.question import Group, ProviderName, item_of, shown_query
from fanmap._policy.batch.spending import Mean
from fanmap._policy.batch.wire import Place
from fanmap._policy.journals.journal import kind_line
from fanmap._policy.journals.kept import amount_of
from fanmap._policy.json_text import compact

PROVIDERS: Final = ("openai", "anthropic")


@dataclass(slots=True)
class HandIn:
    """One provider batch of this job, from its intent on.

    Attributes:
        name: ours.
        place: of its server. The file has not all of its query; see `reach_by`.
        turn: of the job.
        began: when the intent was written, in seconds since the epoch.
        questions: their keys.
        id: the provider's; "": nobody knows yet whether it was made.
        reserved: dollars that it may cost, where money is bounded.
        account: what the file has of whose it is; see `Group.shown_account`.
    """

    name: str
    provider: ProviderName
    place: Place
    turn: int
    began: float
    questions: tuple[str, ...]
    id: str = ""
    reserved: float = 0.0
    account: str = ""

    def reach_by(self, group: Group) -> None:
        """A client that asks there has the whole query, with the key that may be in it."""
        if self.place.query == shown_query(group.query):
            self.place = self.place._replace(query=group.query)


class Job:
    """A job's state.

    Attributes:
        under_way: hand-ins that are not over, by name.
        asked_in: the name of the hand-in that a question is under way in.
        answers: where the line of an answer begins.
        failures: the same for failures of this process's own hand-ins: the next call asks those anew.
        turn: the last turn that something was handed in in.
        turns: of each item (by its mark): in how many turns it has asked, and in which last.
        ids: of every batch that the file knows, those that are over included.
        of_item: the questions of each item that were handed in and may be answered.
        mean: what answers have cost, where that was counted.
    """

    def __init__(self) -> None:
        self.under_way: dict[str, HandIn] = {}
        self.asked_in: dict[str, str] = {}
        self.answers: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self.turn = 0
        self.ids: set[str] = set()
        self.turns: dict[str, tuple[int, int]] = {}
        self.of_item: dict[str, tuple[str, ...]] = {}
        self.mean = Mean()

    def add(self, said: dict[str, Any], place: int, *, live: bool = False) -> None:
        """A line of the file.

        Args:
            said: what it says.
            place: where it begins.
            live: this process has just written it.
        """
        kind = said.get("kind")
        if kind == "intent":
            self._intent(said)
        elif kind == "handed_in" and (hand_in := self.under_way.get(said["key"])) is not None:
            hand_in.id = str(said.get("id", ""))
            self.ids.add(hand_in.id)
        elif kind == "answer":
            status = said.get("status")
            if "cost" in said:
                self.mean.add(amount_of(said["cost"]))
            if isinstance(status, int) and status < 400:
                self.answers[said["key"]] = place
            elif live:
                self.failures[said["key"]] = place
        elif kind == "over":
            self._over(said["key"])

    def _intent(self, said: dict[str, Any]) -> None:
        questions: object = said.get("questions")
        if said.get("provider") not in PROVIDERS or not isinstance(questions, list):
            return
        keys = tuple(str(key) for key in cast("list[object]", questions))
        where = Place(str(said.get("root")), str(said.get("query", "")), str(said.get("endpoint")))
        turn, began = int(said.get("turn", 0)), float(said.get("began", 0))
        self.turn = max(self.turn, turn)
        name: str = said["key"]
        reserved, account = amount_of(said.get("reserved")), str(said.get("account"))
        self.under_way[name] = HandIn(
            name, said["provider"], where, turn, began, keys, reserved=reserved, account=account
        )
        for key in keys:
            self.asked_in[key] = name
            item = item_of(key)
            known = self.of_item.get(item, ())
            if key not in known:
                self.of_item[item] = (*known, key)
                turns, last = self.turns.get(item, (0, 0))
                if turn != last:
                    self.turns[item] = turns + 1, turn

    def _over(self, name: str) -> None:
        hand_in = self.under_way.pop(name, None)
        if hand_in is None:
            return
        for key in hand_in.questions:
            if self.asked_in.get(key) == name:
                del self.asked_in[key]

    def is_first(self, mark: str, keys: list[str]) -> bool:
        """Has one of these questions of an item never been handed in?"""
        known = self.of_item.get(mark, ())
        return any(key not in known for key in keys)

    def forgotten(self, mark: str, asked: set[str]) -> list[str]:
        """Questions of an item that were answered, or will be, and that its last run did not ask."""
        known = self.of_item.get(mark, ())
        return [key for key in known if key not in asked and (key in self.answers or key in self.asked_in)]


def intent_line(hand_in: HandIn) -> bytes:
    """Before a batch is handed in."""
    place = hand_in.place
    said: dict[str, Any] = {
        "provider": hand_in.provider,
        "root": place.root,
        "query": shown_query(place.query),
        "endpoint": place.endpoint,
        "turn": hand_in.turn,
        "account": hand_in.account,
        "questions": hand_in.questions,
    }
    if hand_in.reserved:
        said["reserved"] = hand_in.reserved
    return kind_line(hand_in.name, "intent", hand_in.began, json.dumps(said, separators=(",", ":"))[1:-1])


def handed_in_line(name: str, began: float, batch: str) -> bytes:
    """When the provider has it, with the id that it has there."""
    return kind_line(name, "handed_in", began, f'"id":{json.dumps(batch)}')


def answer_line(key: str, began: float, status: int, body: Any, cost: float | None = None) -> bytes:
    """A question's answer, and what it cost, where that is counted."""
    text = compact(body)
    shown = "" if cost is None else f'"cost":{cost!r},'
    return kind_line(key, "answer", began, f'"status":{status},{shown}"body":{text}')


def over_line(name: str, began: float, how: str) -> bytes:
    """A batch is over."""
    return kind_line(name, "over", began, f'"how":{json.dumps(how)}')
