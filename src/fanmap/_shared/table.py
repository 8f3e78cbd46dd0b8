"""What `fanmap shared` shows of one name. Pure: an overview in, text out, at most 80 columns wide."""

from __future__ import annotations

from fanmap._policy.shared.document import FOLLOWED, TOTAL
from fanmap._policy.shared.overview import MemberView, Overview, RateView
from fanmap._policy.shared.troubles import kind_of_rate

_MOST = 40  # processes that are listed


def table(name: str, where: str, view: Overview) -> str:
    """Slots, gate, rates, and a line for each process."""
    lines = [f"{name}, in {where}", "", *_state(view), ""]
    lines.append(f"{'process':<14}{'in flight':>10}{'slots':>8}{'waiting':>10}{'heard of':>14}")
    lines += [_member(member) for member in view.members[:_MOST]]
    if len(view.members) > _MOST:
        lines.append(f"and {len(view.members) - _MOST} more")
    return "\n".join(lines) + "\n"


def _state(view: Overview) -> list[str]:
    ceiling = f"{view.ceiling}" if view.ceiling == view.maximum else f"{view.ceiling} (at most {view.maximum})"
    rows = [
        ("processes", f"{len(view.members)}"),
        ("in flight", f"{view.in_flight} of {ceiling}"),
        ("waiting", f"{view.waiting}"),
        ("gate", f"closed for {view.gate:.1f} s" if view.gate else "open"),
    ]
    if view.outage:
        rows.append(("outage", "one probe at a time"))
    if view.spent is not None:
        rows.append(("account", f"spent, as a process was told {view.spent:.0f} s ago"))
    rows += [("total" if rate.per == TOTAL else "rate", _rate(rate)) for rate in view.rates]
    return [f"{head:<11}{text}" for head, text in rows]


def _rate(rate: RateView) -> str:
    if rate.per == TOTAL:
        under_way = f", {rate.booked:g} booked by calls under way" if rate.booked else ""
        return f"{rate.spent:g} of {rate.amount:g} {kind_of_rate(rate.what, rate.per)}{under_way}"
    if not rate.amount:
        return f"{kind_of_rate(rate.what, rate.per)}, which it has not told yet"
    when = f"next start in {rate.free_in:.1f} s" if rate.free_in >= 0.05 else "a start is free"
    window = f", per {rate.per:g} s" if rate.what in FOLLOWED else ""
    return f"{rate.amount:g} {kind_of_rate(rate.what, rate.per)}{window}, {when}"


def _member(member: MemberView) -> str:
    seen = f"{member.seen:.1f} s ago"
    return f"{member.id:012x}  {member.in_flight:>10}{member.allow:>8}{member.waiting:>10}{seen:>14}"
