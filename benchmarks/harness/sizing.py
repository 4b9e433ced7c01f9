"""What a deployment needs, computed from the figures of the programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.harness.results import Result, markdown_table, number

_SESSIONS = 1_000
"""Of the program ``sessions``."""
_BATCH_EVERY = (0.3, 1.1)
"""Seconds from one batch of a machine to its next: as clients are by default, and with a ``max_latency`` of 1 s."""
_RATES = (10.0, 1.0, 0.1)
"""Batches a second of one session."""


def sizing_table(results: Mapping[str, Result]) -> str:
    """Two columns in Markdown: a need, and about how much. A figure whose program has no result is left out."""
    return markdown_table(["", "about"], [[name, number(value)] for name, value in _sizes(results)])


def ray_costs_table(result: Result) -> str:
    """CPU microseconds of each kind of process for a call to an actor, and for a batch in it, in Markdown.

    Of two arms with batches of the same size and different numbers of them in a call, the solution of
    ``CPU a batch = batch + call / batches a call``.
    """
    many, few = result.data["reckoned_from"]
    figures = {arm: result.data["arms"][arm]["figures"] for arm in (many, few)}
    together = {arm: each["batches_per_commit"]["median"] for arm, each in figures.items()}
    rows = []
    for kind, name in (
        ("door", "front door"),
        ("link", "its link to Ray"),
        ("actor", "actor"),
        ("database", "database"),
    ):
        costs = {arm: each[f"{kind}_us"]["median"] for arm, each in figures.items()}
        shares = 1 / together[few] - 1 / together[many]
        call = (costs[few] - costs[many]) / shares if shares else float("nan")
        rows.append([name, *map(number, (costs[many], costs[few], call, costs[many] - call / together[many]))])
    header = [
        "CPU, us",
        *(f"a batch, {number(together[arm])} of them a commit" for arm in (many, few)),
        "so, for each call",
        "and for each batch",
    ]
    return markdown_table(header, rows)


def ray_estimate_table(result: Result) -> str:
    """Cores that 1,000 machines with a session each need, by the costs of batches in full calls, in Markdown."""
    many, _ = result.data["reckoned_from"]
    figures = result.data["arms"][many]["figures"]
    doors, actor = (sum(figures[f"{kind}_us"]["median"] for kind in kinds) for kinds in (("door", "link"), ("actor",)))
    rates = [1_000 / seconds for seconds in _BATCH_EVERY]

    def cores(us: float, share: float = 1.0) -> list[str]:
        return [number(rate * us * share / 1e6) for rate in rates]

    rows = [
        ["batches a second, of 1,000 machines", *map(number, rates)],
        ["cores of front doors and their links, all together", *cores(doors)],
        ["cores of the actor of one curriculum, which has at most one", *cores(actor)],
        ["cores of each of ten actors, of ten curricula with 100 machines each", *cores(actor, 0.1)],
    ]
    header = ["", *(f"a batch each {seconds:g} s from each machine" for seconds in _BATCH_EVERY)]
    return markdown_table(header, rows)


def _sizes(results: Mapping[str, Result]) -> Iterator[tuple[str, float]]:
    def median(program: str, arm: str, figure: str) -> float | None:
        try:
            return results[program].data["arms"][arm]["figures"][figure]["median"]
        except KeyError:
            return None

    service, flat_out = "this service", "as fast as answered"
    if cpu := median("main_job", service, "cpu_us_per_episode"):
        yield "episodes/s a core, 8 small processes and the service together", 1e6 / cpu
    if cpu := median("ingest", service, "server_cpu_us_per_episode"):
        yield "episodes/s a core of the service, batches of 2,048", 1e6 / cpu
    if cpu := median("sessions", flat_out, "server_cpu_us_per_batch"):
        for rate in _RATES:
            yield f"sessions a core of the service, {rate:g} batches of 8 episodes a second each", 1e6 / cpu / rate
    if most := median("ingest", service, "episodes_per_s"):
        yield "most episodes/s of one server, batches of 2,048", most
    if most := median("sessions", flat_out, "batches_per_s"):
        yield "most batches/s of one server, 8 episodes each, 1,000 sessions", most
    if most := median("get_task", "GetTask", "calls_per_s"):
        yield "most unary calls/s of one server", most
    none, opened = median("sessions", flat_out, "idle_rss_mib"), median("sessions", flat_out, "opened_rss_mib")
    busy = median("sessions", flat_out, "peak_rss_mib")
    if none and opened and busy:
        yield "MiB of a service without sessions", none
        yield "KiB a session that is open and has said nothing", (opened - none) / _SESSIONS * 1024
        yield "KiB a session that sends 8 episodes as fast as answered", (busy - none) / _SESSIONS * 1024
    if loaded := median("overload", "flood", "mib_per_session"):
        yield "MiB a session that keeps 32 batches of 256 episodes waiting", loaded
