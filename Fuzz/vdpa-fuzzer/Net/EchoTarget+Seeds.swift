extension EchoTarget {
  static var seeds: [FuzzInput] {
    let ethernet: [UInt8] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1]
    let arp: [UInt8] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]
    let echo: [UInt8] = [
      8, 0, 0x45, 0, 0, 30, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0, 0, 0, 1, 0, 1, 7, 7,
    ]
    var withOptions = echo
    withOptions[2] = 0x46
    withOptions[5] = 34
    return [arp, echo, withOptions + [0, 0, 0, 0]].map { frame in
      let bytes = ethernet + frame
      let padding = (Record.size - bytes.count % Record.size) % Record.size
      let padded = bytes + [UInt8](repeating: 0, count: padding)
      var input = FuzzInput()
      input.size = UInt8(padding)
      input.records = stride(from: 0, to: padded.count, by: Record.size).map { Record(padded.span, at: $0) }
      return input
    }
  }
}
