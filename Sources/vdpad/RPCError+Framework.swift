import Control
import Datapath
import VDPA
import VhostUser

extension RPCError {
  /// An error of the framework as the control protocol tells it: its code and its words.
  static func of(_ error: any Error) -> RPCError {
    switch error {
    case let error as RPCError: error
    case let error as VDPAError: .application(error.code.rawValue, "\(error)")
    case let error as VhostUserError: .application("\(error.code)", "\(error)")
    case let error as DatapathError: .application(error.code.rawValue, "\(error)")
    default: .internalError("\(error)")
    }
  }
}
