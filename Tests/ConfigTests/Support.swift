// Files on disk for the parser, and short ways to a parsed configuration.
import Config
import Foundation
import Testing

enum Fixtures {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(
    path: "Fixtures")

  /// Files below a folder whose name ends in `suffix`, sorted.
  static func files(in folder: String, suffix: String) -> [URL] {
    guard let names = FileManager.default.subpaths(atPath: root.appending(path: folder).path) else { return [] }
    return names.filter { $0.hasSuffix(suffix) }.sorted().map { root.appending(path: folder).appending(path: $0) }
  }
}

struct DiskSource: ConfigurationSource {
  func read(_ path: String) throws(ConfigurationSourceFault) -> String {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ConfigurationSourceFault(reason: "No such file or directory")
    }
    return String(decoding: data, as: UTF8.self)
  }

  func glob(_ pattern: String, relativeTo directory: String) -> [String] {
    var result = glob_t()
    defer { globfree(&result) }
    let path = pattern.hasPrefix("/") ? pattern : directory + "/" + pattern
    guard Glibc.glob(path, 0, nil, &result) == 0 else { return [] }
    return (0..<Int(result.gl_pathc)).compactMap { result.gl_pathv[$0].map { String(cString: $0) } }
  }
}

/// Parses text as the file `t.res`.
func load(_ text: String, _ others: [String: String] = [:]) throws -> Configuration {
  try Configuration.load("t.res", from: InMemorySource(others.merging(["t.res": text]) { $1 }))
}

/// The error that parsing ends in.
func loadError(_ text: String, _ others: [String: String] = [:]) -> ConfigurationError? {
  do throws(ConfigurationError) {
    _ = try Configuration.load("t.res", from: InMemorySource(others.merging(["t.res": text]) { $1 }))
    return nil
  } catch { return error }
}

/// A resource of two hosts with `extra` in it, as `alpha` sees it.
func alpha(_ extra: String, common: String = "", onHost host: String = "alpha") throws -> HostedResource {
  let configuration = try load(
    """
    \(common.isEmpty ? "" : "common { \(common) }")
    resource r0 {
      device /dev/drbd0; disk /dev/vda; meta-disk internal;
      on alpha { address 10.77.0.1:7789; }
      on beta { address 10.77.0.2:7789; }
      \(extra)
    }
    """)
  return try configuration.resource(named: "r0", onHost: host, ownAddresses: nil)
}

/// The value, or nil when the configuration is refused: for tests about something else.
func attempt<Value>(_ body: () throws -> Value) -> Value? {
  do { return try body() } catch { return nil }
}
