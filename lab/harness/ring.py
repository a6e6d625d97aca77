"""What a front-end is asked to negotiate, and whether it has."""
from dataclasses import dataclass

from .guest import Guest
from .process import LabError

# Virtio 1.2, 6: reserved feature bits.
_INDIRECT, _EVENT_INDEX, _VERSION_1, _PACKED = 28, 29, 32, 34


def switch(value: bool) -> str:
    """As QEMU's properties spell it."""
    return "on" if value else "off"


@dataclass(frozen=True)
class Ring:
    """The format and features of a device's rings."""
    packed: bool = False
    indirect: bool = True
    event_index: bool = True
    legacy: bool = False

    def qemu(self) -> str:
        """Properties of a QEMU device that is never a legacy one."""
        return (f"packed={switch(self.packed)},indirect_desc={switch(self.indirect)},"
                f"event_idx={switch(self.event_index)}")

    def qemu_with_generation(self) -> str:
        """Properties of a QEMU device that may be either."""
        return f"{self.qemu()},disable-modern={switch(self.legacy)},disable-legacy={switch(not self.legacy)}"

    def needs(self) -> set[str]:
        """What a back-end has to offer for them."""
        return {"packed"} if self.packed else set()

    def require(self, guest: Guest, device: str) -> None:
        """Fails unless the guest's driver has accepted just these; `device` is its folder in sysfs."""
        bits = guest.read(f"{device}/features")
        wanted = {_PACKED: self.packed, _INDIRECT: self.indirect, _EVENT_INDEX: self.event_index,
                  _VERSION_1: not self.legacy}
        if wrong := [bit for bit, value in wanted.items() if (bits[bit] == "1") != value]:
            raise LabError(f"{guest.name}: feature bits {wrong} of {device} are not as asked for in {self}: {bits}")
