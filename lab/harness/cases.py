"""The table of cases, and how one is run."""
import json
import shutil
import signal
import tempfile
import time
import traceback
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Callable

from . import cache, initramfs, kernel
from .backends import BackEnd, BackEnds, Programs
from .guest import Guest, QemuGuest, UserModeGuest
from .process import LabError, Process


@dataclass
class Case:
    """One thing that is proven."""
    name: str
    #: The type of device it is about: net, block or entropy.
    device: str
    #: Returns a remark for the table, and throws what it finds wrong.
    body: Callable[["Lab"], str | None]
    #: What a back-end has to offer for it.
    needs: set[str] = field(default_factory=set)
    #: Part of the short run.
    smoke: bool = False
    #: Seconds after which it has failed.
    deadline: int = 300


@dataclass
class Result:
    case: str
    back_end: str
    #: pass, fail, or lacks: the back-end does not offer what the case is about.
    result: str
    seconds: float
    note: str


@dataclass
class Options:
    back_end: str
    programs: Programs
    qemu: str = "qemu-system-x86_64"


class Lab:
    """What a case works with. Ends all it has started, latest first."""

    def __init__(self, case: Case, options: Options):
        self.folder = cache.CACHE / "run" / options.back_end / case.name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._options = options
        self._stack = ExitStack()
        # A socket's path has 108 bytes at most.
        sockets = Path(tempfile.mkdtemp(prefix="lab-"))
        self._stack.callback(shutil.rmtree, sockets, ignore_errors=True)
        self.sockets = sockets
        self.back_ends = BackEnds(options.back_end, options.programs, self.folder, sockets)
        self.guests: list[Guest] = []
        self._served: list[BackEnd] = []

    def serve(self, back_end: BackEnd) -> BackEnd:
        """Makes the case own a back-end."""
        # Whichever process it is by then.
        self._stack.callback(lambda: back_end.process.kill())
        self._served.append(back_end)
        return back_end

    def qemu(self, devices: list[str], modules: list[str], programs: list[str] = (), files: dict[str, bytes] = {},
             backports: bool = False, **options) -> QemuGuest:
        """Starts a guest under QEMU, and waits for its shell, unless it waits for a migration itself."""
        image = kernel.for_qemu()
        name = f"guest{len(self.guests)}"
        archive = initramfs.build(
            self.folder / f"{name}.initramfs", image, ["virtio_pci", *modules], list(programs), files)
        command = _backports_qemu() if backports else [self._options.qemu]
        guest = QemuGuest(name, self.folder, command, image, archive, devices, **options)
        if options.get("incoming"):
            self._stack.callback(guest.stop)
            self.guests.append(guest)
            return guest
        return self._ready(guest)

    def machine(self, name: str, arguments: list[str]) -> Process:
        """Starts a machine under QEMU that has to find something to start from by itself."""
        process = Process(f"{name}-qemu", [
            self._options.qemu, "-accel", "tcg", "-machine", "q35,memory-backend=memory", "-m", "128M",
            "-object", "memory-backend-memfd,id=memory,size=128M,share=on", "-nodefaults", "-display", "none",
            *arguments], self.folder / f"{name}.qemu")
        self._stack.callback(process.kill)
        return process

    def user_mode(self, devices: list[str], modules: list[str], programs: list[str] = (),
                  files: dict[str, bytes] = {}) -> UserModeGuest:
        """Starts a guest that is a process, and waits for its shell."""
        image = kernel.user_mode()
        name = f"guest{len(self.guests)}"
        archive = initramfs.build(self.folder / f"{name}.initramfs", image, modules, list(programs), files)
        return self._ready(UserModeGuest(name, self.folder, image, archive, devices))

    def _ready(self, guest):
        self._stack.callback(guest.stop)
        self.guests.append(guest)
        guest.ready()
        return guest

    def tails(self) -> str:
        """The last lines of everything that took part."""
        parts = [guest.tail() for guest in self.guests]
        parts += [f"  {served.process.name}:\n" + "\n".join(f"    {line}" for line in
                                                            served.process.tail().splitlines())
                  for served in self._served]
        return "\n".join(parts)

    def close(self) -> None:
        self._stack.close()


def _backports_qemu() -> list[str]:
    folder = cache.backports_qemu()
    libraries = folder / "usr/lib/x86_64-linux-gnu"
    return ["env", f"LD_LIBRARY_PATH={libraries}", f"QEMU_MODULE_DIR={libraries}/qemu",
            str(folder / "usr/bin/qemu-system-x86_64"), "-L", str(folder / "usr/share/qemu"),
            "-L", "/usr/share/seabios", "-L", "/usr/share/qemu"]


class _Deadline(Exception):
    pass


def _expired(_signal, _frame):
    raise _Deadline


def run(case: Case, options: Options) -> Result:
    """Runs one case, and prints what it was like."""
    print(f"{case.name} …", flush=True)
    started = time.monotonic()
    lab = Lab(case, options)
    signal.signal(signal.SIGALRM, _expired)
    failure = None
    note = ""
    try:
        if reason := lab.back_ends.lacks(case.needs, case.device):
            print(f"  not run: {reason}", flush=True)
            return Result(case.name, options.back_end, "lacks", 0.0, reason)
        signal.alarm(case.deadline)
        note = case.body(lab) or ""
    except _Deadline:
        failure = f"not done after {case.deadline} s"
    except LabError as error:
        failure = str(error)
    except Exception as error:  # a mistake of the lab itself, or of the machine
        failure = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    finally:
        signal.alarm(0)
        tails = lab.tails() if failure else ""
        try:
            lab.close()
        except LabError as error:
            failure = failure or str(error)
    seconds = round(time.monotonic() - started, 1)
    if failure:
        print(f"  FAIL after {seconds} s: {failure}\n{tails}\n  more in {lab.folder}", flush=True)
    else:
        shutil.rmtree(lab.folder)
        print(f"  pass, {seconds} s", flush=True)
    return Result(case.name, options.back_end, "fail" if failure else "pass", seconds, failure or note)


def report(results: list[Result], json_path: Path | None) -> bool:
    """Prints the table, writes the JSON if wanted, and returns whether nothing failed."""
    width = max(len(result.case) for result in results)
    print(f"\n{'case':{width}}  {'result':6}  {'s':>5}  remark")
    for result in results:
        remark = result.note.splitlines()[0][:120] if result.note else ""
        print(f"{result.case:{width}}  {result.result:6}  {result.seconds:5.1f}  {remark}")
    if json_path:
        json_path.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    failed = [result.case for result in results if result.result == "fail"]
    passed = sum(result.result == "pass" for result in results)
    lacking = sum(result.result == "lacks" for result in results)
    total = sum(result.seconds for result in results)
    print(f"\nLab: {passed} of {len(results)} cases passed"
          + (f", {lacking} are about what the back-end does not offer" if lacking else "")
          + (f", failed: {' '.join(failed)}" if failed else "") + f"; {total:.0f} s")
    return not failed and passed > 0
