"""Random requests of qemu-io, and what they leave on a disk."""
import random

_SECTOR = 512


class Patterns:
    """Writes, zeroes, discards and verifying reads, always the same for a seed; the disk's content follows them."""

    def __init__(self, size: int, seed: int):
        """A disk of `size` zeroes."""
        self.content = bytearray(size)
        #: Sectors whose content is the device's own business since they were discarded.
        self._discarded = bytearray(size // _SECTOR)
        self._random = random.Random(seed)

    def commands(self, count: int) -> list[str]:
        """The next `count` steps, each of which is over before the next begins."""
        return [command for _ in range(count) for command in self._step()]

    def write(self, offset: int, length: int, pattern: int) -> None:
        """Notes that a range has been written."""
        self.content[offset:offset + length] = bytes([pattern]) * length
        self._discarded[self._sectors(offset, length)] = bytes(length // _SECTOR)

    @staticmethod
    def _sectors(offset: int, length: int) -> slice:
        return slice(offset // _SECTOR, (offset + length) // _SECTOR)

    def _range(self) -> tuple[int, int]:
        # Mostly small, sometimes more than one request can carry; both ends of the disk more often than by chance.
        sectors = self._random.choice([1, 1, 2, 8, 8, 13, 64, 255, 256, 1024, 2048, 8192])
        last = len(self._discarded) - sectors
        first = self._random.choice([0, last] + [self._random.randrange(last + 1)] * 8)
        return first * _SECTOR, sectors * _SECTOR

    def _step(self) -> list[str]:
        kind = self._random.choices(
            ["write", "zero", "unmap", "discard", "read", "batch", "flush"], [36, 8, 8, 6, 30, 8, 4])[0]
        if kind == "flush":
            return ["flush"]
        if kind == "batch":
            return self._batch()
        offset, length = self._range()
        if kind == "read":
            return [self._read(offset, length)]
        if kind == "discard":
            self._discarded[self._sectors(offset, length)] = b"\1" * (length // _SECTOR)
            return [f"discard -q {offset} {length}"]
        pattern = self._random.randrange(1, 256) if kind == "write" else 0
        self.write(offset, length, pattern)
        if kind == "write":
            return [f"write -q -P {pattern:#x} {offset} {length}"]
        return [f"write -q -z {'-u ' if kind == 'unmap' else ''}{offset} {length}"]

    def _batch(self) -> list[str]:
        """Writes that are in flight together, to places that do not overlap, and wait for one another at the end."""
        commands = []
        place = self._random.randrange(len(self._discarded) // 2)
        for _ in range(16):
            sectors = self._random.choice([1, 3, 8, 64, 300])
            pattern = self._random.randrange(1, 256)
            self.write(place * _SECTOR, sectors * _SECTOR, pattern)
            commands.append(f"aio_write -q -P {pattern:#x} {place * _SECTOR} {sectors * _SECTOR}")
            place += sectors + self._random.choice([0, 0, 5])
        return commands + ["aio_flush"]

    def _read(self, offset: int, length: int) -> str:
        """Reads a range, and verifies as much of its head as is of one pattern and known."""
        first = self.content[offset]
        known = 0
        while known < length and not self._discarded[(offset + known) // _SECTOR]:
            if self.content[offset + known:offset + known + _SECTOR] != bytes([first]) * _SECTOR:
                break
            known += _SECTOR
        if known == 0:
            return f"read -q {offset} {length}"
        return f"read -q -P {first:#x} -s 0 -l {known} {offset} {length}"

    def first_difference(self, found: bytes) -> int | None:
        """The first sector that is not as the commands have left it; a discarded one may also have become zero."""
        if len(found) != len(self.content):
            return min(len(found), len(self.content))
        for sector, discarded in enumerate(self._discarded):
            place = slice(sector * _SECTOR, (sector + 1) * _SECTOR)
            if found[place] != self.content[place] and not (discarded and not any(found[place])):
                return sector * _SECTOR
        return None
