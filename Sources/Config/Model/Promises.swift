// Promises of a file that this product does not keep yet, and options without effect. The first kind makes `up` refuse
// (admin spec 9): nothing that changes a promise is dropped in silence. Values are judged by the rows of the table.

struct Promises {
  private(set) var refusals: [ConfigurationError] = []
  private(set) var notices: [ConfigurationNotice] = []
  private var seen: Set<String> = []

  /// Judges settings after inheritance: what a more specific place took back does not count.
  mutating func judge(_ options: EffectiveOptions) {
    for setting in options.all { judge(setting) }
  }

  private mutating func judge(_ setting: OptionSetting) {
    guard seen.insert("\(setting.name) \(setting.position)").inserted else { return }
    switch setting.definition.effect {
    case .honoured: break
    case .noEffect, .partial:
      if let notice = setting.notice { notices.append(notice) }
    case .promise(let kept, let why):
      guard !kept.contains(setting.text) else { return }
      let fallback = kept.first { !$0.isEmpty }
      refuse(
        "'\(setting.name) \(Words.shown(setting.text))' is not honoured: \(why)", at: setting.position,
        fallback.map { "Set '\(setting.name) \($0)', or remove the line, to go on without it" }
          ?? "Remove the line to go on without it")
    }
  }

  mutating func judge(proxy: ProxySection?) {
    guard let proxy else { return }
    refuse(
      "a proxy is not honoured: there is no proxy for this product", at: proxy.position,
      "Remove the proxy sections; for a slow link see on-congestion in the net section")
  }

  mutating func judge(_ address: HostAddress, at position: SourcePosition) {
    guard !address.family.isImplemented else { return }
    refuse(
      "addresses of family '\(address.family.rawValue)' are not honoured: only ipv4 and ipv6 are", at: position,
      "Write the address of an IPv4 or IPv6 interface")
  }

  mutating func judge(peers: [HostedPeer], of resource: ResourceDefinition) {
    if peers.count > 1 {
      refuse(
        "resource '\(resource.name)' has \(peers.count) peers, and one is what can be replicated to today",
        at: resource.position, "Reduce it to two hosts")
    }
    for peer in peers where peer.paths.count > 1 {
      notices.append(
        ConfigurationNotice(at: resource.position, "several paths to '\(peer.name)': only the first is used"))
    }
    for peer in peers where peer.net.sharedSecret != nil && peer.net.cramHmacAlg == nil {
      notices.append(
        ConfigurationNotice(
          at: resource.position,
          "there is a shared-secret and no cram-hmac-alg: '\(peer.name)' will not be authenticated"))
    }
  }

  mutating func refuse(_ message: String, at position: SourcePosition, _ advice: String) {
    guard seen.insert(message).inserted else { return }
    refusals.append(ConfigurationError(.notHonoured, at: position, message, advice: advice))
  }
}

extension OptionSetting {
  /// What to report of an option, or of this value of it, that is accepted and changes nothing.
  var notice: ConfigurationNotice? {
    switch definition.effect {
    case .noEffect(let why):
      ConfigurationNotice(at: position, "\(name): accepted, no effect here: \(why)")
    case .partial(let kept, let why) where !kept.contains(text):
      ConfigurationNotice(at: position, "\(name): '\(Words.shown(text))' is accepted, no effect here: \(why)")
    default: nil
    }
  }
}
