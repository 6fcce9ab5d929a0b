"""Virtual time and processes that can be killed, stopped and interleaved at every statement and hypervisor call.

A process is a set of greenlets. One runs at a time, until it is about to send a statement outside of a transaction,
to call the hypervisor, or to sleep: there another one may go on, or its process may die. Nothing else can be seen
from outside a process, so killing at these places is killing anywhere. All chance comes from one seeded generator.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

import greenlet
from django.db import connection

from hypervisor import errors
from hypervisor.fake import FakeHypervisor
from vms.operations.leases import LeaseKeeper

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
SLICE_SECONDS = 0.004  # what the work between two places takes, about
CALL_SECONDS = 0.5  # what a call of the hypervisor takes, on average
TRACED = 400


class Killed(BaseException):
    """Thrown into everything that a process does when it dies; nothing of ours catches it."""


@dataclass(eq=False)
class Process:
    """Something with a pid: it lives, is stopped (SIGSTOP), dies, and is started again with nothing remembered."""

    name: str
    main: Callable[["Process"], None] | None = None
    generation: int = 0
    alive: bool = True
    stopped_until: float = 0.0
    counted: bool = False  # do its places count for `kill_at`?
    fibers: list["Fiber"] = field(default_factory=list)
    keeper: LeaseKeeper = field(default_factory=LeaseKeeper)
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.name}.{self.generation}"


@dataclass(eq=False)
class Fiber:
    """A thread of a process."""

    process: Process
    green: greenlet.greenlet
    wake: float
    dead: bool = False


class Scheduler:
    """The clock, the processes, and what is going to happen when."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.seconds = 0.0
        self.places = 0
        self.trace: list[str] = []
        self.surprises: list[str] = []
        self.processes: list[Process] = []
        self.kill_at: int | None = None  # a place: the process that reaches it dies there
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._hub = greenlet.getcurrent()
        self._fibers: dict[greenlet.greenlet, Fiber] = {}

    # --- time ---------------------------------------------------------------------------------------------------
    @property
    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.seconds)

    def later(self, seconds: float, happen: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._events, (self.seconds + seconds, self._serial, happen))

    def say(self, what: str) -> None:
        self.trace.append(f"{self.seconds:9.3f}  {what}")
        del self.trace[:-TRACED]

    # --- inside a process ---------------------------------------------------------------------------------------
    @property
    def fiber(self) -> Fiber | None:
        return self._fibers.get(greenlet.getcurrent())

    def place(self) -> None:
        """Here another process may go on, or this one may die."""
        fiber = self.fiber
        if fiber is None:
            return
        if fiber.dead:
            raise Killed
        if fiber.process.counted:
            self.places += 1
            if self.places == self.kill_at:
                self.kill(fiber.process)
        self.sleep(0.0)

    def sleep(self, seconds: float) -> None:
        fiber = self.fiber
        if fiber is None:
            self.seconds += seconds
            return
        fiber.wake = self.seconds + seconds
        self._hub.switch()

    # --- processes ----------------------------------------------------------------------------------------------
    def start(self, process: Process) -> Process:
        if process not in self.processes:
            self.processes.append(process)
        process.generation += 1
        process.alive, process.stopped_until, process.fibers = True, 0.0, []
        process.keeper, process.memory = LeaseKeeper(), {}
        if process.main is not None:
            self.spawn(process, process.main, process)
        return process

    def spawn(self, process: Process, work: Callable[..., Any], *args: Any) -> None:
        """Run `work` as a thread of the process."""

        def body() -> None:
            try:
                work(*args)
            except Killed:
                pass
            except Exception as error:  # noqa: BLE001 - whatever nobody expected is what we look for
                self.surprises.append(f"{process.label}: {type(error).__name__}: {error}")
                self.say(f"SURPRISE {self.surprises[-1]}")

        green = greenlet.greenlet(body, parent=self._hub)
        fiber = Fiber(process, green, self.seconds)
        self._fibers[green] = fiber
        process.fibers.append(fiber)

    def kill(self, process: Process) -> None:
        """SIGKILL: nothing of it runs any more, `finally` neither (a statement of a dead process is not sent)."""
        if not process.alive:
            return
        self.say(f"{process.label} is killed")
        process.alive = False
        current = self.fiber
        for fiber in process.fibers:
            fiber.dead = True
        for fiber in process.fibers:
            if fiber is not current and fiber.green:  # begun, and not at its end
                fiber.green.parent = greenlet.getcurrent()
                fiber.green.throw(Killed)
        if current is not None and current.dead:
            raise Killed

    def stop(self, process: Process, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so many seconds."""
        self.say(f"{process.label} stands still for {seconds:.0f} s")
        process.stopped_until = self.seconds + seconds

    # --- the loop -----------------------------------------------------------------------------------------------
    def run_until(self, done: Callable[[], bool], at_most: float) -> bool:
        """Let everything happen until `done()`, asked once a virtual second; False when time is over."""
        end, asked = self.seconds + at_most, -1.0
        while self.seconds < end:
            if self.seconds - asked >= 1.0:
                asked = self.seconds
                if done():
                    return True
            self._once()
        return done()

    def _once(self) -> None:
        while self._events and self._events[0][0] <= self.seconds:
            heapq.heappop(self._events)[2]()
        ready, soonest = self._ready()
        if ready:
            fiber = self.chance.choice(ready)
            fiber.green.switch()
            if fiber.green.dead:
                fiber.process.fibers.remove(fiber)
                del self._fibers[fiber.green]
            self.seconds += SLICE_SECONDS * self.chance.random()
            return
        upcoming = [soonest] if soonest is not None else []
        if self._events:
            upcoming.append(self._events[0][0])
        self.seconds = max(self.seconds, min(upcoming, default=self.seconds + 1.0))

    def _ready(self) -> tuple[list[Fiber], float | None]:
        ready: list[Fiber] = []
        soonest: float | None = None
        for process in self.processes:
            if not process.alive:
                continue
            for fiber in process.fibers:
                at = max(fiber.wake, process.stopped_until)
                if at <= self.seconds:
                    ready.append(fiber)
                elif soonest is None or at < soonest:
                    soonest = at
        return ready, soonest

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Make every statement outside of a transaction, and every BEGIN, a place."""

        def execute(call: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if not connection.in_atomic_block:
                self.place()
            return call(sql, params, many, context)

        with connection.execute_wrapper(execute):
            yield


class TouchyHypervisor:
    """The fake, with a place before and after every call; `moods` may refuse, or do the work and then say no."""

    def __init__(self, fake: FakeHypervisor, scheduler: Scheduler) -> None:
        self.fake = fake
        self.scheduler = scheduler
        self.moods = 0.0
        self.acting: Callable[[str], None] = lambda verb: None  # told of every call before it is made

    def __getattr__(self, verb: str) -> Any:
        really = getattr(self.fake, verb)
        if not callable(really):
            return really

        @wraps(really)
        def call(*args: Any, **options: Any) -> Any:
            self.acting(verb)
            self.scheduler.place()
            self.scheduler.sleep(self.scheduler.chance.expovariate(1 / CALL_SECONDS))
            mood = self.scheduler.chance.random() if self.moods else 1.0
            if mood < self.moods / 2:
                raise self._complaint("before")
            answer = really(*args, **options)
            self.scheduler.place()
            if mood < self.moods:
                raise self._complaint("after")
            return answer

        return call

    def _complaint(self, when: str) -> errors.HypervisorError:
        kind = self.scheduler.chance.choice((errors.Unavailable, errors.Unavailable, errors.HypervisorError))
        return kind(f"a mood, {when} the work")
