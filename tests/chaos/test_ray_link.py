"""A front door's link to Ray whose process hangs, cannot find Ray, fails, or says what nobody understands."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from syllabus_service.errors import Unavailable
from syllabus_service.limits import Limits
from syllabus_service.ray_engine import link as link_module
from syllabus_service.ray_engine.link import RayLink
from syllabus_service.ray_engine.settings import RayCluster, Stored

_PATIENCE_SECONDS = 30.0
_PYTHON = sys.executable
_DRIVER = """#!{python}
import asyncio, socket, sys
sys.path[:0] = {path!r}
from syllabus_service.ray_engine.frames import Frame, Kind

async def serve():
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=int(sys.argv[-1])))
    await Frame.read(reader)
{body}

asyncio.run(serve())
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the link run some code in place of the driver, which needs Ray."""

    def run(body: str) -> None:
        script = tmp_path / "driver"
        indented = "\n".join(f"    {line}" for line in body.splitlines())
        script.write_text(_DRIVER.format(python=_PYTHON, path=sys.path, body=indented))
        script.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(script))

    return run


def _with_link(live: Callable[[RayLink], Awaitable[None]]) -> None:
    async def linked() -> None:
        link = RayLink(RayCluster(), Stored("postgresql://nowhere", "fsync", Limits()))
        link.start()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await live(link)
        finally:
            await link.stop()

    asyncio.run(linked())


async def _until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def _refusal(call: Awaitable[object]) -> str:
    with pytest.raises(Unavailable) as refused:
        await call
    return refused.value.message


def test_a_call_that_is_never_answered_is_refused_at_its_deadline(
    driver: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver("Frame(Kind.READY).write(writer)\nwhile True:\n    await Frame.read(reader)")
    monkeypatch.setattr(link_module, "_LONGEST_CALL_SECONDS", 0.3)

    async def live(link: RayLink) -> None:
        await _until(lambda: link.refusal is None)
        assert "has not answered" in await _refusal(link.call("maze", b""))
        assert "has not answered" in await _refusal(link.forget("maze"))
        assert not link._calls

    _with_link(live)


def test_why_there_is_no_ray_is_told_to_whoever_calls(driver: Callable[[str], None]) -> None:
    driver("Frame(Kind.NO_RAY, body=b'Version mismatch: Ray 2.1').write(writer)\nawait writer.drain()")

    async def live(link: RayLink) -> None:
        await _until(lambda: "Version mismatch" in (link.refusal or Unavailable("")).message)
        assert "Version mismatch: Ray 2.1" in await _refusal(link.call("maze", b""))

    _with_link(live)


def test_a_driver_that_cannot_be_started_or_says_nonsense_is_started_again(
    driver: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(link_module, "_LONGEST_RETRY_SECONDS", 0.2)

    async def live(link: RayLink) -> None:
        await _until(lambda: "No such file" in (link.refusal or Unavailable("")).message)
        driver("writer.write(bytes([250]) + bytes(14))\nawait writer.drain()\nawait Frame.read(reader)")
        await _until(lambda: "250" in (link.refusal or Unavailable("")).message)  # no kind of frame that there is
        driver(
            "Frame(Kind.READY).write(writer)\nwhile True:\n    asked = await Frame.read(reader)\n"
            "    Frame(Kind.ANSWER, asked.number, body=asked.body).write(writer)"
        )
        await _until(lambda: link.refusal is None)
        assert await link.call("maze", b"there") == b"there"

    _with_link(live)
