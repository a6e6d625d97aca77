"""Block devices: a file system, verified patterns, trimming, read-only media, failing files."""
import functools
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness import files
from harness.backends import BackEnd
from harness.cases import Case, Lab
from harness.guest import Guest
from harness.patterns import Patterns
from harness.process import LabError
from harness.ring import Ring

_MIB = 1 << 20
_DEVICE = "/sys/bus/virtio/devices/virtio0"
# Virtio 1.2, 5: device types.
_BLOCK_TYPE = 2


@dataclass(frozen=True)
class Setup:
    """A front-end, and what it asks for."""
    front_end: str = "qemu"
    ring: Ring = field(default_factory=Ring)
    queues: int = 1
    queue_size: int = 128
    #: Whether the back-end does its file operations by threads in place of io_uring.
    threads: bool = False

    def needs(self) -> set[str]:
        return self.ring.needs() | ({"socket-calls"} if self.front_end == "user-mode-linux" else set())


@dataclass
class Rig:
    """A guest whose only disk, /dev/vda, is served from an image."""
    guest: Guest
    back_end: BackEnd
    image: Path

    def require_path(self) -> None:
        """Fails unless it is the back-end, and nothing else, that carries the disk's data."""
        if not self.back_end.process.has_open(self.image):
            raise LabError(f"{self.back_end.process.name} does not have {self.image} open")
        if self.guest.process.has_open(self.image):
            raise LabError(f"{self.guest.process.name} has {self.image} open itself")
        # The control: nothing is read while the back-end stands still, and everything as soon as it goes on.
        self.back_end.process.pause()
        self.guest.check("dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct 2>/tmp/dd & reader=$!")
        self.guest.check("sleep 2; kill -0 $reader")
        self.back_end.process.resume()
        self.guest.check("wait $reader")

    def require_all_rings_used(self, queues: int) -> None:
        """Fails unless each ring has carried requests, by the back-end's own counters."""
        if not self.back_end.has_counters:
            return
        # They are printed once a second.
        self.back_end.process.wait_output(r"vring", 10)
        self.guest.check("sleep 2")
        counters = self.back_end.counters()
        idle = [name for name, ring in counters.items() if ring.get("kicks", 0) == 0]
        if len(counters) != queues or idle:
            raise LabError(f"counters of {queues} rings that were used: {counters}")

    def finish(self) -> None:
        """Turns the guest off, and then the back-end, so that the image is complete."""
        self.guest.power_off()
        self.back_end.stop()


def _rig(lab: Lab, setup: Setup, image: Path, modules: list[str] = (), **guest_options) -> Rig:
    back_end = lab.serve(lab.back_ends.block(image, queues=setup.queues, threads=setup.threads))
    if setup.front_end == "user-mode-linux":
        guest = lab.user_mode([f"{back_end.socket}:{_BLOCK_TYPE}"], ["virtio_blk", *modules], **guest_options)
    else:
        guest = lab.qemu(
            _qemu_disk("disk", back_end, setup), ["virtio_blk", *modules],
            backports=setup.front_end == "qemu-backports", **guest_options)
        setup.ring.require(guest, _DEVICE)
        if (found := int(guest.check("ls /sys/block/vda/mq | wc -l"))) != setup.queues:
            raise LabError(f"the guest has {found} queues and not {setup.queues}")
    if (disks := guest.check("ls /sys/block")) != "vda":
        raise LabError(f"the guest's disks are {disks} and not vda alone")
    if (serial := guest.read("/sys/block/vda/serial")) != back_end.serial:
        raise LabError(f"the guest's disk is called {serial} and not {back_end.serial}")
    if (size := int(guest.read("/sys/block/vda/size")) * 512) != image.stat().st_size:
        raise LabError(f"the guest's disk has {size} bytes, its image {image.stat().st_size}")
    return Rig(guest, back_end, image)


def _qemu_disk(name: str, back_end: BackEnd, setup: Setup) -> list[str]:
    return ["-chardev", f"socket,id={name},path={back_end.socket}", "-device",
            f"vhost-user-blk-pci,chardev={name},num-queues={setup.queues},queue-size={setup.queue_size},"
            # With it qemu-storage-daemon tells the guest that there is no cache to flush.
            f"config-wce=off,{setup.ring.qemu_with_generation()}"]


def file_system(lab: Lab, setup: Setup) -> str:
    """An ext4 file system that the guest makes and fills, read again by the guest and on the host."""
    image = files.new_image(lab.folder / "image", 128 * _MIB)
    blank = files.new_image(lab.folder / "blank", 128 * _MIB)
    tree = files.known_tree()
    content = {f"/lab/tree/{path}": data for path, data in tree.items()} | {"/lab/sums": files.checksums(tree)}
    rig = _rig(lab, setup, image, programs=["mke2fs"], files=content)
    guest = rig.guest
    rig.require_path()

    guest.check("/sbin/mke2fs -q -t ext4 /dev/vda", 120)
    guest.check("mount -t ext4 /dev/vda /mnt && mkdir /mnt/one /mnt/two")
    # Each of two CPUs has a queue of its own, if there are two. User mode Linux has one CPU.
    on = ("", "") if setup.front_end == "user-mode-linux" else ("taskset 1", "taskset 2")
    guest.check(
        f"{on[0]} cp -r /lab/tree/. /mnt/one & first=$!; {on[1]} cp -r /lab/tree/. /mnt/two && wait $first", 120)
    guest.check("sync && umount /mnt && echo 3 >/proc/sys/vm/drop_caches")
    guest.check("mount -t ext4 -o ro /dev/vda /mnt")
    for folder in ("one", "two"):
        _check_sums(guest, f"/mnt/{folder}")
    guest.check("umount /mnt")
    flushes = int(guest.read("/sys/block/vda/stat").split()[15])
    if flushes == 0 and guest.read("/sys/block/vda/queue/write_cache") == "write back":
        raise LabError("the disk has a write cache, and no request to flush it has left the guest")
    rig.require_all_rings_used(setup.queues)
    rig.finish()

    expected = {f"{folder}/{path}": data for folder in ("one", "two") for path, data in tree.items()}
    if found := files.differences(expected, files.stored_tree(image, lab.folder)):
        raise LabError(f"the image on the host is not what the guest has written: {found[:5]}")
    _controls_of_comparison(lab, image, blank, expected)
    return f"{len(expected)} files, {sum(map(len, expected.values())) // _MIB} MiB, {flushes} flushes"


def _check_sums(guest: Guest, folder: str) -> None:
    guest.check(f"(cd {folder} && sha256sum -c /lab/sums >/tmp/sums 2>&1) || (grep -v OK /tmp/sums; false)", 120)


def _controls_of_comparison(lab: Lab, image: Path, blank: Path, expected: dict[str, bytes]) -> None:
    """The comparison finds a byte that differs, and does not take an image for written that is not."""
    path = "two/size-1048576"
    altered = bytearray(expected[path])
    altered[700_000] ^= 1
    found = files.differences({**expected, path: bytes(altered)}, files.stored_tree(image, lab.folder))
    if len(found) != 1 or "first at 700000" not in found[0]:
        raise LabError(f"the comparison does not see a byte that differs: {found}")
    try:
        files.stored_tree(blank, lab.folder)
    except LabError:
        return
    raise LabError("the comparison takes an empty image for a file system")


def patterns(lab: Lab, setup: Setup) -> str:
    """Verified patterns and a benchmark of QEMU's own tools in the guest, each request straight to the disk; the whole
    image compared on the host."""
    size = 64 * _MIB
    image = files.new_image(lab.folder / "image", size)
    model = Patterns(size, seed=3)
    rounds = [model.commands(150), model.commands(150)]
    content = {f"/lab/round{number}": "".join(f"{line}\n" for line in commands).encode()
               for number, commands in enumerate(rounds)}
    rig = _rig(lab, setup, image, programs=["qemu-io", "qemu-img"], files=content)
    guest = rig.guest
    rig.require_path()
    qemu_io = "qemu-io -f raw -n -i native -d unmap"

    # The control: it sees a wrong byte, and says so by its status too.
    guest.check(f"{qemu_io} -c 'write -q -P 0x11 4096 8192' -c 'read -q -P 0x11 4096 8192' /dev/vda")
    wrong = guest.check_fails(f"{qemu_io} -c 'read -q -P 0x12 4096 8192' /dev/vda")
    if "Pattern verification failed" not in wrong:
        raise LabError(f"qemu-io does not see a wrong pattern: {wrong}")
    guest.check(f"{qemu_io} -c 'write -q -z 4096 8192' /dev/vda")

    for number in range(len(rounds)):
        said = guest.check(f"{qemu_io} /dev/vda </lab/round{number} >/tmp/io 2>&1; status=$?; "
                           "sed 's/qemu-io> //g' /tmp/io; test $status = 0", 180)
        if said:
            raise LabError(f"qemu-io of round {number}: {said[:600]}")
        if number == 0:
            # The rings start anew, from 0.
            guest.check("rmmod virtio_blk && load virtio_blk && test -b /dev/vda")
    found = _bench(guest, model)
    rig.require_all_rings_used(setup.queues)
    rig.finish()

    if (place := model.first_difference(image.read_bytes())) is not None:
        raise LabError(f"the image differs from what was written at byte {place}")
    model.content[size - 700] ^= 1
    if model.first_difference(image.read_bytes()) is None:
        raise LabError("the comparison does not see a byte that differs")
    return found


def _bench(guest: Guest, model: Patterns) -> str:
    """`qemu-img bench`: enough requests for every index to wrap, 32 in flight."""
    reads, writes = 70_000, 2000
    tool = "qemu-img bench -f raw -t none -n -d 32"
    read = guest.check(f"{tool} -s 4096 -c {reads} /dev/vda", 300)
    write = guest.check(f"{tool} -w --pattern 0x7e -s 8192 -S 8192 -c {writes} --flush-interval 100 /dev/vda", 120)
    model.write(0, writes * 8192, 0x7e)
    return f"{reads / _seconds(read):.0f} reads/s, {writes / _seconds(write):.0f} writes/s"


def _seconds(answer: str) -> float:
    return float(answer.split("Run completed in ")[1].split()[0])


def trim(lab: Lab, setup: Setup) -> str:
    """DISCARD and WRITE_ZEROES: the image on the host loses its blocks, and just what was zeroed is zero."""
    image = files.new_image(lab.folder / "image", 64 * _MIB)
    rig = _rig(lab, setup, image, programs=["mke2fs", "blkdiscard"])
    guest = rig.guest
    rig.require_path()
    for limit in ("discard_max_bytes", "write_zeroes_max_bytes"):
        if int(guest.read(f"/sys/block/vda/queue/{limit}")) == 0:
            raise LabError(f"the guest's disk has no {limit}: the device does not offer the request")

    # The file system's way: what a deleted file took is given back, and not before it is asked for.
    guest.check("/sbin/mke2fs -q -t ext4 -E nodiscard /dev/vda && mount -t ext4 /dev/vda /mnt", 120)
    guest.check("dd if=/dev/zero of=/mnt/file bs=1M count=32 2>&1 && sync", 120)
    full = files.allocated(image)
    guest.check("rm /mnt/file && sync")
    deleted = files.allocated(image)
    if full < 32 * _MIB or deleted < 32 * _MIB:
        raise LabError(f"the image takes {full} bytes with a file of 32 MiB, {deleted} after it was deleted")
    guest.check("fstrim /mnt && umount /mnt", 120)
    if (trimmed := files.allocated(image)) > deleted - 30 * _MIB:
        raise LabError(f"the image takes {trimmed} bytes after fstrim, and took {deleted} before")

    # The disk's way, all of it 0xff first.
    guest.check(r"tr '\000' '\377' </dev/zero | dd of=/dev/vda bs=1M count=64 iflag=fullblock 2>&1 && sync", 120)
    written = files.allocated(image)
    guest.check(f"/sbin/blkdiscard -o {8 * _MIB} -l {16 * _MIB} /dev/vda")
    guest.check(f"/sbin/blkdiscard -z -o {32 * _MIB} -l {8 * _MIB} /dev/vda")
    if int(guest.read("/sys/block/vda/stat").split()[11]) == 0:
        raise LabError("no request to discard has left the guest")
    guest.check("sync")
    left = files.allocated(image)
    if written < 64 * _MIB or left > written - 15 * _MIB:
        raise LabError(f"the image takes {left} bytes after 16 MiB were discarded, and took {written} before")
    rig.finish()

    content = image.read_bytes()
    zero, one = bytes(_MIB), b"\xff" * _MIB
    for number in range(64):
        piece = content[number * _MIB:(number + 1) * _MIB]
        # What was discarded may be zero or as it was; what was not touched must be as it was.
        allowed = [zero] if 32 <= number < 40 else [zero, one] if 8 <= number < 24 else [one]
        if piece not in allowed:
            raise LabError(f"MiB {number} of the image is not as the guest has left it")
    return f"{(deleted - trimmed) // _MIB} MiB trimmed, {(written - left) // _MIB} MiB discarded or zeroed"


def read_only(lab: Lab, setup: Setup) -> str:
    """A file system made on the host, read in the guest from a read-only device; what fails there succeeds on a
    writable device beside it."""
    tree = files.known_tree(seed=2)
    image = _populated(lab, tree)
    twin = files.new_image(lab.folder / "twin", image.stat().st_size)
    before = files.checksum(image)
    locked = lab.serve(lab.back_ends.block(image, read_only=True, queues=setup.queues))
    writable = lab.serve(lab.back_ends.block(twin, queues=setup.queues))
    guest = lab.qemu(
        _qemu_disk("locked", locked, setup) + _qemu_disk("writable", writable, setup), ["virtio_blk"],
        programs=["blkdiscard"], files={"/lab/sums": files.checksums(tree)})
    setup.ring.require(guest, _DEVICE)
    Rig(guest, locked, image).require_path()
    if guest.read("/sys/block/vda/ro") != "1" or guest.read("/sys/block/vdb/ro") != "0":
        raise LabError("the guest does not see which device is read-only")

    guest.check("mount -t ext4 -o ro /dev/vda /mnt")
    _check_sums(guest, "/mnt")
    guest.check_fails("mount -o remount,rw /mnt")
    guest.check_fails("touch /mnt/new")
    guest.check("umount /mnt")
    for change in ("dd if=/lab/sums of=DISK bs=512 count=1 conv=notrunc", "/sbin/blkdiscard -f DISK",
                   "/sbin/blkdiscard -f -z DISK"):
        guest.check(change.replace("DISK", "/dev/vdb"))
        guest.check_fails(change.replace("DISK", "/dev/vda"))
    guest.power_off()
    for back_end in (locked, writable):
        back_end.stop()
    if files.checksum(image) != before:
        raise LabError("the image behind the read-only device has changed")
    return f"{len(tree)} files made on the host, read in the guest"


def _populated(lab: Lab, tree: dict[str, bytes]) -> Path:
    """An ext4 image with these files."""
    folder = lab.folder / "tree"
    for path, content in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    image = files.new_image(lab.folder / "image", 64 * _MIB)
    made = subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(image)], capture_output=True, text=True)
    if made.returncode != 0:
        raise LabError(f"mke2fs cannot make {image}: {made.stderr[-600:]}")
    return image


def errors(lab: Lab, setup: Setup) -> str:
    """A file that got shorter: an I/O error in the guest for what is gone, a reason for the operator, and nothing lost
    of the rest."""
    image = files.new_image(lab.folder / "image", 64 * _MIB)
    rig = _rig(lab, setup, image)
    guest = rig.guest
    rig.require_path()
    head = "dd if=/dev/vda of=/dev/null bs=1M count=8 iflag=direct"
    tail = "dd if=/dev/vda of=/dev/null bs=1M skip=48 count=8 iflag=direct"
    guest.check(f"{head} && {tail}")
    with open(image, "r+b") as file:
        file.truncate(32 * _MIB)
    guest.check_fails(tail)
    guest.check(head)
    if str(image) not in rig.back_end.process.output():
        raise LabError(f"{rig.back_end.process.name} does not say which file has failed")
    with open(image, "r+b") as file:
        file.truncate(64 * _MIB)
    guest.check(f"{head} && {tail}")
    rig.finish()
    return ""


def reset(lab: Lab, setup: Setup) -> str:
    """A guest reset in the middle of writes: the device starts anew with the guest, and what was written is there."""
    image = files.new_image(lab.folder / "image", 64 * _MIB)
    rig = _rig(lab, setup, image, programs=["qemu-io"], reboots=True)
    guest = rig.guest
    rig.require_path()
    guest.check("qemu-io -f raw -n -c 'write -q -P 0x21 0 8M' -c flush /dev/vda")
    for pattern in (0x31, 0x32, 0x33):
        write = "dd if=/dev/zero of=/dev/vda bs=64k seek=256 count=512 oflag=direct conv=notrunc"
        guest.check(f"(while :; do {write}; done) >/dev/null 2>&1 & sleep 1")
        guest.reset()
        read, write = f"read -q -P {pattern:#x} 8M 1M", f"write -q -P {pattern:#x} 8M 1M"
        guest.check("qemu-io -f raw -n -c 'read -q -P 0x21 0 8M' /dev/vda")
        guest.check_fails(f"qemu-io -f raw -n -c '{read}' /dev/vda")
        guest.check(f"qemu-io -f raw -n -c '{write}' -c '{read}' /dev/vda")
    rig.finish()
    content = image.read_bytes()
    if content[:8 * _MIB] != b"\x21" * (8 * _MIB) or content[8 * _MIB:9 * _MIB] != b"\x33" * _MIB:
        raise LabError("the image is not what the guest has written")
    return "3 resets"


_SPLIT = Ring()
_PACKED = Ring(packed=True)
_PLAIN = Ring(indirect=False, event_index=False)
_PACKED_PLAIN = Ring(packed=True, indirect=False, event_index=False)

_TABLE = [
    # what, how, setup, part of the short run, further needs
    (file_system, "split", Setup(), True, set()),
    (file_system, "packed", Setup(ring=_PACKED), True, set()),
    (file_system, "split-2-queues", Setup(queues=2), False, set()),
    (file_system, "packed-2-queues", Setup(ring=_PACKED, queues=2), False, set()),
    (file_system, "split-plain", Setup(ring=_PLAIN, queue_size=256), False, set()),
    (file_system, "packed-plain", Setup(ring=_PACKED_PLAIN, queue_size=256), False, set()),
    (file_system, "legacy", Setup(ring=Ring(legacy=True)), False, {"legacy"}),
    (file_system, "user-mode-linux", Setup(front_end="user-mode-linux"), False, set()),
    (file_system, "qemu-backports", Setup(front_end="qemu-backports", queues=2), False, set()),
    (file_system, "qemu-backports-packed", Setup(front_end="qemu-backports", ring=_PACKED, queues=2), False, set()),
    (patterns, "split", Setup(), False, set()),
    (patterns, "packed", Setup(ring=_PACKED), False, set()),
    (patterns, "split-2-queues-of-1024", Setup(queues=2, queue_size=1024), False, set()),
    (patterns, "packed-2-queues-of-1024", Setup(ring=_PACKED, queues=2, queue_size=1024), False, set()),
    (patterns, "split-of-16", Setup(queue_size=16), False, set()),
    (patterns, "packed-of-16", Setup(ring=_PACKED, queue_size=16), False, set()),
    (patterns, "split-threads", Setup(queues=2, threads=True), False, set()),
    (patterns, "packed-threads", Setup(ring=_PACKED, queues=2, threads=True), False, set()),
    (patterns, "user-mode-linux", Setup(front_end="user-mode-linux"), False, set()),
    (trim, "split", Setup(), False, set()),
    (trim, "packed", Setup(ring=_PACKED), False, set()),
    (trim, "split-threads", Setup(threads=True), False, set()),
    (read_only, "split", Setup(), False, set()),
    (read_only, "packed", Setup(ring=_PACKED), False, set()),
    (errors, "split", Setup(), False, {"io-errors"}),
    (errors, "packed", Setup(ring=_PACKED), False, {"io-errors"}),
    (reset, "split", Setup(queues=2), False, set()),
    (reset, "packed", Setup(ring=_PACKED, queues=2), False, set()),
]

CASES = [
    Case(f"block-{what.__name__.replace('_', '-')}-{how}", "block", functools.partial(what, setup=setup),
         setup.needs() | needs, smoke)
    for what, how, setup, smoke, needs in _TABLE
]
