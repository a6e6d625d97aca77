import Testing
import VhostUser

struct FrontendRequestTests {
  /// Every number of the specification has a name of its own, so that a refused request can be named.
  @Test func everyNumberHasAName() {
    #expect(FrontendRequest.allCases.map(\.rawValue) == Array(1...45))
    #expect(Set(FrontendRequest.allCases.map(\.description)).count == 45)
  }

  @Test(
    arguments: [
      (1, "GET_FEATURES (1)"), (5, "SET_MEM_TABLE (5)"), (11, "GET_VRING_BASE (11)"), (12, "SET_VRING_KICK (12)"),
      (18, "SET_VRING_ENABLE (18)"), (20, "NET_SET_MTU (20)"), (24, "GET_CONFIG (24)"), (31, "GET_INFLIGHT_FD (31)"),
      (37, "ADD_MEM_REG (37)"), (40, "GET_STATUS (40)"), (45, "GET_VRING_BASE_SKIP_DRAIN (45)"), (0, "request 0"),
      (46, "request 46"),
    ] as [(UInt32, String)])
  func names(number: UInt32, name: String) {
    #expect(FrontendRequest.name(of: number) == name)
  }
}
