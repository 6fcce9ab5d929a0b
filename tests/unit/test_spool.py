"""The files that a run's output is kept in."""

import os
from types import SimpleNamespace
from uuid import uuid4

import pytest

from console.spool import Spool, spooled


def test_a_spool_keeps_the_beginning_and_counts_the_rest(tmp_path):
    run = uuid4()
    spool = Spool(tmp_path, run, cap_bytes=10)
    spool.append(0, b"12345678")
    assert not spool.full(0)
    spool.append(0, b"90abc")
    spool.append(0, b"def")
    assert (spool.read(0, 0), spool.read(0, 8), spool.read(0, 10), spool.read(0, 99)) == (
        b"1234567890",
        b"90",
        b"",
        b"",
    )
    assert (spool.totals, spool.kept, spool.truncated, spool.full(0)) == ([16, 0], [10, 0], (True, False), True)
    again = Spool(tmp_path, run, cap_bytes=10)
    assert again.kept == [10, 0]
    (tmp_path / "note.txt").touch()
    (tmp_path / "no-run.stdout").touch()
    assert spooled(tmp_path) == {run}
    again.remove()
    assert spooled(tmp_path) == set()
    assert again.read(0, 0) == b""


def test_what_is_left_of_the_disk_belongs_to_the_machines_on_it(tmp_path, monkeypatch):
    spool = Spool(tmp_path, uuid4())
    spool.append(0, b"kept")
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    monkeypatch.setattr("console.spool.os.statvfs", lambda _path: SimpleNamespace(
        f_bavail=2**20, f_frsize=512, f_blocks=free))  # fmt: skip
    with pytest.raises(OSError, match="machines"):
        spool.append(0, b"lost")
    assert (spool.kept, spool.totals, spool.truncated) == ([4, 0], [8, 0], (True, False))


def test_a_spool_follows_no_link(tmp_path):
    run, secret = uuid4(), tmp_path / "secret"
    secret.write_text("kept")
    (tmp_path / f"{run}.stdout").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        Spool(tmp_path, run).append(0, b"x")
    assert secret.read_text() == "kept"
