// What the daemon was started with and what the configuration said then: the file, the node, the view of this host, and the
// secret that the engine never sees.
import BlockIO
import Config
import Control

struct Setup: Sendable {
  /// `-c FILE`; nil: the first that exists of the usual places.
  var configPath: String?
  var host: String
  var files: RunFiles
  /// Path of the file that was read, for handlers.
  var mainFile: String
  var hosted: HostedResource
  var globals: GlobalOptions
  var sizeRecords: SizeRecords
  /// Options changed since at run time.
  var overrides: [OptionOverride] = []

  /// Reads the configuration for `resource` on this host.
  static func read(
    resource: String, configPath: String?, host: String, overrides: [OptionOverride] = []
  ) throws(ConfigurationError) -> (
    mainFile: String, hosted: HostedResource, globals: GlobalOptions, notices: [ConfigurationNotice]
  ) {
    let source = FileSource()
    var configuration =
      if let configPath {
        try Configuration.load(configPath, from: source)
      } else {
        try Configuration.loadFirst(from: source)
      }
    configuration.overrides = overrides
    let hosted: HostedResource
    do throws(ConfigurationError) {
      hosted = try configuration.resource(named: resource, onHost: host, ownAddresses: nil)
    } catch {
      // A floating host is found by its addresses.
      guard error.kind == .unknownObject else { throw error }
      hosted = try configuration.resource(named: resource, onHost: host, ownAddresses: HostAddresses.own())
    }
    return (configuration.mainFile, hosted, configuration.globals, hosted.notices)
  }

  /// HMAC of the message with the shared secret; empty when the algorithm is not known.
  func sign(_ message: [UInt8], _ algorithm: String) -> [UInt8] {
    let secret = hosted.peers.first?.net.sharedSecret ?? ""
    guard let known = DigestAlgorithm(rawValue: algorithm), known.isCryptographic else { return [] }
    do throws(DigestForbidden) {
      return try Digest.keyed(known, key: Array(secret.utf8), message: message)
    } catch {
      return []
    }
  }
}
