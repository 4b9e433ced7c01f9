"""Data that an earlier program left is served on as that program would have; that of a later one is refused."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.message import Message

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import journal_pb2
from syllabus_service.commands import RECORD_VERSION
from syllabus_service.curricula import create
from syllabus_service.host import CurriculumHost
from syllabus_service.recovery import recover
from syllabus_service.state_codec import encode_state
from syllabus_service.store import MemoryStore, StoreVersionError
from tests.operations.make_upgrade_fixture import answers

FIXTURES = Path(__file__).parent / "fixtures"
COMMITS = sorted(path.stem for path in FIXTURES.glob("*.json"))


def _read(text: str, message: Message) -> Message:
    message.ParseFromString(base64.b64decode(text))
    return message


@pytest.mark.parametrize("commit", COMMITS)
def test_what_an_earlier_program_left_is_served_on_as_if_nothing_had_happened(
    commit: str, start_service: Callable, tmp_path: Path
) -> None:
    with tarfile.open(FIXTURES / f"{commit}.tar.gz") as archive:
        archive.extractall(tmp_path / "data", filter="data")
    told = json.loads((FIXTURES / f"{commit}.json").read_text())
    service = start_service()
    with service.stub() as stub:
        for name, before in told.items():
            report = _read(before["last_report"], pb.ReportEpisodeRequest())
            for what, now in answers(stub, name, report).items():
                assert now == _read(before[what], type(now)()), f"{name}: {what}"


def _host() -> CurriculumHost:
    return CurriculumHost(create("domain_randomization", DiscreteTaskSpace(3), seed=1))


def test_a_record_of_a_later_format_is_refused_by_its_version() -> None:
    store = MemoryStore()
    store.create_curriculum("maze", 7, b"")
    store.append("maze", 1, [journal_pb2.Command(format_version=RECORD_VERSION + 1).SerializeToString()])
    with pytest.raises(StoreVersionError, match=rf"record 1 .* version {RECORD_VERSION + 1}"):
        recover(store, "maze", _host)


def test_a_snapshot_of_a_later_format_is_refused_by_its_version_even_where_an_older_one_could_be_read() -> None:
    store = MemoryStore()
    store.create_curriculum("maze", 7, b"")
    later = bytearray(encode_state({}))
    later[4] += 1
    store.save_snapshot("maze", 0, bytes(later))
    with pytest.raises(StoreVersionError, match=rf"snapshot 0 .* version {later[4]},"):
        recover(store, "maze", _host)
