// From a packet value to its code on the wire and its name in DRBD's sources, logs and manual.
import Base

extension Packet {
  /// Only resync parameters change their code with the version.
  public func code(version: UInt32) -> PacketCode {
    switch self {
    case .initialData: .initialData
    case .initialMeta: .initialMeta
    case .features: .features
    case .authChallenge: .authChallenge
    case .authResponse: .authResponse
    case .protocolOffer: .protocolOffer
    case .protocolUpdate: .protocolUpdate
    case .syncParameters: version >= 89 ? .syncParam89 : .syncParam
    case .sizes: .sizes
    case .uuids: .uuids
    case .state: .state
    case .syncUUID: .syncUUID
    case .stateChangeRequest: .stateChangeRequest
    case .stateChangeReply: .stateChangeReply
    case .connectionChangeRequest: .connectionChangeRequest
    case .connectionChangeReply: .connectionChangeReply
    case .data: .data
    case .trim: .trim
    case .zeroes: .zeroes
    case .writeSame: .writeSame
    case .barrier: .barrier
    case .barrierAck: .barrierAck
    case .unplugRemote: .unplugRemote
    case .outOfSync: .outOfSync
    case .dataRequest: .dataRequest
    case .dataReply: .dataReply
    case .resyncRequest: .resyncRequest
    case .resyncReply: .resyncReply
    case .thinRequest: .thinRequest
    case .deallocated: .deallocated
    case .checksumRequest: .checksumRequest
    case .verifyRequest: .verifyRequest
    case .verifyReply: .verifyReply
    case .bitmap: .bitmap
    case .compressedBitmap: .compressedBitmap
    case .receiveAck: .receiveAck
    case .writeAck: .writeAck
    case .resyncWriteAck: .resyncWriteAck
    case .superseded: .superseded
    case .negativeAck: .negativeAck
    case .negativeDataReply: .negativeDataReply
    case .negativeResyncReply: .negativeResyncReply
    case .verifyResult: .verifyResult
    case .inSync: .inSync
    case .resyncCancel: .resyncCancel
    case .retryWrite: .retryWrite
    case .ping: .ping
    case .pingAck: .pingAck
    case .skipped(let code): PacketCode(rawValue: code) ?? .delayProbe
    }
  }

  /// DRBD's word, such as "P_DATA".
  public var name: String { code(version: 101).row.name.description }
}
