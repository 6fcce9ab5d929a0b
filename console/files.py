"""Files and folders in and out of a guest, as streams through a command there: no network is needed.

A file goes through `cat`, a folder through `tar`; the guest's own tar is enough, busybox's too. Paths are the guest's:
nothing here or there is found by them on the host. What a guest says is passed on, counted, and cut off at the cap.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from signal import SIGTERM
from uuid import UUID, uuid4

from django.conf import settings

from hypervisor.api import Hypervisor
from hypervisor.run_wire import Order

from . import folders
from .agent_process import AgentProcess
from .blocking import Blocking
from .guest_link import NoRunner, RunLost, RunRefused
from .guest_links import GuestLinks
from .runs import Process

AT_ONCE = 4  # transfers with one guest
STALL_SECONDS = 60.0  # without a byte
CLEAR_SECONDS = 10.0  # of one that was told to stop
FINISH_SECONDS = 300.0  # of a command that has all it was sent: it may unpack it, and says nothing meanwhile
PATH_BYTES = 4096
HEAD_BYTES = 64
REASON_BYTES = 500
NOT_THERE, NOT_A_FILE = 44, 45  # exit codes of ours, of GET

GET = r"""
[ -e "$1" ] || exit 44
if [ -d "$1" ]; then cd "$1" && echo folder && exec tar -cf - .; exit 1; fi
[ -f "$1" ] || exit 45
size=$(stat -c %s -- "$1") && [ -r "$1" ] && echo "file $size" && exec cat -- "$1"
echo "It cannot be read." >&2; exit 1
"""
PUT_FILE = r"""
umask 022
[ ! -d "$1" ] || { echo "There is a folder of this name." >&2; exit 1; }
mkdir -p -- "$(dirname -- "$1")" || exit 1
part="$1.part.$$"
trap 'rm -f -- "$part"' EXIT; trap 'exit 1' TERM INT HUP
cat > "$part" && chmod "$2" -- "$part" && mv -f -- "$part" "$1"
"""
PUT_FOLDER = 'umask 022; mkdir -p -- "$1" && cd "$1" && exec tar -xf -'


class BadTransfer(Exception):
    """It cannot be done: an HTTP status, a code, a sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


class Incomplete(Exception):
    """A transfer broke off after its beginning was sent."""


@dataclass
class Fetched:
    """What GET found: `kind` is file or folder (then a tar), `pieces` the content; they raise Incomplete."""

    kind: str
    pieces: AsyncIterator[bytes]


@dataclass
class _Reader:
    """The output of one command: its stdout as pieces, the beginning of its stderr as the reason."""

    process: Process
    reason: bytes = field(default=b"")

    async def read(self, seconds: float | None = STALL_SECONDS) -> bytes:
        """Return the next piece of stdout, b"" at its end; TimeoutError where none comes for so long."""
        while True:
            async with asyncio.timeout(seconds):
                piece = await self.process.read()
            if piece is None:
                return b""
            stream, data = piece
            self.process.take(stream, len(data))
            if stream == 0:
                return data
            self.reason = (self.reason + data)[:REASON_BYTES]

    @property
    def sentence(self) -> str:
        text = self.reason.decode("utf-8", "replace").strip()
        return "".join(letter if letter.isprintable() else " " for letter in text)

    @property
    def code(self) -> int | None:
        return getattr(self.process.exited, "code", None)


def check_path(path: str) -> str:
    """Return the path; BadTransfer where it is relative, climbs up, or no file system takes it."""
    if not path.startswith("/"):
        raise BadTransfer(422, "bad_path", "The path must be absolute: begin it with a slash.")
    if "\0" in path:
        raise BadTransfer(422, "bad_path", "The path has a zero byte in it.")
    if ".." in path.split("/"):
        raise BadTransfer(422, "bad_path", "The path must not climb up: leave the .. out.")
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        raise BadTransfer(422, "bad_path", "The path is not valid text.") from None
    if len(raw) > PATH_BYTES or any(len(part) > 255 for part in raw.split(b"/")):
        raise BadTransfer(422, "bad_path", "The path is too long.")
    return path


class Files:
    def __init__(self, hypervisor: Hypervisor, links: GuestLinks, blocking: Blocking) -> None:
        self._hypervisor = hypervisor
        self._links = links
        self._blocking = blocking
        self._under_way: dict[UUID, int] = {}

    async def put(self, domain: UUID, path: str, kind: str, mode: str, body: Callable[[], Awaitable[bytes]]) -> int:
        """Write a file, or unpack a tar into a folder; `body` returns b"" at its end. Returns the bytes; BadTransfer.

        A file is there whole or not at all. `body` raises Incomplete when its sender goes away.
        """
        check_path(path)
        if kind == "folder":
            script, words = PUT_FOLDER, [path]
        else:
            script, words = PUT_FILE, [path, _checked_mode(mode)]
        async with self._command(domain, script, words) as process:
            reader = _Reader(process)
            answer = asyncio.ensure_future(_to_the_end(reader))
            try:
                sent = await self._send(process, body, answer)
                async with asyncio.timeout(FINISH_SECONDS):
                    await asyncio.shield(answer)
            except (Incomplete, BadTransfer, TimeoutError):
                process.kill(SIGTERM)  # its trap removes the part that is there
                with contextlib.suppress(RunLost, TimeoutError):
                    async with asyncio.timeout(CLEAR_SECONDS):
                        await asyncio.shield(answer)
                raise
            finally:
                answer.cancel()
            if reader.code != 0:
                raise BadTransfer(409, "not_written", _or(reader.sentence, "The guest could not write it."))
        return sent

    async def _send(self, process: Process, body: Callable[[], Awaitable[bytes]], answer: asyncio.Future[None]) -> int:
        """Pass the body on; what a command that has ended does not read is not waited for."""
        sent = 0
        while not answer.done():
            async with asyncio.timeout(STALL_SECONDS):
                piece = await body()
                sent += len(piece)
                if sent > settings.FILES_AT_MOST_BYTES:
                    raise BadTransfer(413, "too_large", _too_large())
                await process.send(piece, last=not piece)
            if not piece:
                break
        return sent

    @asynccontextmanager
    async def get(self, domain: UUID, path: str) -> AsyncIterator[Fetched]:
        """Yield a file, or a folder as a tar; BadTransfer."""
        check_path(path)
        async with self._command(domain, GET, [path]) as process:
            await process.send(b"", last=True)
            reader = _Reader(process)
            kind, size, rest = await self._head(reader)
            if kind == "file" and size > settings.FILES_AT_MOST_BYTES:
                raise BadTransfer(413, "too_large", _too_large())
            yield Fetched(kind, _pieces(reader, rest))

    async def listing(self, domain: UUID, path: str) -> folders.Listing:
        """Return what is in a folder; BadTransfer."""
        check_path(path)
        async with self._command(domain, folders.LIST, [path]) as process:
            await process.send(b"", last=True)
            reader = _Reader(process)
            said, cut = await folders.read(reader.read)
            if cut:
                process.kill(SIGTERM)
            elif reader.code == NOT_A_FILE:
                raise BadTransfer(409, "not_a_folder", "That is not a folder.")
            elif reader.code != 0 and not said:
                raise self._failed(reader)
        return folders.parse(said, cut)

    @staticmethod
    def _failed(reader: _Reader) -> BadTransfer:
        if reader.code == NOT_THERE:
            return BadTransfer(404, "no_such_file", "There is no such file or folder in the guest.")
        return BadTransfer(409, "not_read", _or(reader.sentence, "The guest could not read it."))

    async def _head(self, reader: _Reader) -> tuple[str, int, bytes]:
        """Return the first line's kind and size, and what came after it."""
        head = b""
        while b"\n" not in head[:HEAD_BYTES]:
            piece = await reader.read()
            head += piece
            if not piece or len(head) > HEAD_BYTES:
                break
        line, _newline, rest = head.partition(b"\n")
        words = line.split()
        if words == [b"folder"]:
            return "folder", 0, rest
        if len(words) == 2 and words[0] == b"file" and words[1].isdigit() and len(words[1]) < 20:
            return "file", int(words[1]), rest
        if reader.code == NOT_A_FILE:
            raise BadTransfer(409, "not_a_file", "That is neither a file nor a folder.")
        raise self._failed(reader)

    @asynccontextmanager
    async def _command(self, domain: UUID, script: str, words: list[str]) -> AsyncIterator[Process]:
        """Yield a shell in the guest, by its runner, else by its agent; it is forgotten at the end. BadTransfer."""
        if self._under_way.get(domain, 0) >= AT_ONCE:
            raise BadTransfer(429, "too_many", "Too many transfers with this machine at once. Wait for one to end.")
        self._under_way[domain] = self._under_way.get(domain, 0) + 1
        order = Order(["/bin/sh", "-c", script, "sh", *words])
        try:
            async with contextlib.AsyncExitStack() as stack:
                process = await self._open(stack, domain, order)
                try:
                    yield process
                finally:
                    process.forget()
        except RunRefused as refused:
            raise BadTransfer(409, "refused", f"The guest refused it: {refused}.") from None
        except RunLost as lost:
            raise BadTransfer(503, "guest_lost", str(lost)) from None
        except NoRunner:
            raise BadTransfer(503, "no_answer", "The guest does not answer.") from None
        except TimeoutError:
            raise BadTransfer(503, "no_answer", "The guest, or the sender, took too long.") from None
        finally:
            self._under_way[domain] -= 1
            if not self._under_way[domain]:
                del self._under_way[domain]

    async def _open(self, stack: contextlib.AsyncExitStack, domain: UUID, order: Order) -> Process:
        try:
            link = await stack.enter_async_context(self._links.use(domain))
            return await link.begin(order)
        except NoRunner:
            cap = settings.FILES_AT_MOST_BYTES + HEAD_BYTES
            agent = AgentProcess(self._hypervisor, self._blocking, domain, uuid4(), cap)
            await agent.begin(order)
            return agent


async def _pieces(reader: _Reader, first: bytes) -> AsyncIterator[bytes]:
    """Yield the content; Incomplete where the command failed, or it is longer than may be."""
    sent, piece = 0, first
    try:
        while piece or not sent:
            sent += len(piece)
            if sent > settings.FILES_AT_MOST_BYTES:
                raise Incomplete(_too_large())
            if piece:
                yield piece
            piece = await reader.read()
            if not piece:
                break
    except (RunLost, TimeoutError) as error:
        raise Incomplete(str(error)) from None
    if reader.code != 0:
        raise Incomplete(_or(reader.sentence, "The guest could not read all of it."))


async def _to_the_end(reader: _Reader) -> None:
    """Read what a command says that is still being sent to: it may say nothing for as long as that takes."""
    while await reader.read(None):
        pass


def _checked_mode(mode: str) -> str:
    if not mode:
        return "644"
    if len(mode) in {3, 4} and set(mode) <= set("01234567"):
        return mode
    raise BadTransfer(422, "bad_mode", "The mode is three or four octal digits, such as 755.")


def _or(text: str, otherwise: str) -> str:
    return text or otherwise


def _too_large() -> str:
    return f"More than {settings.FILES_AT_MOST_BYTES // 2**20} MiB cannot be transferred at once."
