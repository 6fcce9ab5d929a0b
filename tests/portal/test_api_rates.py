"""How often one user may call."""

import pytest
from redis import exceptions as redis_errors

from accounts import throttling
from accounts.refusals import TooMany

NEW = {"name": "web-1", "image": "micro", "flavor": "nano", "project": "harbor"}


def key(text):
    return {"Idempotency-Key": text}


def test_a_flood_of_calls_is_a_429_and_others_are_served_a18(world, settings):
    settings.RATES = settings.RATES | {"change": ((5, 60),)}
    vm = world.vm()
    alice = world.api("alice")
    answers = [alice.call("POST", f"vms/{vm.pk}/stop") for _n in range(8)]
    assert [answer.status_code for answer in answers] == [202, 409, 409, 409, 409, 429, 429, 429]
    assert answers[-1].json()["code"] == "too_many_requests"
    assert 1 <= int(answers[-1]["Retry-After"]) <= 120
    assert alice.call("GET", f"vms/{vm.pk}").status_code == 200
    assert world.api("bob").call("POST", f"vms/{vm.pk}/stop").status_code == 409


def test_repeated_keys_are_counted_too_a18(world, settings):
    settings.RATES = settings.RATES | {"change": ((3, 60),)}
    alice = world.api("alice")
    statuses = [alice.call("POST", "vms", NEW, headers=key("k")).status_code for _n in range(5)]
    assert statuses == [202, 202, 202, 429, 429]


def test_the_defaults_stop_a_thousand_a_minute_and_let_two_hundred_at_once_pass_a18(settings):
    limits = [limit for limit, seconds in settings.RATES["change"] if seconds <= 60]
    assert 200 < min(limits) < 1000


@pytest.fixture
def clock(monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(throttling.time, "time", lambda: now[0])
    monkeypatch.setattr(throttling, "_away_until", 0.0)
    return now


def taken(user, times=1):
    """Return how many of these requests there was room for, and the wait that the last refusal named."""
    room, wait = 0, 0
    for _n in range(times):
        try:
            throttling.take("change", user)
            room += 1
        except TooMany as refusal:
            wait = refusal.retry_after
    return room, wait


def test_room_comes_back_as_time_goes_by_and_waiting_as_told_suffices(world, settings, clock):
    settings.RATES = {"change": ((10, 60),)}
    room, wait = taken(world.alice.pk, 25)
    assert room == 10
    clock[0] += wait
    assert taken(world.alice.pk)[0] == 1
    clock[0] += 30
    room, wait = taken(world.alice.pk, 20)
    assert 1 <= room <= 6  # half of the window before still counts
    clock[0] += 600
    assert taken(world.alice.pk, 20)[0] == 10
    assert taken(world.bob.pk)[0] == 1


def test_never_more_than_twice_the_limit_in_any_window_a18(world, settings, clock):
    settings.RATES = {"change": ((10, 60),)}
    stamps = []
    for _second in range(600):
        clock[0] += 1
        stamps += [clock[0]] * taken(world.alice.pk, 2)[0]
    assert max(sum(t <= s < t + 60 for s in stamps) for t in stamps) <= 20
    assert len(stamps) >= 90


def test_without_redis_each_process_counts_for_itself(world, settings, clock, monkeypatch):
    settings.RATES = {"change": ((3, 60),)}
    tried = []

    class Away:
        def add(self, *_args, **_kwargs):
            tried.append(1)
            raise redis_errors.ConnectionError

    real = throttling.caches
    monkeypatch.setattr(throttling, "caches", {"shared": Away(), "default": real["default"]})
    assert taken(world.alice.pk, 5)[0] == 3
    assert len(tried) == 1  # and Redis is left alone for a while
    clock[0] += throttling.AWAY_SECONDS + 1
    taken(world.alice.pk)
    assert len(tried) == 2
