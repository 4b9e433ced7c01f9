"""Assignment ids as a process sees them: the service's, marked with the life of the session in which they began.

The mark is in the two highest bits. So an episode that outlives its session is not taken for one of the next.
"""

from __future__ import annotations

import numpy as np

_SHIFT = 62
_MASK = (1 << _SHIFT) - 1


class LocalIds:
    """Translates assignment ids between the process and the wire."""

    def __init__(self) -> None:
        self.epoch = 0
        """The life of the session: 0 for the first, then 1 to 3 in turns."""

    def next_epoch(self) -> None:
        """Another session begins: ids of the one before are dead."""
        self.epoch = self.epoch % 3 + 1

    def to_local(self, wire_ids: np.ndarray) -> np.ndarray:
        """uint64 (k,): ids that the service gave in this life of the session, marked."""
        return wire_ids | np.uint64(self.epoch << _SHIFT) if self.epoch else wire_ids

    def to_wire(self, local_id: int) -> int | None:
        """The service's id, 0 for none; or None where the assignment ended with an earlier life of the session."""
        if not self.epoch or not local_id:
            return local_id
        return local_id & _MASK if local_id >> _SHIFT == self.epoch else None

    def to_wire_many(self, local_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The service's ids, and which of them are still alive: bool (k,)."""
        if not self.epoch:
            return local_ids, np.ones(len(local_ids), bool)
        alive = (local_ids == 0) | (local_ids >> np.uint64(_SHIFT) == self.epoch)
        return local_ids & np.uint64(_MASK), alive
