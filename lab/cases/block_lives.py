"""Block devices whose sockets, back-ends or machines do not stay: roles, a killed back-end, migration, an IOMMU, the disk
that a machine starts from."""
import functools
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness import files
from harness.backends import BackEnd
from harness.cases import Case, Lab
from harness.guest import QemuGuest
from harness.process import LabError, poll
from harness.ring import Ring

from .net_lives import _IOMMU_KERNEL, _IOMMU_MACHINE, _require_iommu

_MIB = 1 << 20
_DEVICE = "/sys/bus/virtio/devices/virtio0"
_SERIAL = "lab-lives"


@dataclass(frozen=True)
class Setup:
    """A disk, and how QEMU and the back-end find each other."""
    ring: Ring = field(default_factory=Ring)
    queues: int = 1
    threads: bool = False
    #: The back-end connects, and QEMU listens.
    client: bool = False
    iommu: bool = False

    def qemu(self, back_end: BackEnd, reconnects: bool = False, more: str = "") -> list[str]:
        return [*(_IOMMU_MACHINE if self.iommu else []), *back_end.chardev("disk", reconnects),
                "-device", f"vhost-user-blk-pci,chardev=disk,num-queues={self.queues},config-wce=off,"
                + ("iommu_platform=on,ats=on," if self.iommu else "") + self.ring.qemu_with_generation() + more]


def _back_end(lab: Lab, setup: Setup, image: Path, **options) -> BackEnd:
    return lab.serve(lab.back_ends.block(
        image, queues=setup.queues, threads=setup.threads, client=setup.client, serial=_SERIAL, **options))


def _guest(lab: Lab, setup: Setup, back_end: BackEnd, reconnects: bool = False, **options) -> QemuGuest:
    return lab.qemu(
        setup.qemu(back_end, reconnects), ["virtio_blk"], ["qemu-io"],
        append=_IOMMU_KERNEL if setup.iommu else "", **options)


def _numbered(number: int) -> str:
    """A pattern that tells the writes of one round from those of another."""
    return f"{0x21 + number:#x}"


def reached(lab: Lab, setup: Setup) -> str:
    """Verified writes over a socket of either role, behind an IOMMU; the driver is loaded anew meanwhile."""
    image = files.new_image(lab.folder / "image", 64 * _MIB)
    back_end = _back_end(lab, setup, image)
    guest = _guest(lab, setup, back_end)
    setup.ring.require(guest, _DEVICE)
    if setup.iommu:
        _require_iommu(guest)
    for number in range(2):
        steps = [f"-c '{what} -q -P {_numbered(number)} {offset} {length}'" for what in ("write", "read")
                 for offset, length in (("0", "4k"), ("1M", "3M"), ("63M", "1M"))]
        guest.check(f"qemu-io -f raw -n {' '.join(steps)} -c flush /dev/vda", 120)
        if number == 0:
            guest.check("rmmod virtio_blk && load virtio_blk && test -b /dev/vda")
    guest.check_fails(f"qemu-io -f raw -n -c 'read -q -P {_numbered(7)} 0 4k' /dev/vda")
    guest.power_off()
    back_end.stop()
    content = image.read_bytes()
    for offset, length in ((0, 4096), (_MIB, 3 * _MIB), (63 * _MIB, _MIB)):
        if content[offset:offset + length] != bytes([0x22]) * length:
            raise LabError(f"the image is not what was written at {offset}")
    return "8 MiB written and verified"


def _recoveries(lab: Lab) -> int:
    """How often a back-end has said that there was something to be done again."""
    return sum("done again" in line for path in lab.folder.glob("block*.log*")
               for line in path.read_text().splitlines())


def killed(lab: Lab, setup: Setup) -> str:
    """The back-end is killed with writes in flight and started again, over and over: the guest sees no error, and every
    write is in the image, in the order in which those to one place were made."""
    image = files.new_image(lab.folder / "image", 64 * _MIB)
    back_end = _back_end(lab, setup, image)
    guest = _guest(lab, setup, back_end, reconnects=True)
    setup.ring.require(guest, _DEVICE)
    kills = 0
    # At least five rounds, and as many more as it takes until the back-end has died over a request.
    for number in range(25):
        if number >= 5 and _recoveries(lab):
            break
        kills += 3
        # 16 MiB in batches of 32 writes that are in flight together, over and over.
        steps = []
        for place in range(0, 256):
            # Each is to be on stable storage, which takes the back-end so long that it dies over it.
            steps.append(f"aio_write -q -f -P {_numbered(number)} {place * 65536} 65536")
            if place % 32 == 31:
                steps.append("aio_flush")
        for start in range(0, len(steps), 30):
            lines = "".join(f"{step}\\n" for step in steps[start:start + 30])
            guest.check(f"printf '{lines}' >>/tmp/steps{number}")
        guest.check(f"rm -f /tmp/stop; (while test ! -e /tmp/stop; do "
                    f"qemu-io -f raw -n -i native /dev/vda </tmp/steps{number} >>/tmp/said{number} 2>&1 || "
                    f"echo status $? >>/tmp/said{number}; done) & writer=$!")
        time.sleep(0.5)
        for _ in range(3):
            back_end.kill_and_restart()
            time.sleep(1.5)
        guest.check("touch /tmp/stop; wait $writer", 180)
        if said := guest.check(f"sed 's/qemu-io> //g' /tmp/said{number}"):
            raise LabError(f"the writes of round {number}: {said[:300]}")
        guest.check(f"qemu-io -f raw -n -c 'read -q -P {_numbered(number)} 0 16M' /dev/vda", 120)
    if errors := guest.run("dmesg | grep -i -e 'i/o error' -e 'critical'")[1]:
        raise LabError(f"the guest has seen: {errors[:300]}")
    if (recovered := _recoveries(lab)) == 0:
        raise LabError("the back-end never had a request when it was killed, so nothing was proven")
    guest.power_off()
    back_end.stop()
    if image.read_bytes()[:16 * _MIB] != bytes([0x21 + kills // 3 - 1]) * (16 * _MIB):
        raise LabError("the image is not what the guest has written last")
    return f"{kills} kills under writes, requests done again after {recovered} of them"


def migration(lab: Lab, setup: Setup, postcopy: bool) -> str:
    """A guest moves from one QEMU, with its back-end, to another while it writes: nothing of it is lost, and the other
    back-end carries it on."""
    image = files.new_image(lab.folder / "image", 64 * _MIB)
    source_end = _back_end(lab, setup, image, shared=True)
    source = _guest(lab, setup, source_end)
    setup.ring.require(source, _DEVICE)
    target_end = _back_end(lab, setup, image, shared=True)
    target = _guest(lab, setup, target_end, incoming=True)
    loop = ("n=0; while test ! -e /tmp/stop; do n=$((n+1)); p=$((n % 200 + 1)); "
            "qemu-io -f raw -n -c \"write -q -P $p 0 4M\" -c \"read -q -P $p 0 4M\" /dev/vda >>/tmp/said 2>&1 "
            "|| echo failed >>/tmp/said; echo $p >/tmp/last; done")
    source.check(f"({loop}) & writer=$!")
    source.check("sleep 1")
    found = source.migrate(target, lab.sockets / "migration", postcopy)
    target.take_over(source)
    target.check("sleep 3; touch /tmp/stop; wait $writer; true", 120)
    if said := target.run("cat /tmp/said")[1]:
        raise LabError(f"writes during the migration: {said[:300]}")
    last = int(target.read("/tmp/last"))
    source.power_off_stopped()
    source_end.stop()
    target.check(f"qemu-io -f raw -n -c 'read -q -P {last} 0 4M' -c 'write -q -P 0xfe 8M 1M' -c flush /dev/vda")
    target.power_off()
    target_end.stop()
    content = image.read_bytes()
    if content[:4 * _MIB] != bytes([last]) * (4 * _MIB) or content[8 * _MIB:9 * _MIB] != b"\xfe" * _MIB:
        raise LabError("the image is not what the guest has written")
    return f"down for {found.get('downtime', '?')} ms"


# Reads the sector that the packet behind it names, with the BIOS, and prints it on the first serial line until a byte of 0
# (16-bit x86, entered at 0x7c00 with the number of the disk in DL).
_PACKET = 0x40
_BOOT_CODE = bytes.fromhex("".join([
    "31c0 8ed8 8ec0 8ed0 bc007c",  # xor ax, ax; mov ds, es, ss, ax; mov sp, 0x7c00
    "be407c b442 cd13 720e",       # mov si, 0x7c40; mov ah, 0x42; int 0x13; jc end
    "be007e",                      # mov si, 0x7e00
    "ac 84c0 7406",                # next: lodsb; test al, al; jz end
    "baf803 ee ebf5",              # mov dx, 0x3f8; out dx, al; jmp next
    "f4 ebfd",                     # end: hlt; jmp end
]).replace(" ", ""))


def boot(lab: Lab, setup: Setup) -> str:
    """A machine whose firmware finds nothing else starts from the disk: a boot sector, and what it reads."""
    text = b"LAB-BOOTED from sector 4711 of a vhost-user disk\r\n"
    image = files.new_image(lab.folder / "image", 16 * _MIB)
    packet = b"".join(value.to_bytes(size, "little") for value, size in ((16, 2), (1, 2), (0x7E00, 2), (0, 2), (4711, 8)))
    sector = _BOOT_CODE.ljust(_PACKET, b"\0") + packet
    with open(image, "r+b") as file:
        file.write(sector.ljust(510, b"\0") + b"\x55\xaa")
        file.seek(4711 * 512)
        file.write(text.ljust(512, b"\0"))
    back_end = _back_end(lab, setup, image)
    console = lab.folder / "boot.console"
    machine = lab.machine("boot", [
        *setup.qemu(back_end, more=",bootindex=0"), "-chardev", f"file,id=console,path={console}", "-serial",
        "chardev:console"])
    if not poll(lambda: console.exists() and text in console.read_bytes(), 60):
        raise LabError(f"the machine does not start from the disk: {machine.tail(5)}")
    machine.stop()
    # The control: with another sector there, it is not printed.
    with open(image, "r+b") as file:
        file.seek(4711 * 512)
        file.write(text.lower().ljust(512, b"\0"))
    console.unlink()
    machine = lab.machine("boot", [
        *setup.qemu(back_end, more=",bootindex=0"), "-chardev", f"file,id=console,path={console}", "-serial",
        "chardev:console"])
    if not poll(lambda: console.exists() and text.lower() in console.read_bytes(), 60):
        raise LabError("the machine does not print what is on the disk")
    machine.stop()
    back_end.stop()
    return "SeaBIOS, a boot sector, sector 4711"


_PACKED = Ring(packed=True)

_TABLE = [
    (reached, "client", Setup(client=True), {"client"}),
    (reached, "iommu", Setup(iommu=True), {"iommu"}),
    (reached, "iommu-packed", Setup(iommu=True, ring=_PACKED), {"iommu"}),
    (killed, "split", Setup(queues=2), {"in-flight"}),
    (killed, "packed", Setup(queues=2, ring=_PACKED), {"in-flight"}),
    (killed, "split-threads", Setup(threads=True), {"in-flight"}),
    (killed, "split-client", Setup(client=True), {"in-flight", "client"}),
    (functools.partial(migration, postcopy=False), "precopy-split", Setup(), {"log"}),
    (functools.partial(migration, postcopy=False), "precopy-packed", Setup(ring=_PACKED, queues=2), {"log"}),
    (functools.partial(migration, postcopy=True), "postcopy-split", Setup(), {"log"}),
    (boot, "split", Setup(), set()),
]


def _name(what) -> str:
    return getattr(what, "__name__", "") or what.func.__name__


CASES = [
    Case(f"block-{_name(what)}-{how}", "block", functools.partial(what, setup=setup), setup.ring.needs() | needs,
         deadline=600)
    for what, how, setup, needs in _TABLE
]
