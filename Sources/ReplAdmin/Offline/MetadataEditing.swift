// The commands of drbdmeta that set one thing in a superblock: generations, the number of the device, a peer's slot (metadata
// spec 5.3).
import Control
import MetaDisk

extension OfflineMetadata {
  /// `set-gi`: fields as `get-gi` prints them; an empty one keeps its value, and the line may stop early. Cancelled is done, as in
  /// drbdmeta.
  func setGenerations(_ line: String, peerNode: Int, _ console: Console, force: Bool) throws(Refusal) {
    var superblock = try superblock()
    console.out("previously \(superblock.generationLine(peerNode: peerNode))\n")
    do throws(MetaFault) { try superblock.setGenerations(line: line, peerNode: peerNode) } catch {
      throw Refusal(
        withoutPeriod(error.text), next: "write the fields as get-gi prints them; an empty field keeps its value",
        exitCode: 10)
    }
    console.out("set GI to  \(superblock.generationLine(peerNode: peerNode))\n")
    guard console.confirm("Write new GI to disk?", forced: force) else {
      console.out("Operation canceled.\n")
      return
    }
    try write(superblock, at: placement(of: superblock))
  }

  /// `read-dev-uuid`: 16 hexadecimal digits.
  func deviceUUID() throws(Refusal) -> String {
    let digits = String(try superblock().deviceUUID, radix: 16, uppercase: true)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  /// `write-dev-uuid`: up to 16 hexadecimal digits, with or without 0x in front.
  func setDeviceUUID(_ text: String) throws(Refusal) {
    let digits = text.hasPrefix("0x") || text.hasPrefix("0X") ? String(text.dropFirst(2)) : text
    guard (1...16).contains(digits.utf8.count), digits.allSatisfy(\.isHexDigit), let value = UInt64(digits, radix: 16)
    else {
      throw Refusal("'\(text)' is no device uuid", next: "write up to 16 hexadecimal digits", exitCode: 10)
    }
    var superblock = try superblock()
    superblock.deviceUUID = value
    try write(superblock, at: placement(of: superblock))
  }

  /// `forget-peer`: the slot of a node is free for another one. Its bits stay as they are, as in drbdmeta.
  func forget(peerNode: Int) throws(Refusal) {
    var superblock = try superblock()
    guard superblock.format == .v09 else {
      throw Refusal(
        "v08 has one bitmap, and its peer has no node id to be forgotten by",
        next: "write new metadata with create-md, which brings a full resync", exitCode: 10)
    }
    superblock.forget(peerNode: peerNode)
    try write(superblock, at: placement(of: superblock))
  }
}
