import Glibc
import Testing
import VDPA

struct OpenFileLimitTests {
  @Test("It is as high as the process may make it, and says how high that is")
  func raises() {
    let allowed = OpenFileLimit.raise()
    var limit = rlimit()
    let result = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    #expect(result == 0)
    #expect(limit.rlim_cur == limit.rlim_max)
    #expect(allowed == Int(clamping: limit.rlim_cur))
  }
}
