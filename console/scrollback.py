"""The last bytes of a stream, addressed by how many came before them. No Django in here."""

CAPACITY = 256 * 1024  # bytes
SLACK = 64 * 1024  # kept beyond it, so that not every arrival moves memory


class Scrollback:
    """A position counts the bytes since the stream began; `end` is that of the byte to come next."""

    def __init__(self, capacity: int = CAPACITY, slack: int = SLACK) -> None:
        self._capacity = capacity
        self._slack = slack
        self._bytes = bytearray()
        self._start = 0

    @property
    def begin(self) -> int:
        """Where a new reader begins: at the oldest line that is whole."""
        return self._start - 1 if self._start else 0

    @property
    def end(self) -> int:
        return self._start + len(self._bytes)

    def append(self, data: bytes) -> None:
        self._bytes += data[-self._capacity :]
        self._start += max(0, len(data) - self._capacity)
        if len(self._bytes) > self._capacity + self._slack:
            self._forget(len(self._bytes) - self._capacity)

    def read(self, position: int, at_most: int) -> tuple[bytes, int]:
        """Return bytes from `position` on and the position after them.

        A reader that was overtaken goes on at the oldest line that is whole; what it missed is gone.
        """
        offset = position - self._start
        if offset < 0:
            offset = self._bytes.find(b"\n", 0, self._slack) + 1  # 0 when there is no line's end nearby
        data = bytes(self._bytes[offset : offset + at_most])
        return data, self._start + offset + len(data)

    def _forget(self, count: int) -> None:
        del self._bytes[:count]
        self._start += count
