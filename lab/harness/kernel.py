"""Kernels that can be booted, and their modules."""
import re
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from . import cache
from .process import LabError


@dataclass
class Kernel:
    """A kernel and the folder of its modules."""
    image: Path
    modules: Path
    _index: dict[str, Path] = field(default_factory=dict)
    _built_in: set[str] = field(default_factory=set)

    def __post_init__(self):
        self._index = {_name(path): path for path in self.modules.rglob("*.ko")}
        built_in = self.modules / "modules.builtin"
        if built_in.exists():
            self._built_in = {_name(Path(line)) for line in built_in.read_text().splitlines()}

    def with_dependencies(self, names: list[str]) -> list[tuple[str, bytes]]:
        """The modules and what they need, in the order of loading; what is built in is left out."""
        order: dict[str, bytes] = {}

        def add(name: str) -> None:
            name = name.replace("-", "_")
            if name in order or name in self._built_in:
                return
            if name not in self._index:
                raise LabError(f"the kernel {self.modules.name} has no module {name}")
            content = self._index[name].read_bytes()
            if match := re.search(rb"(?:^|\0)depends=([^\0]*)", content):
                for dependency in filter(None, match[1].decode().split(",")):
                    add(dependency)
            order[name] = content

        for name in names:
            add(name)
        return list(order.items())


def _name(path: Path) -> str:
    return path.name.removesuffix(".ko").replace("-", "_")


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise LabError(f"no {pattern} in {folder}; remove {folder} to fetch it again")
    return found[-1]


def for_qemu() -> Kernel:
    """Debian's kernel for virtual machines."""
    folder = cache.kernel()
    return Kernel(_uncompressed(_one(folder, "boot/vmlinuz-*")), _one(folder, "lib/modules/*"))


def user_mode() -> Kernel:
    """Debian's kernel that is a process."""
    folder = cache.user_mode_linux()
    return Kernel(_one(folder, "usr/bin/linux.uml"), _one(folder, "usr/lib/uml/modules/*"))


def _uncompressed(image: Path) -> Path:
    """The ELF file inside of a bzImage: QEMU enters it at once (PVH), without firmware and without a guest that unpacks
    itself under emulation. The bzImage itself if it is not compressed with lz4, as Debian's is."""
    unpacked = image.with_name("vmlinux")
    if unpacked.exists():
        return unpacked
    content = image.read_bytes()
    # Linux/x86 boot protocol: setup_sects; payload_offset and payload_length. The payload ends with its own size.
    setup = (content[0x1f1] + 1) * 512
    offset, length = struct.unpack_from("<II", content, 0x248)
    payload = content[setup + offset:setup + offset + length - 4]
    if payload[:4] != b"\x02\x21\x4c\x18":
        return image
    done = subprocess.run(["lz4", "-dc"], input=payload, capture_output=True)
    if done.returncode != 0 or done.stdout[:4] != b"\x7fELF":
        raise LabError(f"lz4 cannot unpack {image}: {done.stderr.decode(errors='replace')}")
    partial = unpacked.with_suffix(".partial")
    partial.write_bytes(done.stdout)
    partial.rename(unpacked)
    return unpacked
