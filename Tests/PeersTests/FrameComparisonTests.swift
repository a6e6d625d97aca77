import Testing

@testable import Peers

struct FrameComparisonTests {
  static let sent = Array(NumberedFrames(count: 50, seed: 4))

  @Test("Equal is equal, of none as well")
  func equal() {
    let comparison = FrameComparison(sent: Self.sent, returned: Self.sent)
    #expect(comparison.isEqual)
    #expect(comparison.description == "50 sent, 50 returned, equal")
    #expect(FrameComparison(sent: [], returned: []).isEqual)
  }

  @Test("Every single changed byte is found, and where")
  func everyByte() {
    let frame = Self.sent[0]
    for place in frame.indices {
      var changed = frame
      changed[place] ^= 0x10
      let comparison = FrameComparison(sent: [frame], returned: [changed])
      #expect(comparison.firstDifference == 0)
      // A changed number reads as another frame.
      let text = (16..<20).contains(place) ? "stands in the place" : place < 14 ? "" : "from byte \(place) on"
      #expect(comparison.description.contains(text) || text.isEmpty)
    }
  }

  @Test("A swap, a loss, a repetition and a cut frame are found at their place")
  func kinds() {
    var swapped = Self.sent
    swapped.swapAt(10, 11)
    var lost = Self.sent
    lost.remove(at: 20)
    var repeated = Self.sent
    repeated.insert(repeated[30], at: 30)
    var cut = Self.sent
    cut[40].removeLast()
    for (returned, place) in [(swapped, 10), (lost, 20), (repeated, 31), (cut, 40), (Self.sent.dropLast(), 49)] {
      let comparison = FrameComparison(sent: Self.sent, returned: returned)
      #expect(comparison.firstDifference == place)
      #expect(comparison.description.contains("frame"))
    }
    #expect(FrameComparison(sent: [], returned: Self.sent).firstDifference == 0)
  }
}
