"""Entropy devices: the guest's kernel takes random numbers from the device."""
import functools
from dataclasses import dataclass, field

from harness.cases import Case, Lab
from harness.process import LabError
from harness.ring import Ring

_DEVICE = "/sys/bus/virtio/devices/virtio0"
_SAMPLE = 16384


@dataclass(frozen=True)
class Setup:
    """A front-end, and what it asks for."""
    front_end: str = "qemu"
    ring: Ring = field(default_factory=Ring)


def numbers(lab: Lab, setup: Setup) -> str:
    """/dev/hwrng gives numbers that differ from read to read, and only from the device."""
    back_end = lab.serve(lab.back_ends.entropy())
    guest = lab.qemu(
        ["-chardev", f"socket,id=rng,path={back_end.socket}", "-device",
         f"vhost-user-rng-pci,chardev=rng,{setup.ring.qemu()}"],
        ["virtio_rng"], backports=setup.front_end == "qemu-backports")
    setup.ring.require(guest, _DEVICE)
    _require_source(guest)
    samples = [_sample(guest) for _ in range(4)]

    # The control: without the device there are none. The driver asks ahead, so that one read may be answered already.
    back_end.process.pause()
    guest.check(f"dd if=/dev/hwrng of=/tmp/late bs=64 count={_SAMPLE // 64} iflag=fullblock 2>/tmp/dd & reader=$!")
    guest.check("sleep 3; kill -0 $reader")
    if int(guest.check("stat -c %s /tmp/late")) >= _SAMPLE:
        raise LabError("the guest has random numbers while the device stands still")
    back_end.process.resume()
    guest.check("wait $reader")

    # The ring starts anew, from 0.
    guest.check("rmmod virtio_rng && load virtio_rng")
    setup.ring.require(guest, _DEVICE)
    _require_source(guest)
    samples += [_sample(guest) for _ in range(4)]
    for number, sample in enumerate(samples):
        # Of random bytes each value occurs 64 times; that one occurs 16 times or fewer, or 160 times or more, does not
        # happen by chance.
        counts = [sample.count(bytes([value])) for value in range(256)]
        if len(sample) != _SAMPLE or min(counts) <= 16 or max(counts) >= 160:
            raise LabError(f"sample {number} of {len(sample)} bytes is not random: {sample[:32].hex()}…")
    if len(set(samples)) != len(samples):
        raise LabError("two samples are the same")
    guest.power_off()
    back_end.stop()
    return f"{len(samples)} samples of {_SAMPLE} bytes"


def _require_source(guest) -> None:
    if not (source := guest.read("/sys/class/misc/hw_random/rng_current")).startswith("virtio_rng"):
        raise LabError(f"the guest's hardware source of random numbers is {source}")


def _sample(guest) -> bytes:
    return bytes.fromhex(guest.check(
        f"dd if=/dev/hwrng bs=4096 count={_SAMPLE // 4096} iflag=fullblock 2>/dev/null | xxd -p | tr -d '\\n'"))


_TABLE = [
    ("split", Setup()),
    ("packed", Setup(ring=Ring(packed=True))),
    ("split-plain", Setup(ring=Ring(indirect=False, event_index=False))),
    ("packed-plain", Setup(ring=Ring(packed=True, indirect=False, event_index=False))),
    ("qemu-backports", Setup(front_end="qemu-backports", ring=Ring(packed=True))),
]

CASES = [
    Case(f"entropy-{how}", "entropy", functools.partial(numbers, setup=setup), {"entropy"})
    for how, setup in _TABLE
]
