"""The guest's whole file system: busybox, modules, programs of this machine, and files."""
import re
import shutil
import stat
import subprocess
from pathlib import Path

from .kernel import Kernel
from .process import LabError

_INIT = Path(__file__).resolve().parents[1] / "guest" / "init"
_FOLDERS = ["bin", "sbin", "dev", "proc", "sys", "tmp", "mnt", "run", "etc", "modules", "lab"]


class _Archive:
    """A cpio archive of the format `newc` (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self):
        self._bytes = bytearray()
        self._folders: set[str] = set()

    def _entry(self, path: str, mode: int, content: bytes = b"") -> None:
        name = path.lstrip("/").encode() + b"\0"
        fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
        self._bytes += b"070701" + b"".join(b"%08X" % value for value in fields) + name
        self._pad()
        self._bytes += content
        self._pad()

    def _pad(self) -> None:
        self._bytes += bytes(-len(self._bytes) % 4)

    def folder(self, path: str) -> None:
        path = path.strip("/")
        if not path or path in self._folders:
            return
        self.folder(str(Path(path).parent).removeprefix("."))
        self._folders.add(path)
        self._entry(path, stat.S_IFDIR | 0o755)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self.folder(str(Path(path).parent))
        self._entry(path, stat.S_IFREG | mode, content)

    def finish(self) -> bytes:
        self._entry("TRAILER!!!", 0)
        return bytes(self._bytes)


def build(out: Path, kernel: Kernel, modules: list[str], programs: list[str], files: dict[str, bytes]) -> Path:
    """Writes an initramfs.

    - modules: loaded at boot, in this order, after what they depend on.
    - programs: names of this machine's programs, which come with their libraries, for /sbin. By a name alone the shell
      takes what busybox has before them.
    - files: paths and contents.
    """
    archive = _Archive()
    for folder in _FOLDERS:
        archive.folder(folder)
    archive.file("/init", _INIT.read_bytes(), 0o755)
    archive.file("/bin/busybox", Path(_located("busybox")).read_bytes(), 0o755)
    order = kernel.with_dependencies(modules)
    for name, content in order:
        archive.file(f"/modules/{name}.ko", content)
    archive.file("/modules/order", "".join(f"{name}\n" for name, _ in order).encode())
    libraries: dict[str, bytes] = {}
    for program in programs:
        path = _located(program)
        archive.file(f"/sbin/{program}", Path(path).read_bytes(), 0o755)
        for library in _libraries(path):
            libraries.setdefault(library, Path(library).read_bytes())
    for path, content in libraries.items():
        archive.file(path, content, 0o755)
    for path, content in files.items():
        archive.file(path, content)
    # Not compressed: unpacking it under emulation takes longer than reading it.
    out.write_bytes(archive.finish())
    return out


def _located(program: str) -> str:
    path = shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
    if not path:
        raise LabError(f"no program {program}; lab/run installs what the lab needs")
    return path


def _libraries(program: str) -> list[str]:
    answer = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    if missing := re.search(r"(\S+) => not found", answer):
        raise LabError(f"{program} lacks its library {missing[1]}")
    return re.findall(r"(/\S+) \(0x", answer)
