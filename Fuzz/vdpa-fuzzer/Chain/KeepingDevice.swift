internal import Virtio

@testable internal import Datapath

/// A device that keeps the chains it is given until it is told what to do with them.
final class KeepingDevice: ChainDevice, @unchecked Sendable {
  // Everything here is done by libFuzzer's thread.
  private var kept: [KeptChain] = []
  private var buffers: WritableBuffers?

  let type = DeviceType.entropy

  func process(_ chain: consuming Chain, queue: Int) { kept.append(KeptChain(chain, buffers)) }

  func begin(_ input: FuzzInput) {}

  func willServe(_ buffers: WritableBuffers?) { self.buffers = buffers }

  // Nothing is written but in steps.
  func served(in memory: FuzzMemory) {}

  func step(_ r: Record, in memory: FuzzMemory?) {
    guard !kept.isEmpty else { return }
    let index = Int(r.a) % kept.count
    let chain = kept[index]
    let offset = Int(Int16(bitPattern: r.e))
    switch r.b & 7 {
    case 0, 1: chain.read(at: offset, count: Int(r.length))
    case 2, 3: chain.write(at: offset, count: Int(r.length))
    case 4: chain.touchPieces(at: offset, count: Int(r.length), isWritable: false)
    case 5: chain.touchPieces(at: offset, count: Int(r.length), isWritable: true)
    default: kept.remove(at: index).finish(written: offset)
    }
    guard let memory else { return }
    if let buffers = chain.buffers { buffers.allow(in: memory) } else { memory.allowAll() }
  }

  func finish() {
    for chain in kept { chain.finish(written: 0) }
    kept = []
  }
}
