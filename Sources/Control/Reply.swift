// What `repld` answers on the control socket: zero or more `progress` lines, then exactly one line that is final.
import Base

public enum Reply: Codable, Equatable, Sendable {
  case done
  case refused(Refusal)
  case status(StatusSnapshot)
  /// The 4096 bytes of a metadata superblock.
  case superblock([UInt8])
  case text(String)
  /// Not final: how things stand while a waiting command waits.
  case progress(StatusSnapshot)
  /// Not final: a handler was called or has answered.
  case helper(HelperEvent)

  public var isFinal: Bool {
    switch self {
    case .progress, .helper: false
    default: true
    }
  }
}

/// What both ends of the control socket hold each other to.
public enum ControlLine {
  /// A longer line is refused and costs the connection.
  public static let bytesMax = 1 << 20
  /// Ends every request and every reply. JSON text contains none.
  public static let end = UInt8(ascii: "\n")
}
