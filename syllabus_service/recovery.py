"""Recovery: the newest readable snapshot, and the journal behind it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from syllabus_service.commands import RecordVersionError
from syllabus_service.errors import RequestError
from syllabus_service.host import CurriculumHost
from syllabus_service.state_codec import StateVersionError
from syllabus_service.store import CorruptJournalError, Store, StoreVersionError

_log = structlog.get_logger(__name__)


def recover(store: Store, name: str, make_host: Callable[[], CurriculumHost]) -> CurriculumHost:
    """The host of a curriculum in exactly the state of its last journalled command. O(snapshot + records behind it).

    Args:
        store: holds the curriculum.
        name: its name.
        make_host: makes the host as it was when the curriculum was created.

    Raises:
        CorruptJournalError: a record that is needed is damaged or not there, or cannot be replayed.
        StoreVersionError: a snapshot or a record is of a later version than this program knows.
        StoreUnavailableError: see ``Store``.
    """
    host = _newest_snapshot(store, name, make_host) or make_host()
    start = host.position
    for position, record in store.read(name, after=start):
        try:
            host.replay(record)
        except RecordVersionError as error:
            raise StoreVersionError(f"{name}: record {position} {error}") from error
        except Exception as error:
            raise CorruptJournalError(f"{name}: record {position} cannot be replayed: {error!r}") from error
        if host.position != position:
            raise CorruptJournalError(f"{name}: record {position} was replayed as number {host.position}")
    _log.info("recovered", curriculum=name, snapshot_position=start, position=host.position)
    return host


def _newest_snapshot(store: Store, name: str, make_host: Callable[[], CurriculumHost]) -> CurriculumHost | None:
    for position, state in store.snapshots(name):
        host = make_host()
        try:
            host.load_snapshot(state)
        except StateVersionError as error:  # what is behind an older one may be of that version, too
            raise StoreVersionError(f"{name}: snapshot {position} {error}") from error
        except (ValueError, LookupError, TypeError, RequestError) as error:
            _log.error("snapshot_refused", curriculum=name, position=position, error=repr(error))
            continue
        if host.position == position:
            return host
        _log.error("snapshot_refused", curriculum=name, position=position, error=f"it says position {host.position}")
    return None
