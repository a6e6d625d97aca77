/// A client of a worker with its number there.
final class ServedClient: Sendable {
  /// Never used twice by a worker, so that an event of a descriptor that is no longer watched is told apart from those of
  /// the next client.
  let id: UInt64
  let client: any WorkerClient
  let load: ClientLoad

  init(id: UInt64, client: any WorkerClient) {
    self.id = id
    self.client = client
    load = client.home?.load ?? ClientLoad()
  }
}
