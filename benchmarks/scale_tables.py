"""The tables of docs/scale.md: what `scale_plan` comes to, from rates that were measured."""

from collections.abc import Sequence

from benchmarks.record import shown
from benchmarks.scale_plan import (
    ASSUMED,
    BYTES,
    CLASSES,
    COMMANDS,
    LAST,
    LIMIT,
    LISTING,
    MANY,
    NAME,
    PER_SHARD,
    PHOTOS,
    REQUESTS,
    STAGES,
    STORE_LINK,
    UNITS,
    Host,
    Plan,
    Rates,
    assumed,
    hosts_of,
    reads,
)
from regraft.data.bit_sampling import compared_pairs
from regraft.storage.store import PIECE

NAMES_OF_REQUEST = 1000  # that a store lists at a time
HASH = 32  # bytes, with and without margins
_FLEET = 64  # hosts of the table of limits
_HOUR, _LINK = 3600, 8e-9  # seconds; gigabits of a byte


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def stage_table(plans: Sequence[Plan]) -> list[str]:
    """Return hours and what is waited for, by fleet and stage."""
    rows = []
    for plan in plans:
        cells = (plan.hours(stage) for stage in STAGES)
        rows.append([_fleet(plan), *(f"{_hours(hours)} · {why}" for hours, why in cells)])
    return table(["hosts", *STAGES[:-1], "an epoch"], rows)


def command_table(plans: Sequence[Plan]) -> list[str]:
    """Return hours, and in brackets the hours of all hosts together, by fleet and command."""
    rows = []
    for plan in plans:
        hours = [plan.command(stages) for stages in COMMANDS.values()]
        rows.append([_fleet(plan), *(f"{_hours(one)} ({_hours(one * plan.hosts)})" for one in hours)])
    return table(["hosts", *COMMANDS], rows)


def cost_table(plan: Plan) -> list[str]:
    """Return what commands read, ask for and write, on whatever hosts."""
    rows = []
    for command, stages in COMMANDS.items():
        times = reads(stages)
        read = times * plan.photos * plan.rates[BYTES] / 1e12
        requests = [times * plan.photos, read * 1e12 / PIECE]
        written = plan.feature_bytes() / 1e9 if "head" in stages else 0
        rows.append(
            [command, str(times), shown(read), *(f"{one:,.0f}" for one in requests), shown(written) if written else "0"]
        )
    return table(["", "reads", "TB read", "requests, loose photos", "requests, shards", "GB of features kept"], rows)


def memory_table(plans: Sequence[Plan]) -> list[str]:
    """Return GB of memory by fleet: of a host that works, and of the driver."""
    rows = []
    for plan in plans:
        every, last = plan, Plan(plan.rates, plan.host, plan.hosts, plan.photos, LAST)
        rows.append(
            [
                _fleet(plan),
                shown(plan.host.memory),
                shown(plan.worker_memory()),
                shown(every.mapped()),
                shown(last.mapped()),
            ]
        )
    return table(["hosts", "memory", "workers", "features, all depths", "features, `last`"], rows)


def limit_table(rates: Rates, host: Host) -> list[str]:
    """Return what grows with the photos, of `PHOTOS` and of `MANY`."""
    columns = [_limits(Plan(rates, host, _FLEET, photos)) for photos in (PHOTOS, MANY)]
    names = columns[0].keys()
    return table(["", "20 million", "1 billion"], [[name, *(one[name] for one in columns)] for name in names])


def _limits(plan: Plan) -> dict[str, str]:
    photos, requests = plan.photos, plan.photos / NAMES_OF_REQUEST
    gigabits = photos * plan.rates[BYTES] * _LINK
    last = Plan(plan.rates, plan.host, plan.hosts, photos, LAST).feature_bytes()
    return {
        "bytes of the photos, TB": shown(photos * plan.rates[BYTES] / 1e12),
        "the store alone, each time all are read, hours": shown(gigabits / assumed(STORE_LINK) / _HOUR),
        "loose photos: requests for their names": f"{requests:,.0f}",
        "... hours, one after the other": shown(requests * assumed(LISTING) / _HOUR),
        "... requests for photos in one prefix, hours each time": shown(photos / assumed(REQUESTS) / _HOUR),
        "tar shards: their headers, by the driver of `fit` alone, hours": shown(gigabits / plan.host.gigabits / _HOUR),
        f"shards of {PER_SHARD:,} photos, and part files": f"{photos / PER_SHARD:,.0f}",
        "the driver of `fit`: names, keys and labels, GB": shown(photos * plan.rates[NAME] / 1e9),
        "the driver of `predict`: names of shards, GB": shown(photos / PER_SHARD * plan.rates[NAME] / 1e9),
        "the driver of `fit`: hashes and logits of a choice, GB": shown(photos * (2 * HASH + 4 * CLASSES) / 1e9),
        "features of all depths, GB": shown(plan.feature_bytes() / 1e9),
        "features with `--features last`, GB": shown(last / 1e9),
        "pairs of hashes, billions": f"{photos**2 / 2 / 1e9:,.0f}",
        "... of which samples of bits look up, in as much time as it takes to compare so many billions": shown(
            compared_pairs(int(photos), LIMIT) / 1e9
        ),
        "... hours of one such host": shown(plan.hours("pairs")[0]),
        f"a head on {plan.hosts} such hosts, hours": shown(plan.hours("head")[0]),
    }


def rate_table(rates: Rates, where: str) -> list[str]:
    """Return what was measured, and where."""
    return table([f"measured on {where}", ""], [[name, f"{shown(rates[name])} {UNITS[name]}"] for name in UNITS])


def assumption_table() -> list[str]:
    """Return what is assumed, and why."""
    rows = [[name, f"{_plain(one.value)} {one.unit}".strip(), one.why] for name, one in ASSUMED.items()]
    return table(["assumed", "", "from"], rows)


def tables(rates: Rates, cores: int, memory: float, where: str, photos: float = PHOTOS) -> dict[str, list[str]]:
    """Return every table of docs/scale.md by its name.

    Args:
        rates: that were measured.
        cores: of the machine that they were measured on.
        memory: of it, in GB.
        where: that machine, in words.
        photos: how many.
    """
    kinds = hosts_of(cores, memory)
    plans = [Plan(rates, host, hosts, photos) for host in kinds for hosts in host.fleets]
    return {
        "stages": stage_table(plans),
        "commands": command_table(plans),
        "costs": cost_table(plans[0]),
        "memory": memory_table(plans),
        "limits": limit_table(rates, kinds[0]),
        "measured": rate_table(rates, where),
        "assumed": assumption_table(),
    }


def _fleet(plan: Plan) -> str:
    return f"{plan.hosts} x {plan.host.name}"


def _hours(hours: float) -> str:
    return shown(hours) if hours >= 0.005 else "below 0.01"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
