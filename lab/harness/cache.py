"""What the lab fetches, once: Debian packages that are unpacked into lab/.cache and installed nowhere."""
import fcntl
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from .process import LabError

CACHE = Path(__file__).resolve().parents[1] / ".cache"


@contextmanager
def _exclusively():
    """One fetch at a time, whoever else runs the lab in this clone."""
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(argv: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}: {(done.stderr or done.stdout)[-800:]}")
    return done.stdout


class _Apt:
    """apt with package lists of its own in the cache: needs no root and changes nothing on the machine."""

    def __init__(self, suite: str | None = None):
        """`suite`: this one in place of the machine's own sources."""
        state = CACHE / f"apt-{suite or 'machine'}"
        self._options = [
            "-q", "-o", f"Dir::State::lists={state}/lists", "-o", f"Dir::Cache={state}/cache",
            "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3",
        ]
        if suite:
            sources = state / "sources"
            self._options += ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={sources}"]
        for folder in ("lists/partial", "cache/archives/partial"):
            (state / folder).mkdir(parents=True, exist_ok=True)
        if suite:
            sources.mkdir(exist_ok=True)
            (sources / "suite.list").write_text(f"deb {_mirror()} {suite} main\n")
        _run(["apt-get", *self._options, "update"])

    def dependency(self, package: str, pattern: str) -> str:
        """The first package matching `pattern` that `package` depends on."""
        answer = _run(["apt-cache", *self._options, "depends", package])
        if match := re.search(rf"Depends: ({pattern})", answer):
            return match[1]
        raise LabError(f"{package} depends on no {pattern}: {answer}")

    def unpack(self, packages: list[str], into: Path) -> None:
        downloads = into / "download"
        downloads.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", *self._options, "download", *packages], cwd=downloads)
        for package in sorted(downloads.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(into)])
        shutil.rmtree(downloads)


def _release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def _mirror() -> str:
    """The mirror that this machine has its own release from."""
    codename = _release().get("VERSION_CODENAME", "")
    for file in [*Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list"),
                 *Path("/etc/apt/sources.list.d").glob("*.list")]:
        if not file.exists():
            continue
        for entry in re.split(r"\n\s*\n", file.read_text()):
            uri = re.search(r"^URIs:\s*(\S+)", entry, re.M)
            if uri and re.search(rf"^Suites:.*\b{codename}\b(?!-)", entry, re.M):
                return uri[1]
            if match := re.search(rf"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{codename}\s", entry, re.M):
                return match[1]
    raise LabError(f"no mirror of {codename} in /etc/apt")


def _fetched(name: str, fetch) -> Path:
    """The folder `name` of the cache, made by `fetch(folder)` if it is not there."""
    folder = CACHE / name
    with _exclusively():
        if not (folder / "done").exists():
            print(f"fetching {name} into {folder} (once)", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            fetch(folder)
            (folder / "done").touch()
    return folder


def kernel() -> Path:
    """Debian's kernel for virtual machines, unpacked: the smallest that has virtio and ext4."""
    def fetch(folder: Path) -> None:
        apt = _Apt()
        apt.unpack([apt.dependency("linux-image-cloud-amd64", "linux-image-[0-9].*")], folder)
    return _fetched("kernel", fetch)


def user_mode_linux() -> Path:
    """Debian's kernel that is a process, unpacked."""
    return _fetched("user-mode-linux", lambda folder: _Apt().unpack(["user-mode-linux"], folder))


def backports_qemu() -> Path:
    """The newer QEMU of Debian's backports, unpacked."""
    def fetch(folder: Path) -> None:
        apt = _Apt(f"{_release()['VERSION_CODENAME']}-backports")
        apt.unpack(["qemu-system-x86", "qemu-system-common", "qemu-system-data"], folder)
    return _fetched("qemu-backports", fetch)
