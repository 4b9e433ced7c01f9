"""Where the Ray cluster is, and what a curriculum's actor is told."""

from __future__ import annotations

from dataclasses import dataclass

from syllabus_service.limits import Limits

NAMESPACE = "syllabus"  #: Ray namespace of the actors, so that jobs of any namespace find them


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster, and how actors are made in it."""

    address: str = "auto"
    """As ``ray.init`` takes it: ``HOST:PORT`` of the head, or ``auto``. A Ray node must run on this machine."""
    namespace: str = NAMESPACE
    """Ray namespace of the actors."""
    cpus_per_curriculum: float = 0.1
    """CPUs that each actor takes from Ray's count. With 0 an actor may be placed on a node without any, such as a front
    door's own."""


@dataclass(frozen=True)
class Stored:
    """A curriculum that is kept in a store, as its actor finds it."""

    store: str
    """URL of the store. It is kept by Ray's head, so a password is better kept in libpq's password file."""
    durability: str
    """What a commit waits for."""
    limits: Limits
    """Bounds."""


@dataclass(frozen=True)
class Given:
    """A curriculum object of the caller's, which is not stored and ends with its actor."""

    pickled: bytes
    """As bytes, because Ray's own way of sending an object makes its arrays read-only."""
    lease_seconds: float
    """How long a session may stay silent."""
    host: str | None = None
    """Address that the actor listens on; None: that of its node."""


def beat_seconds(lease_seconds: float) -> float:
    """How often a front door speaks to the actor of a curriculum at least, in seconds."""
    return min(max(lease_seconds / 8, 1.0), 10.0)


def deaf_seconds(lease_seconds: float) -> float:
    """After how many seconds without any front door no session could have been heard."""
    return 3 * beat_seconds(lease_seconds)
