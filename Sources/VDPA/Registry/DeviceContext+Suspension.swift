extension DeviceContext {
  /// Lets the device stand still (``Suspension/suspend()``); an error where it cannot.
  ///
  /// - Parameter completion: Called with where its vrings stand.
  public func suspend(completion: @escaping Completion<[VringState]>) {
    perform("suspend") { held in
      try held.suspension.suspend()
    } completion: {
      completion($0)
    }
  }

  /// Lets the device go on (``Suspension/resume()``); an error where it cannot.
  public func resume(completion: @escaping Completion<Void>) {
    perform("resume") { held in
      try held.suspension.resume()
    } completion: {
      completion($0)
    }
  }
}

extension DeviceContext.Held {
  fileprivate var suspension: any Suspension {
    get throws {
      guard let suspension = capabilities.suspension else {
        throw VDPAError(.notOffered, "the device cannot be suspended")
      }
      try checkNotStuck()
      return suspension
    }
  }
}
