// Best means where the kernel has it: the nbd module, connected to the export's unix socket by nbd-client.
import Base
import Control
import Glibc

struct KernelNBD {
  let resource: String
  let volume: VolumeNumber
  let surroundings: Surroundings

  /// Nil when it can be tried, else what is missing.
  var missing: String? {
    if surroundings.tools.find("nbd-client") == nil { return "nbd-client is not installed (Debian package nbd-client)" }
    if access("/sys/module/nbd", F_OK) == 0 { return nil }
    guard surroundings.tools.run("modprobe", ["nbd"]).ok, access("/sys/module/nbd", F_OK) == 0 else {
      return "the kernel has no nbd module"
    }
    return nil
  }

  func attach(node: String, record: inout DeviceRecord, recordPath: String) throws(DeviceFault) {
    for minor in UInt32(0)..<256 {
      guard let number = free("nbd\(minor)") else { continue }
      record.major = number.major
      record.minor = number.minor
      try record.write(to: recordPath)
      try BlockNode.make(node, number)
      // 30 s without an answer give the application an error instead of a process that cannot be killed.
      let result = surroundings.tools.run(
        "nbd-client",
        ["-unix", surroundings.runFiles.exportSocket(resource, volume), node, "-persist", "-timeout", "30"])
      guard result.ok else { throw .cannot("connect \(node) with nbd-client", result.lastLine) }
      let connected = Deadline(after: 5).wait { access("/sys/block/nbd\(minor)/pid", F_OK) == 0 }
      guard connected else {
        throw .cannot("connect \(node) with nbd-client", "the kernel did not take it over in 5 s")
      }
      return
    }
    throw .cannot("find a free nbd device", "all of them are connected; load the module with a larger nbds_max")
  }

  static func detach(_ record: DeviceRecord, node: String, tools: Tools) -> Bool {
    guard let minor = record.minor, access("/sys/block/nbd\(minor)/pid", F_OK) == 0 else { return true }
    return tools.run("nbd-client", ["-d", node]).ok
  }

  /// The numbers of a device that is not connected; nil when it is, or does not exist.
  private func free(_ name: String) -> BlockNumber? {
    guard access("/sys/block/\(name)/pid", F_OK) != 0, let text = smallFile("/sys/block/\(name)/dev") else {
      return nil
    }
    let parts = text.split(separator: ":").compactMap { UInt32($0) }
    return parts.count == 2 ? BlockNumber(major: parts[0], minor: parts[1]) : nil
  }
}
