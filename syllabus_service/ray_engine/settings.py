"""Where the Ray cluster is, and what a curriculum's actor is told."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from syllabus_service.limits import Limits

NAMESPACE = "syllabus"  #: Ray namespace of the actors, so that jobs of any namespace find them

PROTOCOL = 1
"""Number of what front doors and actors say to each other: ``calls.proto``, the journal's commands, what they mean. It
is raised with every change that would have a front door and an actor of two releases misunderstand each other."""

CALL_SECONDS = 60.0
"""How long a call to an actor may take, its being placed and its recovery included; then it is Unavailable."""

FORSAKEN_SECONDS = 60.0
"""An actor that no front door of its own settings has spoken to for so long may be made anew by an older one."""


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
    identity: str = ""
    """Which database the store is, so that actors of two of them in one Ray cluster have two names."""
    epoch: int = 0
    """In which the front door that makes the actor has opened the store; a later one prevails."""
    cpus: float = RayCluster.cpus_per_curriculum
    """CPUs that the actor takes from Ray's count."""

    @property
    def settings(self) -> str:
        """A fingerprint of all that a front door's options say about its actors; equal where these are."""
        told = asdict(replace(self, identity="", epoch=0))
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def actor_name(self, curriculum: str) -> str:
        """Name of the actor of a curriculum, in the namespace of the actors."""
        return f"curriculum:{curriculum}@{self.identity}"


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
