"""The files that a run's output is kept in."""

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


def test_a_spool_follows_no_link(tmp_path):
    run, secret = uuid4(), tmp_path / "secret"
    secret.write_text("kept")
    (tmp_path / f"{run}.stdout").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        Spool(tmp_path, run).append(0, b"x")
    assert secret.read_text() == "kept"
