"""The file of tokens: what it may say, who may read it, what is in it, and how an operator changes it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.cli import main
from syllabus_service.tokens import (
    MAX_TOKENS,
    Token,
    TokenFile,
    Tokens,
    add_token,
    hash_token,
    load_tokens,
    make_token,
    remove_token,
    utc_now,
)
from syllabus_service.yaml_files import ConfigError
from tests.security.calls import bearer
from tests.service.serving import TIMEOUT
from tests.service_process import ServiceProcess

HASH = "ab" * 32


def run(*arguments: str, exit_code: int = 0) -> str:
    """What a command of ``syllabus-service token`` says."""
    result = CliRunner().invoke(main, ["token", *arguments])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_a_file_is_read_with_all_that_it_may_say(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(
        f"""tokens:
  - id: workers
    sha256: {HASH}
    scope: worker
    curricula: [maze-*, doom]
    expires: 2027-01-31T00:00:00Z
  - {{id: root, sha256: {"cd" * 32}, scope: admin}}
"""
    )
    workers, root = load_tokens(path).tokens
    assert [name for name in ("maze-1", "maze-", "doom", "maze", "doom2", "") if workers.covers(name)] == [
        "maze-1",
        "maze-",
        "doom",
    ]
    assert root.covers("anything")
    assert workers.rank < root.rank
    end = datetime(2027, 1, 31, tzinfo=UTC)
    assert [workers.has_expired(end + timedelta(seconds=late)) for late in (-1, 0, 1)] == [False, True, True]
    assert not root.has_expired(end)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("- 3", 1, "the file"),
        ("tokens: 3", 1, "tokens: Input should be a valid list"),
        ("token: []", 1, "token: Extra inputs are not permitted"),
        (f"tokens:\n- id: a\n  sha256: {HASH}\n", 2, "tokens[0].scope: Field required"),
        (f"tokens:\n- id: a\n  sha256: {HASH}\n  scope: boss\n", 4, "tokens[0].scope"),
        (f"tokens:\n- id: a b\n  sha256: {HASH}\n  scope: admin\n", 2, "tokens[0].id"),
        ("tokens:\n- id: a\n  sha256: secret\n  scope: admin\n", 3, "tokens[0].sha256"),
        (f"tokens:\n- id: a\n  sha256: {HASH.upper()}\n  scope: admin\n", 3, "tokens[0].sha256"),
        (f"tokens:\n- id: a\n  sha256: {HASH}\n  scope: admin\n  curricula: []\n", 5, "tokens[0].curricula"),
        (f"tokens:\n- id: a\n  sha256: {HASH}\n  scope: admin\n  curricula: [a/b]\n", 5, "tokens[0].curricula[0]"),
        (f"tokens:\n- id: a\n  sha256: {HASH}\n  scope: admin\n  expires: 2027-01-01T00:00:00\n", 5, "timezone"),
        (f"tokens:\n- id: a\n  sha256: {HASH}\n  scope: admin\n  expires: never\n", 5, "tokens[0].expires"),
        (f"tokens:\n- id: a\n  sha256: {HASH}\n  scope: admin\n  expires: 2027-13-01\n", None, "not YAML"),
        (f"tokens:\n- id: a\n  sha256: {HASH}\n  scope: admin\n  token: x\n", 5, "tokens[0].token: Extra inputs"),
        (f"tokens:\n- id: a\n  sha256: {HASH}\n  scope: admin\n  id: b\n", 5, "tokens[0].id: is there twice"),
        (
            f"tokens:\n- {{id: a, sha256: {HASH}, scope: admin}}\n- {{id: b, sha256: {HASH}, scope: admin}}\n",
            1,
            "different sha256",
        ),
        (
            f"tokens:\n- {{id: a, sha256: {HASH}, scope: admin}}\n- {{id: a, sha256: {'cd' * 32}, scope: admin}}\n",
            1,
            "different id",
        ),
        ("tokens: [", 1, "not YAML"),
    ],
)
def test_what_the_file_should_not_say_is_named_with_its_line_and_key(
    tmp_path: Path, text: str, line: int | None, says: str
) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(says)) as refused:
        load_tokens(path)
    assert str(refused.value).startswith(f"{path}:{line}:" if line is not None else f"{path}:")


def test_an_empty_file_knows_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text("")
    assert load_tokens(path).find("x" * 40) is None


@given(st.integers(1, 8), st.data())
def test_a_token_is_found_by_its_text_alone(count: int, data: st.DataObject) -> None:
    texts, entries = zip(*(make_token(f"t{number}", "worker") for number in range(count)), strict=True)
    tokens = Tokens(tokens=list(entries))
    assert [tokens.find(text) for text in texts] == list(entries)
    text = data.draw(st.sampled_from(texts))
    other = data.draw(st.text(max_size=60) | st.sampled_from([text[:-1], text + "x", text.swapcase(), " " + text]))
    assert (tokens.find(other) is not None) == (other in texts)


def test_tokens_are_all_different_and_hold_256_random_bits() -> None:
    texts = [make_token("a", "worker")[0] for _ in range(1000)]
    assert len(set(texts)) == 1000
    assert all(re.fullmatch(r"syl_[A-Za-z0-9_-]{43}", text) for text in texts)


def test_a_new_token_is_printed_once_and_only_its_hash_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    arguments = ["--scope", "worker", "--curriculum", "maze-*", "--curriculum", "doom", "--expires", "2099-01-01"]
    text = run("new", "--id", "workers", *arguments, "--file", str(path)).strip()
    assert path.stat().st_mode & 0o777 == 0o600
    assert text not in path.read_text()
    assert load_tokens(path).tokens == [
        Token(
            id="workers",
            sha256=hash_token(text).hex(),
            scope="worker",
            curricula=["maze-*", "doom"],
            expires=datetime(2099, 1, 1, tzinfo=UTC),
        )
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["tokens.yaml"]


def test_tokens_are_listed_and_revoked_by_name(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    kept = run("new", "--id", "kept", "--scope", "admin", "--file", str(path)).strip()
    gone = run("new", "--id", "gone", "--scope", "learner", "--curriculum", "maze", "--file", str(path)).strip()
    add_token(path, make_token("old", "worker", expires=utc_now() - timedelta(days=1))[1])
    lines = run("ls", "--file", str(path)).splitlines()
    assert lines[:2] == ["kept\tadmin\t*\tnever", "gone\tlearner\tmaze\tnever"]
    assert lines[2].endswith("\texpired")
    run("revoke", "gone", "--file", str(path))
    tokens = load_tokens(path)
    assert tokens.find(kept) is not None
    assert tokens.find(gone) is None


def test_an_operator_s_mistakes_are_told_in_one_line_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    file = ("--file", str(path))
    assert "cannot be read" in run("ls", *file, exit_code=1)
    assert "cannot be read" in run("revoke", "a", *file, exit_code=1)
    assert "cannot be changed" in run("new", "--id", "a", "--scope", "admin", "--file", "/nowhere/t", exit_code=1)
    assert "id: " in run("new", "--id", "a b", "--scope", "admin", *file, exit_code=1)
    assert "curricula.0: " in run("new", "--id", "a", "--scope", "admin", "--curriculum", "/", *file, exit_code=1)
    assert "a time to come" in run(
        "new", "--id", "a", "--scope", "admin", "--expires", "2001-01-01", *file, exit_code=2
    )
    assert not path.exists()
    run("new", "--id", "a", "--scope", "admin", *file)
    before = path.read_bytes()
    assert "there is a token with the id a" in run("new", "--id", "a", "--scope", "worker", *file, exit_code=1)
    assert "no token with the id b" in run("revoke", "b", *file, exit_code=1)
    assert path.read_bytes() == before


def test_no_more_tokens_are_added_than_a_file_may_hold(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    entries = [{"id": f"t{number}", "sha256": f"{number:064x}", "scope": "worker"} for number in range(MAX_TOKENS)]
    path.write_text(str({"tokens": entries}).replace("'", '"'))
    with pytest.raises(ConfigError, match=str(MAX_TOKENS)):
        add_token(path, make_token("more", "worker")[1])
    remove_token(path, "t0")
    add_token(path, make_token("more", "worker")[1])


def test_two_operators_at_a_time_lose_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    threads = [
        threading.Thread(target=add_token, args=(path, make_token(f"t{number}", "worker")[1])) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(token.id for token in load_tokens(path).tokens) == sorted(f"t{number}" for number in range(16))


def test_a_broken_file_keeps_what_was_read_before_and_is_told_of_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    text, entry = make_token("a", "worker")
    add_token(path, entry)
    file = TokenFile(path)
    assert not file.reload()
    for content in ("tokens: [", None):
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(ConfigError):
            file.reload()
        assert not file.reload()
        assert file.tokens.find(text) == entry
    path.write_text("tokens: []")
    assert file.reload()
    assert file.tokens.find(text) is None


def _status(service: ServiceProcess, text: str) -> str:
    with service.stub() as stub:
        try:
            stub.ListCurricula(pb.ListCurriculaRequest(), metadata=bearer(text), timeout=TIMEOUT)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def _await_events(service: ServiceProcess, name: str, count: int) -> None:
    """Wait until the service has said something; the test's own time limit ends the wait."""
    pause = threading.Event()
    while len(service.events(name)) < count:
        pause.wait(0.02)


def test_a_service_that_runs_follows_its_file_and_no_token_is_in_its_log_or_its_data(
    tmp_path: Path, start_service: Callable[..., ServiceProcess]
) -> None:
    path = tmp_path / "tokens.yaml"
    new = lambda name: run("new", "--id", name, "--scope", "learner", "--file", str(path)).strip()  # noqa: E731
    first = new("first")
    service = start_service("--tokens", str(path), "--log-level", "debug")
    assert _status(service, first) == "OK"
    second = new("second")
    _await_events(service, "tokens_read_again", 1)
    assert [_status(service, text) for text in (first, second)] == ["OK", "OK"]
    run("revoke", "first", "--file", str(path))
    _await_events(service, "tokens_read_again", 2)
    assert [_status(service, text) for text in (first, second)] == ["UNAUTHENTICATED", "OK"]
    path.write_text("tokens:\n- id: second\n  scope: boss\n")
    _await_events(service, "tokens_not_taken", 1)
    assert f"{path}:3: tokens[0].scope" in service.events("tokens_not_taken")[0]["error"]
    assert _status(service, second) == "OK"
    assert service.terminate() == 0
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert service.log_path in files
    assert any(file.parent.name == "data" for file in files)
    for text in (first, second):
        assert not [file for file in files if text.encode() in file.read_bytes()]


@pytest.mark.parametrize("content", [None, "tokens: ["])
def test_a_service_does_not_start_with_a_wrong_file(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokens.yaml"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(main, ["serve", "--listen", f"unix:{tmp_path}/s", "--tokens", str(path)])
    assert result.exit_code == 1
    assert str(path) in result.output.splitlines()[-1]


def test_tokens_beyond_this_machine_need_tls_or_an_explicit_word(
    tmp_path: Path, start_service: Callable[..., ServiceProcess]
) -> None:
    path = tmp_path / "tokens.yaml"
    text = run("new", "--id", "a", "--scope", "admin", "--file", str(path)).strip()
    arguments = ["serve", "--listen", "0.0.0.0:0", "--tokens", str(path)]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert "without TLS" in refused.output.splitlines()[-1]
    service = start_service("--tokens", str(path), "--insecure", data_dir=None, listen="0.0.0.0:0")
    assert service.events("tokens_travel_unencrypted")
    service.target = service.target.replace("0.0.0.0", "127.0.0.1")
    assert _status(service, text) == "OK"
