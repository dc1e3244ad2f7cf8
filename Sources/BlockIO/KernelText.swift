// Small text files and directories of /proc and /sys, read whole. Only for start-up and for finding out whom to name in
// a refusal: nothing here may run in a turn.

import CURing
import Glibc

enum KernelText {
  /// The file's contents, at most 16 MiB; nil when it cannot be read.
  static func read(_ path: String) -> String? {
    let descriptor = cu_open(path, O_RDONLY | O_CLOEXEC, 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while bytes.count < 16 << 20 {
      let got = Glibc.read(descriptor, &chunk, chunk.count)
      if got < 0 && errno == EINTR { continue }
      guard got > 0 else { break }
      bytes.append(contentsOf: chunk[0..<got])
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The first line without its end.
  static func line(_ path: String) -> String? {
    read(path).map { String($0.prefix { $0 != "\n" }) }
  }

  /// The names in a directory, sorted; empty when it cannot be read.
  static func names(in path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// The processes that exist now.
  static func processes() -> [Int32] { names(in: "/proc").compactMap { Int32($0) } }

  /// A process as people know it: "fio (pid 4711)".
  static func describe(process: Int32) -> String {
    let name = line("/proc/\(process)/comm") ?? "a process"
    return process == getpid() ? "\(name) (pid \(process), this very process)" : "\(name) (pid \(process))"
  }
}

/// Where a symbolic link leads, as it is written; nil: it is none, or cannot be read.
public func linkTarget(_ path: String) -> String? {
  var bytes = [CChar](repeating: 0, count: 4096)
  let length = readlink(path, &bytes, bytes.count)
  return length >= 0 ? String(decoding: bytes[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self) : nil
}
