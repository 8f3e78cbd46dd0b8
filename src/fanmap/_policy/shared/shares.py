"""Slots among processes: max-min of what they could use, and who has those that do not divide evenly.

A difference of two slots or more is corrected as calls end. The remainder ("one slot, eight processes", too) goes
round: whoever has had one for a tenth of a second gives it to who has been longest without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanmap._policy.shared.document import NEVER, MemberState

ODD_SECONDS = 0.1  # that a slot which does not divide evenly stays where it is
_JUST_NOW, _WITHOUT, _LONG_ENOUGH = range(3)


@dataclass(frozen=True, slots=True)
class Share:
    """What one member's part is: `even`, and one more where it has an odd one."""

    even: int
    odd: bool
    contested: bool  # it could use more than it gets evenly

    @property
    def target(self) -> int:
        return self.even + self.odd


def shares(members: Sequence[MemberState], slots: int, now: float, turn: int = 0) -> list[Share]:
    """Everybody's part of so many slots; the background's is what the foreground leaves.

    Args:
        turn: id of whose background has a slot before the foreground; 0: nobody's.
    """
    front = [member.want[0] for member in members]
    if sum(front) >= slots:
        first = [int(member.id == turn) for member in members]
        level, odd = fill(front, slots - sum(first))
        even = [min(want, level) + one for want, one in zip(front, first, strict=True)]
        more = [want > level for want in front]
    else:
        back = [member.want[1] for member in members]
        level, odd = fill(back, slots - sum(front))
        even = [want + min(behind, level) for want, behind in zip(front, back, strict=True)]
        more = [behind > level for behind in back]
    lucky = _odd_ones(members, even, more, odd, now)
    return [Share(even[place], member.id in lucky, more[place]) for place, member in enumerate(members)]


def fill(wants: Sequence[int], slots: int) -> tuple[int, int]:
    """How many each may have at most, and how many are left for some of those who could use one more."""
    left, claimants = slots, len(wants)
    for want in sorted(wants):
        level = left // claimants
        if want > level:
            return level, left - level * claimants
        left -= want
        claimants -= 1
    return slots, 0


def _odd_ones(
    members: Sequence[MemberState], even: Sequence[int], more: Sequence[bool], odd: int, now: float
) -> set[int]:
    """Ids of those who have one more: who got it just now, then who has been without for longest, then the others."""
    if not odd:
        return set()
    claims: list[tuple[int, float, int]] = []
    for place, member in enumerate(members):
        if more[place]:
            if member.odd == NEVER or member.allow <= even[place]:
                claims.append((_WITHOUT, member.turn, member.id))
            elif now < member.odd + ODD_SECONDS:
                claims.append((_JUST_NOW, 0.0, member.id))
            else:
                claims.append((_LONG_ENOUGH, -member.odd, member.id))
    return {member for _, _, member in sorted(claims)[:odd]}


def grant(member: MemberState, share: Share, keep: int, free: int, now: float) -> None:
    """Change what one member may use: down to what it lets go, up by what is free."""
    if member.allow > share.target:
        member.allow = max(share.target, min(keep, member.allow))
    elif free > 0:
        member.allow += min(share.target - member.allow, free)
    if share.contested and member.allow > share.even:
        if member.odd == NEVER:
            member.odd = member.turn = now
    elif member.odd != NEVER:
        member.odd, member.turn = NEVER, now
