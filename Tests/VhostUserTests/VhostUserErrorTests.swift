import SystemPackage
import Testing
import VhostUser

struct VhostUserErrorTests {
  @Test func descriptionNamesObjectsCauseAndAdvice() {
    let error = VhostUserError(.badMemory, "the region cannot be mapped", errno: .noMemory)
      .with(socket: "vm0.sock").with(request: "ADD_MEM_REG (37)").with(ring: 3)
    #expect(
      error.description
        == "vm0.sock: ADD_MEM_REG (37), vring 3: the region cannot be mapped (\(Errno.noMemory)); "
        + "the front-end needs shared memory (share=on)")
    #expect(VhostUserError(.stopped, "the socket was removed").description == "the socket was removed")
  }

  /// Who is nearest to the cause knows best.
  @Test func firstContextStays() {
    let error = VhostUserError(.malformed, "x").with(ring: 1).with(ring: 2).with(request: "a").with(request: "b")
    #expect(error.ring == 1 && error.request == "a")
  }
}
