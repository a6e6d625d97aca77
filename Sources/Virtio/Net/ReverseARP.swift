/// What tells a network where a station is to be found now.
package enum ReverseARP {
  /// A request for the address of the station itself, to all, in its own name: an Ethernet frame of 60 bytes without its
  /// checksum (RFC 903; vhost-user, SEND_RARP). Nobody has to answer; the switches on its way learn the station's place.
  package static func request(for station: MACAddress) -> [UInt8] {
    let frame: [UInt8] =
      [UInt8](repeating: 0xff, count: 6) + station.bytes + [0x80, 0x35]
      // Ethernet, IPv4, the lengths of their addresses; 3: a reverse request.
      + [0, 1, 0x08, 0, 6, 4, 0, 3]
      // Sender and target with their IP addresses, which are not known.
      + station.bytes + [0, 0, 0, 0] + station.bytes + [0, 0, 0, 0]
    return frame + [UInt8](repeating: 0, count: 60 - frame.count)
  }
}
