// DRBD's numbers for a no, with DRBD's words and exit codes (admin spec 6.1 and 6.2a). Negative: a state change was refused.
// Scripts and the cluster agent know these numbers; 17 for "no UpToDate data" is the one code that must be right.

public enum RefusalNumber: Int32, Codable, Sendable, CaseIterable {
  case twoPrimaries = -1
  case noUpToDateDisk = -2
  case noLocalDisk = -4
  case noRemoteDisk = -5
  case connectedOutdates = -6
  case primaryNotOutdated = -7
  case resyncRunning = -8
  case alreadyStandAlone = -9
  case refusedByPeer = -10
  case deviceInUse = -12
  case noNetConfig = -13
  case noVerifyAlgorithm = -14
  case needsConnection = -15
  case lowerThanOutdated = -16
  case inTransientState = -18
  case concurrentStateChange = -19
  case timeout = -23
  case noQuorum = -25

  case localAddressInUse = 102
  case peerAddressInUse = 103
  case cannotOpenBackingDevice = 104
  case cannotOpenMetadataDevice = 105
  case noAuthenticationAlgorithm = 120
  case unknownAuthenticationAlgorithm = 121
  case diskTooSmall = 111
  case metadataDiskTooSmall = 112
  case backingDeviceClaimed = 114
  case metadataDeviceClaimed = 115
  case noValidMetadata = 119
  case diskConfigured = 124
  case netConfigured = 125
  case unknownMinor = 127
  case ioError = 118
  case noDisk = 138
  case dataNotCurrent = 150
  case unknownResource = 158
  case resourceInUse = 159
  case minorExists = 161
  case invalidRequest = 162
  case metadataUnclean = 165
  case implicitShrink = 170

  public var words: String {
    switch self {
    case .twoPrimaries: "Multiple primaries not allowed by config"
    case .noUpToDateDisk: "Need access to UpToDate data"
    case .noLocalDisk: "Can not resync without local disk"
    case .noRemoteDisk: "Can not resync without remote disk"
    case .connectedOutdates: "Refusing to be Outdated while Connected"
    case .primaryNotOutdated: "Refusing to be Primary while peer is not outdated"
    case .resyncRunning: "Can not start OV/resync since it is already active"
    case .alreadyStandAlone: "Can not disconnect a StandAlone device"
    case .refusedByPeer: "State change was refused by peer node"
    case .deviceInUse: "Device is held open by someone"
    case .noNetConfig: "Have no net/connection configuration"
    case .noVerifyAlgorithm: "Need a verify algorithm to start online verify"
    case .needsConnection: "Need a connection to start verify or resync"
    case .lowerThanOutdated: "Disk state is lower than outdated"
    case .inTransientState: "In transient state, retry after next state change"
    case .concurrentStateChange: "Concurrent state changes detected and aborted"
    case .timeout: "Timeout in operation"
    case .noQuorum: "No quorum"
    case .localAddressInUse: "Local address(port) already in use"
    case .peerAddressInUse: "Remote address(port) already in use"
    case .cannotOpenBackingDevice: "Can not open backing device"
    case .cannotOpenMetadataDevice: "Can not open meta device"
    case .diskTooSmall: "Low.dev. smaller than requested DRBD-dev. size"
    case .metadataDiskTooSmall: "Meta device too small"
    case .backingDeviceClaimed: "Lower device is already claimed. This usually means it is mounted"
    case .metadataDeviceClaimed: "Meta device is already claimed. This usually means it is mounted"
    case .ioError: "IO error(s) occurred during initial access to meta-data"
    case .noValidMetadata: "No valid meta-data signature found"
    case .noAuthenticationAlgorithm: "An HMAC algorithm is needed to use a shared secret"
    case .unknownAuthenticationAlgorithm: "The given HMAC digest is not known"
    case .diskConfigured: "Device is attached to a disk (use detach first)"
    case .netConfigured: "Device has a net-config (use disconnect first)"
    case .unknownMinor: "Device minor not allocated"
    case .noDisk: "Device does not have a disk-config"
    case .dataNotCurrent: "Can only attach to the data we lost last (see kernel log)"
    case .unknownResource: "Unknown resource"
    case .resourceInUse: "Resource still in use (delete all minors first)"
    case .minorExists: "Minor or volume exists already (delete it first)"
    case .invalidRequest: "Invalid configuration request"
    case .metadataUnclean: "Unclean meta-data found"
    case .implicitShrink: "Implicit device shrinking not allowed"
    }
  }

  /// The exit code of the low-level command, which `repladm` passes up.
  public var exitCode: UInt8 {
    switch self {
    case .noUpToDateDisk: 17
    case .lowerThanOutdated: 5
    case .noLocalDisk: 16
    case _ where rawValue < 0: 11
    default: 10
    }
  }
}
