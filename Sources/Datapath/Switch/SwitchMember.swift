internal import Virtio

/// A port of a switch: what the queue pairs of a socket have in common. It leaves the switch with the last of them.
final class SwitchMember: Sendable {
  let network: Switch
  /// The port's number at the switch.
  let id: Int
  /// An inbox for each queue pair.
  let inboxes: [SwitchInbox]

  init(_ network: Switch, id: Int, inboxes: [SwitchInbox]) {
    self.network = network
    self.id = id
    self.inboxes = inboxes
  }

  deinit { network.leave(id) }

  /// Lets packets into the inbox of a pair, or none.
  func setOpen(_ pair: Int, _ isOpen: Bool) {
    guard inboxes[pair].isOpen != isOpen else { return }
    // Whoever has an older view of the members finds a closed one closed.
    inboxes[pair].setOpen(isOpen)
    network.membersChanged()
  }
}
