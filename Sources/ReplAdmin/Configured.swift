// The configuration as a command meets it: found, read, resolved for this host. Read at most once per run.
import Base
import Config
import Control
import FoundationEssentials
import Glibc

/// Files of the real file system for the pure parser.
struct FileSource: ConfigurationSource {
  func read(_ path: String) throws(ConfigurationSourceFault) -> String {
    var status = stat()
    guard stat(path, &status) == 0 else { throw ConfigurationSourceFault(reason: systemWords(errno)) }
    guard status.st_mode & S_IFMT != S_IFDIR else { throw ConfigurationSourceFault(reason: systemWords(EISDIR)) }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw ConfigurationSourceFault(reason: systemWords(errno)) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while bytes.count <= 64 << 20 {
      let got = Glibc.read(descriptor, &chunk, chunk.count)
      if got == 0 { break }
      guard got > 0 else {
        if errno == EINTR { continue }
        throw ConfigurationSourceFault(reason: systemWords(errno))
      }
      bytes += chunk[0..<got]
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  func glob(_ pattern: String, relativeTo directory: String) -> [String] {
    let full = pattern.hasPrefix("/") || directory.isEmpty ? pattern : "\(directory)/\(pattern)"
    var found = glob_t()
    defer { globfree(&found) }
    guard Glibc.glob(full, 0, nil, &found) == 0 else { return [] }
    return (0..<Int(found.gl_pathc)).compactMap { found.gl_pathv[$0].map { String(cString: $0) } }
  }
}

/// Where the configuration is looked for (admin spec 2.1).
enum ConfigurationPlace {
  static let standard = [
    "/etc/repl.conf", "/etc/drbd-90.conf", "/etc/drbd-84.conf", "/etc/drbd-83.conf", "/etc/drbd-82.conf",
    "/etc/drbd-08.conf", "/etc/drbd.conf",
  ]

  static func find(option: String?, environment: [String: String]) -> String {
    if let option { return option }
    if let named = environment["REPL_CONFIG"], !named.isEmpty { return named }
    return standard.first { access($0, F_OK) == 0 } ?? "/etc/repl.conf"
  }

  /// The daemon is started elsewhere: it is given the whole path.
  static func absolute(_ path: String) -> String {
    path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
  }
}
