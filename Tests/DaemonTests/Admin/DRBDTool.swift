// DRBD's own tools as judges: run without a terminal, their standard output caught.
import Foundation

enum DRBDTool {
  static let drbdadm = "/usr/sbin/drbdadm"
  static let drbdmeta = "/usr/sbin/drbdmeta"

  static func isInstalled(_ path: String) -> Bool { FileManager.default.isExecutableFile(atPath: path) }

  /// `environment` nil: that of this process.
  static func run(
    _ path: String, _ arguments: [String], environment: [String: String]? = nil
  ) throws -> (code: Int32, out: String) {
    let process = Process()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    if let environment { process.environment = environment }
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }
}
