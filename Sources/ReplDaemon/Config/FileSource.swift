// Configuration text from files, for the parser that opens none itself. Only at start-up and for `adjust`.
import Config
import Glibc

struct FileSource: ConfigurationSource {
  private static let longest = 16 << 20

  func read(_ path: String) throws(ConfigurationSourceFault) -> String {
    guard let file = fopen(path, "re") else { throw ConfigurationSourceFault(reason: FileSource.reason(errno)) }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let got = fread(&chunk, 1, chunk.count, file)
      if got == 0 { break }
      bytes.append(contentsOf: chunk[0..<got])
      guard bytes.count <= FileSource.longest else {
        throw ConfigurationSourceFault(reason: "longer than 16 MiB, which no configuration is")
      }
    }
    guard ferror(file) == 0 else { throw ConfigurationSourceFault(reason: FileSource.reason(errno)) }
    return String(decoding: bytes, as: UTF8.self)
  }

  func glob(_ pattern: String, relativeTo directory: String) -> [String] {
    let full = pattern.hasPrefix("/") || directory.isEmpty ? pattern : "\(directory)/\(pattern)"
    var found = glob_t()
    defer { globfree(&found) }
    guard Glibc.glob(full, 0, nil, &found) == 0 else { return [] }
    return (0..<Int(found.gl_pathc)).compactMap { index in found.gl_pathv[index].map { String(cString: $0) } }
  }

  private static func reason(_ code: Int32) -> String {
    strerror(code).map { String(cString: $0) } ?? "error \(code)"
  }
}
