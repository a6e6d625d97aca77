import Testing
import VDPA

@testable import Datapath

struct WorkerConfigurationTests {
  @Test("One event-driven worker, not pinned, unless said otherwise")
  func defaults() throws {
    #expect(WorkerConfiguration() == WorkerConfiguration(mode: .event, cpus: []))
    try WorkerConfiguration().validate()
    try WorkerConfiguration(mode: .poll, cpus: PinnedThread.allowedCPUs).validate()
  }

  @Test(
    "A CPU that the process may not use is refused, with those that it may", arguments: [-1, 4095, Int.max, Int.min])
  func foreign(cpu: Int) throws {
    let first = try #require(PinnedThread.allowedCPUs.first)
    let configuration = WorkerConfiguration(cpus: [first, cpu])
    let error = try #require(throws: DatapathError.self) { try SoftwareEngine(workers: configuration) }
    #expect(error.code == .badConfiguration)
    #expect(error.description.contains("CPU \(cpu) "))
    #expect(error.description.contains(PinnedThread.allowedCPUs.map(String.init).joined(separator: ", ")))
  }

  @Test("A CPU named twice is refused")
  func twice() throws {
    let first = try #require(PinnedThread.allowedCPUs.first)
    let error = try #require(throws: DatapathError.self) { try WorkerConfiguration(cpus: [first, first]).validate() }
    #expect(error.code == .badConfiguration)
    #expect(error.description.contains("twice"))
  }

  @Test("Workers start and end, paused ones too", arguments: WorkerConfiguration.Mode.allCases)
  func life(mode: WorkerConfiguration.Mode) throws {
    let engine = try SoftwareEngine(workers: WorkerConfiguration(mode: mode, cpus: PinnedThread.allowedCPUs))
    engine.pause()
    engine.pause()
    engine.resume()
    engine.pause()
    engine.stop()
  }
}
