internal import Glibc

/// Tells threads apart.
package enum ThreadIdentity {
  /// A number that no other living thread has.
  package static var current: UInt { UInt(pthread_self()) }
}
