"""A command through the guest agent, where a guest has no runner: its output goes to files there, read as they grow.

The same verbs as `console.guest_link.GuestRun`. A shell in the guest keeps the command's files in one folder, so that
another gateway can go on with it. Each stream's file is cut off after the cap, and what follows is thrown away.
"""

import asyncio
import base64
import binascii
import contextlib
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hypervisor.api import Hypervisor
from hypervisor.errors import AgentUnavailable, HypervisorError
from hypervisor.run_wire import Order

from .blocking import Blocking
from .guest_link import NoRunner, RunLost, RunRefused

CHUNK_BYTES = 24 * 1024  # of one answer, which may have 64 KiB and comes in base64
BLOCK_BYTES = 512  # of ulimit
QUICK_SECONDS, SLOW_SECONDS = 0.1, 1.0  # between two looks: after something new, and in the long run
AGENT_SECONDS = 5
START_SECONDS = 10.0
SILENCE_SECONDS = 60.0  # of an agent that was there: then its run is given up
FOLDER = "/var/lib/slipway-runs"  # on the disk, as /run is memory, and where only root makes folders

# $1 folder, $2 blocks of 512 bytes to keep of each stream, $3 working folder, $4 user; then the command.
# A file may grow to its limit, past which `cat` fails and another throws away what comes: `head` would not pass
# anything on before it has a block.
SCRIPT = r"""
d=$1 cap=$2 cwd=$3 user=$4; shift 4
umask 077; mkdir -p "$d" && cd "$d" && mkfifo out err || exit 125
[ -e in ] || : > in
keep() { trap '' XFSZ; (ulimit -f "$cap"; exec cat > "$1" 2> /dev/null); exec cat > /dev/null; }
keep stdout < out & a=$!
keep stderr < err & b=$!
[ -n "$user" ] || user=slipway
as=
home=/root
if [ "$user" != root ] && id "$user" > /dev/null 2>&1; then
  if command -v runuser > /dev/null; then as="runuser -u $user --"
  elif command -v sudo > /dev/null; then as="sudo -n -u $user --"; fi
  [ -z "$as" ] || home=$(awk -F: -v user="$user" '$1 == user { print $6 }' /etc/passwd)
fi
[ -n "$cwd" ] || cwd=$home
setsid sh -c 'echo $$ > pid; umask 022; cd "$0" || exit 126; HOME=$1; export HOME; shift; exec "$@"' \
  "$cwd" "$home" $as "$@" < in > out 2> err & c=$!
wait $c; code=$?
tries=0
while [ $tries -lt 20 ] && { kill -0 $a || kill -0 $b; } 2> /dev/null; do tries=$((tries + 1)); sleep 0.1; done
echo "$code" > code.new && mv code.new code
"""
KILL = 'cd "$1" && p=$(cat pid) && kill -"$2" "-$p"'
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class AgentExit:
    """A shell's word: 128 and a signal's number when a signal ended the command."""

    code: int | None
    signal: int | None = None


class AgentProcess:
    def __init__(self, hypervisor: Hypervisor, blocking: Blocking, domain: UUID, run_id: UUID, cap_bytes: int) -> None:
        self._hypervisor = hypervisor
        self._blocking = blocking
        self._domain = domain
        self._folder = f"{FOLDER}/{run_id}"
        self._cap = cap_bytes
        self._order: Order | None = None
        self._ended: AgentExit | None = None  # it has, and what it said may not be read yet
        self._offsets = [0, 0]
        self._handles: list[int | None] = [None, None]
        self._input: int | None = None
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._started = asyncio.Event()
        self._pause = QUICK_SECONDS
        self._silent_since: float | None = None
        self.exited: AgentExit | None = None

    # --- the verbs ---
    async def begin(self, order: Order) -> None:
        """Check that the agent is there; the command starts once its stdin is complete. NoRunner."""
        await self._ask_first("guest-ping")
        self._order = order

    async def attach(self, stdout: int, stderr: int) -> None:
        """Go on with a command that another gateway began; NoRunner, RunRefused."""
        await self._ask_first("guest-ping")
        self._offsets = [stdout, stderr]
        process_id = await self._open("pid")
        if process_id is None:
            raise RunRefused("there is no such run")
        await self._ask_first("guest-file-close", handle=process_id)
        self._started.set()

    async def send(self, data: bytes, *, last: bool = False) -> None:
        """Keep this for stdin; with the last of it the command starts. RunLost."""
        if self._started.is_set():
            return
        try:
            if data or self._input is not None:
                await self._keep_input(data)
            if last:
                await self._start()
        except HypervisorError as error:
            raise RunLost("The guest's agent does not answer any more.") from error

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next piece of output, or None after the last; RunLost."""
        await self._started.wait()
        while not self._pieces:
            if self.exited is not None:
                return None
            try:
                await self._look()
                self._silent_since = None
            except AgentUnavailable:  # the machine may be paused, or busy
                await self._bear_with_silence()
            except HypervisorError as error:
                raise RunLost("The machine went away.") from error
        return self._pieces.popleft()

    def take(self, stream: int, count: int) -> None:
        """Nothing: the guest's files wait by themselves."""

    def kill(self, signal: int) -> None:
        if not self._started.is_set():  # its stdin never came to an end
            self._order, self.exited = None, AgentExit(None)
            self._started.set()
            return
        _behind(self._exec("/bin/sh", "-c", KILL, "sh", self._folder, str(signal)))

    def forget(self) -> None:
        """Remove what the guest keeps of it."""
        _behind(self._clear())

    # --- how ---
    async def _ask(self, command: str, **arguments: Any) -> Any:
        return await self._blocking.agent(
            self._domain, self._hypervisor.agent, self._domain, command, arguments or None, AGENT_SECONDS
        )

    async def _ask_first(self, command: str, **arguments: Any) -> None:
        try:
            await self._ask(command, **arguments)
        except HypervisorError as error:
            raise NoRunner(repr(error)) from None

    async def _clear(self) -> None:
        """Close every file, or the agent keeps its room taken after its name has gone; then remove them."""
        for handle in (*self._handles, self._input):
            if handle is not None:
                with contextlib.suppress(HypervisorError):
                    await self._ask("guest-file-close", handle=handle)
        await self._exec("/bin/sh", "-c", f'{KILL} 2> /dev/null; rm -rf "$1"', "sh", self._folder, "9")

    async def _exec(self, *argv: str, env: tuple[str, ...] = ()) -> None:
        await self._ask("guest-exec", path=argv[0], arg=list(argv[1:]), env=[PATH, *env])

    async def _keep_input(self, data: bytes) -> None:
        if self._input is None:
            await self._exec("/bin/mkdir", "-p", "-m", "700", FOLDER, self._folder)
            self._input = await self._await_open("in", "w")
        for at in range(0, len(data), CHUNK_BYTES):
            chunk = base64.b64encode(data[at : at + CHUNK_BYTES]).decode()
            await self._ask("guest-file-write", handle=self._input, **{"buf-b64": chunk})

    async def _start(self) -> None:
        if self._order is None:
            return
        if self._input is not None:
            await self._ask("guest-file-close", handle=self._input)
            self._input = None
        env = tuple(f"{name}={value}" for name, value in self._order.env.items())
        words = (self._folder, str(self._cap // BLOCK_BYTES + 1), self._order.cwd, self._order.user, *self._order.argv)
        await self._exec("/bin/sh", "-c", SCRIPT, "sh", *words, env=env)
        self._started.set()

    async def _look(self) -> None:
        """Take what is new, else see whether it has ended, else wait a little."""
        if self._ended is None and (code := await self._exit_code()) is not None:
            self._ended = AgentExit(code)
        found = False
        for stream, name in enumerate(("stdout", "stderr")):
            if data := await self._more(stream, name):
                self._pieces.append((stream, data))
                found = True
        if self._ended is not None:
            if not found:
                await self._ask("guest-ping")  # as below
                self.exited = self._ended
            return
        self._pause = QUICK_SECONDS if found else min(self._pause * 1.5, SLOW_SECONDS)
        if not found:
            await self._ask("guest-ping")  # a file that is not there and an agent that is not look alike
            await asyncio.sleep(self._pause)

    async def _more(self, stream: int, name: str) -> bytes:
        """Return the next piece of a stream; of what a guest made longer than the script does, nothing."""
        if self._offsets[stream] > self._cap + 2 * BLOCK_BYTES:
            return b""
        handle = self._handles[stream]
        if handle is None:
            handle = self._handles[stream] = await self._open(name)
            if handle is None:
                return b""
            if self._offsets[stream]:
                await self._ask("guest-file-seek", handle=handle, offset=self._offsets[stream], whence=0)
        try:
            data = await self._read(handle)
        except AgentUnavailable:  # it may have read, and its answer is lost: the file is opened anew
            self._handles[stream] = None
            _behind(self._close(handle))
            raise
        self._offsets[stream] += len(data)
        return data

    async def _close(self, handle: int) -> None:
        await self._ask("guest-file-close", handle=handle)

    async def _exit_code(self) -> int | None:
        handle = await self._open("code")
        if handle is None:
            return None
        text = (await self._read(handle, 16)).strip()
        await self._ask("guest-file-close", handle=handle)
        if not text.isdigit() or int(text) > 255:
            raise AgentUnavailable("an exit code that is none")
        return int(text)

    async def _bear_with_silence(self) -> None:
        now = asyncio.get_running_loop().time()
        self._silent_since = self._silent_since or now
        if now - self._silent_since > SILENCE_SECONDS:
            raise RunLost("The guest's agent does not answer any more.")
        await asyncio.sleep(SLOW_SECONDS)

    async def _open(self, name: str, mode: str = "r") -> int | None:
        """Open a file of the run's folder; None where it is not there (yet)."""
        try:
            handle = await self._ask("guest-file-open", path=f"{self._folder}/{name}", mode=mode)
        except AgentUnavailable:
            return None
        if not isinstance(handle, int):
            raise AgentUnavailable("a file handle that is none")
        return handle

    async def _await_open(self, name: str, mode: str) -> int:
        async with asyncio.timeout(START_SECONDS):
            while (handle := await self._open(name, mode)) is None:  # noqa: ASYNC110 - it is in the guest
                await asyncio.sleep(QUICK_SECONDS)
        return handle

    async def _read(self, handle: int, count: int = CHUNK_BYTES) -> bytes:
        answer = await self._ask("guest-file-read", handle=handle, count=count)
        try:
            data = base64.b64decode(answer["buf-b64"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise AgentUnavailable("file content that is none") from None
        if len(data) > count:
            raise AgentUnavailable("more than was asked for")
        return data


def _behind(work: Coroutine[Any, Any, None]) -> None:
    """Do it, and wait neither for it nor for what becomes of it."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
