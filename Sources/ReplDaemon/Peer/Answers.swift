// Which packets are answers: sent because the peer has sent something, kept in no table until they have left, and so bounded by
// nothing but the reading of that peer's packets. All others belong to requests, tables and windows of this node.
import Protocol

extension Packet {
  var isAnswer: Bool {
    switch self {
    case .pingAck, .stateChangeReply, .connectionChangeReply, .barrierAck: true
    case .receiveAck, .writeAck, .resyncWriteAck, .superseded, .negativeAck, .negativeDataReply, .negativeResyncReply,
      .verifyResult, .inSync, .resyncCancel, .retryWrite:
      true
    case .verifyReply, .deallocated: true
    case .state, .uuids, .sizes, .syncUUID, .bitmap, .compressedBitmap: true
    default: false
    }
  }
}
