"""Programs that run beside this one, each known by its process id."""
import ctypes
import os
import re
import signal
import subprocess
import time
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class LabError(Exception):
    """What a case expected and did not find."""


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def poll(condition, timeout: float, interval: float = 0.05):
    """Waits until `condition()` is true and returns what it was; the last, false, value after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(interval)


class Process:
    """A program, its output in a file. It cannot outlive this one, and is ended by its id only."""

    def __init__(self, name: str, argv: list[str], log: Path, descriptors: tuple[int, ...] = ()):
        self.name = name
        self.log = log
        self._argv = argv
        with open(log, "wb") as output:
            output.write((" ".join(argv) + "\n").encode())
            output.flush()
            self._header = output.tell()
            try:
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=descriptors,
                    start_new_session=True, preexec_fn=_die_with_parent)
            except OSError as error:
                raise LabError(f"{name}: {argv[0]} cannot be started: {error.strerror}") from error
        self.pid = self._process.pid

    def again(self) -> "Process":
        """The same program once more, after this one has ended; what this one said is kept beside it."""
        number = sum(1 for _ in self.log.parent.glob(f"{self.log.name}.*")) + 1
        self.log.rename(self.log.with_name(f"{self.log.name}.{number}"))
        return Process(self.name, self._argv, self.log)

    @property
    def status(self) -> int | None:
        """The exit status, −N after signal N; None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        with open(self.log, "rb") as file:
            file.seek(self._header)
            return file.read().decode(errors="replace")

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.output().splitlines()[-lines:])

    def require_running(self) -> None:
        if self.status is not None:
            raise LabError(f"{self.name} ended with {self.status}: {self.tail(5)}")

    def wait_output(self, pattern: str, timeout: float = 30) -> re.Match:
        """Waits until the output matches."""
        def look():
            return re.search(pattern, self.output()) or self.status is not None
        poll(look, timeout)
        if match := re.search(pattern, self.output()):
            return match
        self.require_running()
        raise LabError(f"{self.name} did not print /{pattern}/ within {timeout} s: {self.tail(5)}")

    def wait_listening(self, path: Path, timeout: float = 30) -> None:
        """Waits until `path` is listened on, without connecting: a vhost-user server takes one connection."""
        def listening():
            self.require_running()
            for line in Path(f"/proc/{self.pid}/net/unix").read_text().splitlines()[1:]:
                fields = line.split(maxsplit=7)
                # __SO_ACCEPTCON
                if len(fields) == 8 and fields[7] == str(path) and int(fields[3], 16) & 0x10000:
                    return True
            return False
        if not poll(listening, timeout):
            raise LabError(f"{self.name} does not listen on {path} after {timeout} s: {self.tail(5)}")

    def has_open(self, path: Path) -> bool:
        """Whether a descriptor of the process is this file."""
        wanted = path.stat()
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found = link.stat()
            except OSError:  # closed meanwhile
                continue
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
        return False

    def pause(self) -> None:
        """Stops all its threads, until `resume`; when it returns, they stand still."""
        os.kill(self.pid, signal.SIGSTOP)

        def stopped():
            # The state follows the name, which is in parentheses and may have any character.
            return all(path.read_text().rpartition(")")[2].split()[0] in "Tt"
                       for path in Path(f"/proc/{self.pid}/task").glob("*/stat"))
        if not poll(stopped, 30, 0.01):
            raise LabError(f"{self.name} (process {self.pid}) does not stop at SIGSTOP")

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait(self, timeout: float) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} (process {self.pid}) still runs after {timeout} s") from None

    def stop(self, timeout: float = 15) -> int:
        """Asks it to end, and returns its exit status; one that does not is killed, which is an error."""
        if self.status is None:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise LabError(f"{self.name} did not end within {timeout} s of SIGTERM: {self.tail(5)}") from None
        return self._process.returncode

    def kill(self) -> None:
        """Ends it at once, with the processes of its own that it may have: user mode Linux leaves some behind."""
        # Until it has been waited for, its number is its own, and that of its group.
        if self._process.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
