import Testing
import VDPA
import VhostUser

struct MessageParserTests {
  private let kick = wire(.setVringKick, flags: .needReply, u64(3))

  private func descriptor() throws -> OwnedFD { try EventFD.make() }

  @Test func everySplitInTwo() throws {
    let attached = try descriptor()
    for cut in 1..<kick.count {
      var parser = MessageParser(expecting: .request)
      var delivered: [RawMessage] = []
      // The parser never takes more than it wants: a piece across the header's end comes in two.
      var isFirst = true
      for part in [kick[..<cut], kick[cut...]] {
        var rest = part
        while !rest.isEmpty {
          let piece = rest.prefix(parser.wanted)
          rest = rest.dropFirst(piece.count)
          if let message = try parser.append(Array(piece), descriptors: isFirst ? [attached] : []) {
            delivered.append(message)
          }
          isFirst = false
        }
      }
      #expect(delivered.count == 1 && delivered.first?.payload == u64(3))
      #expect(delivered.first?.header == MessageHeader(request: 12, flags: .needReply, size: 8))
      #expect(delivered.first?.descriptors.first === attached && delivered.first?.descriptors.count == 1)
      #expect(!parser.isInMessage && parser.wanted == 12)
    }
  }

  @Test func byteByByteManyTimes() throws {
    var parser = MessageParser(expecting: .request)
    var count = 0
    for byte in kick + wire(.getFeatures) + kick {
      if try parser.append([byte]) != nil { count += 1 }
    }
    #expect(count == 3 && !parser.isInMessage)
  }

  /// Without payload the header is all: nothing is wanted of the next message before this one is handed over.
  @Test func emptyPayloadIsDeliveredWithTheHeader() throws {
    var parser = MessageParser(expecting: .request)
    #expect(try parser.append(wire(.getFeatures))?.payload == [])
  }

  @Test func descriptorsAnywhereButAtTheBeginningAreRefused() throws {
    for cut in 1..<kick.count {
      var parser = MessageParser(expecting: .request)
      var taken = 0
      while taken < cut {
        let piece = Array(kick[taken..<min(cut, taken + parser.wanted)])
        _ = try parser.append(piece)
        taken += piece.count
      }
      let attached = try descriptor()
      let error = #expect(throws: VhostUserError.self, "after \(cut) bytes") {
        try parser.append([kick[cut]], descriptors: [attached])
      }
      #expect(error?.code == .malformed)
    }
  }

  @Test func nineDescriptorsAreRefused() throws {
    var parser = MessageParser(expecting: .request)
    let attached = try descriptor()
    let error = #expect(throws: VhostUserError.self) {
      try parser.append([1], descriptors: [OwnedFD](repeating: attached, count: 9))
    }
    #expect(error?.code == .tooManyDescriptors)
  }

  /// Refused with the header's last byte: no payload is waited for, nothing is allocated for it.
  @Test(arguments: [
    u32(1, 1, 4097), u32(1, 1, .max), u32(1, 2, 0), u32(1, 0x11, 0), u32(1, 5, 0),
  ])
  func badHeader(bytes: [UInt8]) throws {
    var parser = MessageParser(expecting: .request)
    for byte in bytes.dropLast() { _ = try parser.append([byte]) }
    let error = #expect(throws: VhostUserError.self) { try parser.append([bytes[11]]) }
    #expect(error?.code == .malformed && error?.request == "GET_FEATURES (1)")
  }

  @Test func repliesForTheFrontEnd() throws {
    var parser = MessageParser(expecting: .reply)
    #expect(try parser.append(u32(1, 5, 0)) != nil)
    #expect(throws: VhostUserError.self) { try parser.append(u32(1, 1, 0)) }
  }

  @Test func randomStreams() throws {
    var random = SeededGenerator(seed: 1)
    var (delivered, refused) = (0, 0)
    for _ in 0..<20_000 {
      var parser = MessageParser(expecting: .request)
      let size = UInt32.random(in: 0...40, using: &random)
      var stream = u32(.random(in: 0...50, using: &random), 1, size) + [UInt8](repeating: 7, count: Int(size))
      stream += stream
      for _ in 0..<Int.random(in: 0...2, using: &random) {
        stream[Int.random(in: 0..<stream.count, using: &random)] = .random(in: 0...255, using: &random)
      }
      var rest = stream[...]
      do throws(VhostUserError) {
        while !rest.isEmpty {
          let piece = rest.prefix(Int.random(in: 1...parser.wanted, using: &random))
          rest = rest.dropFirst(piece.count)
          if let message = try parser.append(Array(piece)) {
            delivered += 1
            #expect(message.payload.count == message.header.size)
          }
        }
      } catch {
        #expect(error.code == .malformed)
        refused += 1
      }
    }
    #expect(delivered > 0 && refused > 0)
  }
}
