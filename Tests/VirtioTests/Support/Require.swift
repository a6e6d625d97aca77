/// What a test found that is not as it has to be.
struct Unmet: Error, CustomStringConvertible {
  let description: String
}

/// A requirement that costs nothing while it holds: there are millions of them. The first one that does not hold ends
/// the test.
func require(
  _ holds: Bool, _ label: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line
) throws {
  if !holds { throw Unmet(description: "\(file):\(line): \(label())") }
}

/// All of memory has to be as the model says.
func requireSame(
  _ memory: TestMemory, _ image: GuestBytes, _ label: @autoclosure () -> String, file: StaticString = #fileID,
  line: UInt = #line
) throws {
  if memory.bytes.isSame(as: image) { return }
  let places = memory.differences(from: image).prefix(16).map { offset in
    "\(image.place(offset)) is \(memory.bytes[offset]), not \(image[offset])"
  }
  throw Unmet(description: "\(file):\(line): \(label()): \(places.joined(separator: "; "))")
}
