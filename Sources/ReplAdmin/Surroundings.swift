// What the program was born into: its name, its environment, its user, the host. Read once, handed down; tests make their
// own.
import Control
import FoundationEssentials
import Glibc

public struct Surroundings {
  /// The last component of `argv[0]`: it chooses the personality.
  public var programName: String
  public var environment: [String: String]
  public var isRoot: Bool
  /// `uname -n`, which the configuration calls this host unless `--node` or `__DRBD_NODE__` says otherwise.
  public var hostName: String
  /// Where this program lies; `repld` is looked for beside it.
  public var programDirectory: String
  /// `argv[0]` as it was given; nil: not known.
  public var calledAs: String?

  public init(
    programName: String, environment: [String: String], isRoot: Bool, hostName: String, programDirectory: String
  ) {
    self.programName = programName
    self.environment = environment
    self.isRoot = isRoot
    self.hostName = hostName
    self.programDirectory = programDirectory
  }

  public static func ofThisProcess(_ argv0: String) -> Surroundings {
    var names = utsname()
    uname(&names)
    let host = withUnsafeBytes(of: &names.nodename) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    let executable = symbolicLinkTarget("/proc/self/exe") ?? argv0
    var surroundings = Surroundings(
      programName: lastComponent(argv0), environment: ProcessInfo.processInfo.environment, isRoot: geteuid() == 0,
      hostName: host, programDirectory: parent(executable))
    surroundings.calledAs = argv0
    return surroundings
  }

  /// A path of `repladm` that stays when another version is installed: the one that it was called by, else the one that the
  /// search path leads to, else its own file. Nil: not known.
  var lastingPath: String? {
    guard let file = symbolicLinkTarget("/proc/self/exe") else { return nil }
    let named = calledAs.flatMap { $0.contains("/") ? ConfigurationPlace.absolute($0) : nil }
    let candidates = [named, tools.find("repladm")].compactMap { $0 }
    return candidates.first { lastComponent($0) == "repladm" && isSameFile($0, file) } ?? file
  }

  public var runFiles: RunFiles {
    RunFiles(directory: environment[RunFiles.environmentKey] ?? RunFiles.defaultDirectory)
  }

  var tools: Tools { Tools(environment: environment) }

  /// The daemon's program: `REPLD`, else beside this program, else in the search path.
  var daemonProgram: String? {
    if let given = environment["REPLD"] { return given }
    let beside = programDirectory + "/repld"
    return access(beside, X_OK) == 0 ? beside : tools.find("repld")
  }
}

extension Surroundings {
  /// The program that serves block devices: `REPL_DEVICE`, else beside this program, else where the packages have it.
  var deviceProgram: String? {
    if let given = environment["REPL_DEVICE"] { return given }
    return [programDirectory + "/repl-device", "/usr/lib/repl/repl-device"].first { access($0, X_OK) == 0 }
  }
}

func lastComponent(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

func parent(_ path: String) -> String {
  guard let slash = path.lastIndex(of: "/") else { return "." }
  return slash == path.startIndex ? "/" : String(path[..<slash])
}

func symbolicLinkTarget(_ path: String) -> String? {
  var buffer = [CChar](repeating: 0, count: 4096)
  let length = readlink(path, &buffer, buffer.count)
  return length >= 0 ? String(decoding: buffer[0..<length].map(UInt8.init(bitPattern:)), as: UTF8.self) : nil
}

/// The first line of a small file such as /sys has.
func smallFile(_ path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes = [UInt8](repeating: 0, count: 4096)
  let got = read(descriptor, &bytes, bytes.count)
  return got > 0 ? String(decoding: bytes[0..<got].prefix { $0 != 10 }, as: UTF8.self) : nil
}

/// A whole file, also one of /proc, which has no size and gives a part at each read; nil when it cannot be read.
func wholeFile(_ path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 64 << 10)
  while true {
    let got = read(descriptor, &chunk, chunk.count)
    if got > 0 {
      bytes += chunk[0..<got]
    } else if got == 0 {
      return String(decoding: bytes, as: UTF8.self)
    } else if errno != EINTR {
      return nil
    }
  }
}

/// Whether two paths lead to one file.
func isSameFile(_ first: String, _ second: String) -> Bool {
  var one = stat()
  var other = stat()
  guard stat(first, &one) == 0, stat(second, &other) == 0 else { return first == second }
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino
}

/// The names in a directory; none when it cannot be read.
func directoryEntries(_ path: String) -> [String] {
  guard let stream = opendir(path) else { return [] }
  defer { closedir(stream) }
  var names: [String] = []
  while let entry = readdir(stream) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    if name != ".", name != ".." { names.append(name) }
  }
  return names
}
