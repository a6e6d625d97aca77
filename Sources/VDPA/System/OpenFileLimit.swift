internal import Glibc

/// How many files this process may have open (RLIMIT_NOFILE, getrlimit(2)).
public enum OpenFileLimit {
  /// Raises the limit as far as the process may by itself, to the hard limit. A connection needs up to nine descriptors, and
  /// three more for each further ring; the customary 1,024 are for programs that use select(2).
  ///
  /// - Returns: The limit from now on, in descriptors.
  @discardableResult
  public static func raise() -> Int {
    var limit = rlimit()
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    guard unsafe getrlimit(resource, &limit) == 0 else { return 0 }
    var raised = limit
    raised.rlim_cur = limit.rlim_max
    let isRaised = unsafe setrlimit(resource, &raised) == 0
    return Int(clamping: isRaised ? raised.rlim_cur : limit.rlim_cur)
  }
}
