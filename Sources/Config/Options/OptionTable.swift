// Every option of the configuration language, one row each (admin spec 3). To honour an option that is refused or
// ignored today, change the last column of its row and read it in Model/.

public enum OptionTable {
  public static let rows: [OptionDefinition] =
    disk + peerDevice + net + resource + startup + handlers + global

  // MARK: disk { }, per volume

  static let disk: [OptionDefinition] = [
    row(.disk, "on-io-error", .choice(["pass_on", "call-local-io-error", "detach"]), "detach", .t1),
    row(.disk, "size", .number(0...2_199_023_255_552, .sectors), "0", .t1),
    row(.disk, "disk-barrier", .boolean, "no", .t3, .noEffect("write order is kept by flushes")),
    row(.disk, "disk-flushes", .boolean, "yes", .t1, .partial(kept: ["yes"], "the disk is always flushed")),
    row(.disk, "disk-drain", .boolean, "yes", .t1, .noEffect("write order is kept by flushes")),
    row(.disk, "md-flushes", .boolean, "yes", .t1, .partial(kept: ["yes"], "the metadata are always flushed")),
    row(.disk, "resync-after", .resyncAfter, nil, .t2, .noEffect("each resource resyncs on its own")),
    row(.disk, "al-extents", .clampedNumber(67...65534, .extents), "1237", .t1),
    row(.disk, "al-updates", .boolean, "yes", .t1),
    row(
      .disk, "discard-zeroes-if-aligned", .boolean, "yes", .t1, .noEffect("what was discarded always reads as zeroes")),
    row(.disk, "disable-write-same", .boolean, "no", .t3, .noEffect("write-same is never used")),
    row(.disk, "disk-timeout", .number(0...6000, .deciseconds), "0", .t2, .noEffect("the kernel's own timeouts apply")),
    row(
      .disk, "read-balancing",
      .choice([
        "prefer-local", "prefer-remote", "round-robin", "least-pending", "when-congested-remote", "32K-striping",
        "64K-striping", "128K-striping", "256K-striping", "512K-striping", "1M-striping",
      ]), "prefer-local", .t2, .noEffect("reads are local while the disk is good")),
    row(.disk, "rs-discard-granularity", .number(0...1_048_576, .bytes), "0", .t2),
    row(.disk, "max-bio-bvecs", .number(0...128, .plain), "0", .t3, .noEffect("it tuned old kernels")),
    row(.disk, "use-bmbv", .boolean, "no", .t3, .noEffect("it tuned old kernels")),
    row(.disk, "block-size", .number(512...4096, .bytes), "512", .t2, .noEffect("the disk's own block size is used")),
    row(
      .disk, "discard-granularity", .number(0...134_217_728, .bytes), nil, .t2,
      .noEffect("the disk's own granularity is used")),
  ]

  // MARK: written in disk { }, kept per volume and connection

  static let peerDevice: [OptionDefinition] = [
    row(.peerDevice, "resync-rate", .number(1...8_388_608, .kibibytesPerSecond), "250", .t1),
    row(.peerDevice, "c-plan-ahead", .number(0...300, .deciseconds), "20", .t1),
    row(.peerDevice, "c-delay-target", .number(1...100, .deciseconds), "10", .t1),
    row(.peerDevice, "c-fill-target", .number(0...1_048_576, .sectors), "100", .t1),
    row(.peerDevice, "c-max-rate", .number(0...4_194_304, .kibibytesPerSecond), "102400", .t1),
    row(.peerDevice, "c-min-rate", .number(0...4_194_304, .kibibytesPerSecond), "250", .t1),
    row(.peerDevice, "bitmap", .boolean, "yes", .t2, .noEffect("a bitmap is always kept")),
    row(
      .peerDevice, "resync-without-replication", .boolean, "yes", .t2,
      .noEffect("writes are mirrored during a resync")),
    row(.peerDevice, "peer-tiebreaker", .boolean, "yes", .t2, .noEffect("there is no quorum yet")),
  ]

  // MARK: net { }, per connection

  static let net: [OptionDefinition] = [
    row(.net, "protocol", .letter(["A", "B", "C"]), "C", .t0),
    row(.net, "timeout", .number(1...600, .deciseconds), "60", .t1),
    row(.net, "connect-int", .number(1...120, .seconds), "10", .t1),
    row(.net, "ping-int", .number(1...120, .seconds), "10", .t1),
    row(.net, "ping-timeout", .number(1...300, .deciseconds), "5", .t1),
    row(.net, "ko-count", .number(0...200, .plain), "7", .t1),
    row(.net, "max-epoch-size", .number(1...20000, .plain), "2048", .t1),
    row(.net, "max-buffers", .number(32...131_072, .pages), "2048", .t1),
    row(.net, "sndbuf-size", .number(0...134_217_728, .bytes), "0", .t1),
    row(.net, "rcvbuf-size", .number(0...134_217_728, .bytes), "0", .t1),
    row(.net, "tcp-cork", .boolean, "yes", .t3, .noEffect("packets are gathered before they are sent")),
    row(.net, "socket-check-timeout", .number(0...300, .deciseconds), "0", .t2),
    row(
      .net, "allow-two-primaries", .boolean, "no", .t2,
      .promise(kept: ["no"], "two Primaries at a time are not built yet")),
    row(.net, "cram-hmac-alg", .text(longest: 64), nil, .t1),
    row(.net, "shared-secret", .text(longest: 64), nil, .t1),
    row(
      .net, "after-sb-0pri",
      .discardPolicy([
        "disconnect", "discard-younger-primary", "discard-older-primary", "discard-zero-changes",
        "discard-least-changes", "discard-local", "discard-remote",
      ]), "disconnect", .t1),
    row(
      .net, "after-sb-1pri",
      .choice(["disconnect", "consensus", "discard-secondary", "call-pri-lost-after-sb", "violently-as0p"]),
      "disconnect", .t1),
    row(
      .net, "after-sb-2pri", .choice(["disconnect", "call-pri-lost-after-sb", "violently-as0p"]), "disconnect", .t1),
    row(.net, "always-asbp", .boolean, "no", .t2),
    row(
      .net, "rr-conflict", .choice(["disconnect", "call-pri-lost", "violently", "retry-connect", "auto-discard"]),
      "disconnect", .t1,
      .partial(kept: ["disconnect", "call-pri-lost", "violently"], "the connection ends, as with disconnect")),
    row(.net, "data-integrity-alg", .text(longest: 64), nil, .t1),
    row(.net, "verify-alg", .text(longest: 64), nil, .t1),
    row(.net, "csums-alg", .text(longest: 64), nil, .t1),
    row(.net, "csums-after-crash-only", .boolean, "no", .t2),
    row(.net, "use-rle", .boolean, "yes", .t1),
    row(
      .net, "on-congestion", .choice(["block", "pull-ahead", "disconnect"]), "block", .t2,
      .promise(kept: ["block"], "a congested link always makes the application wait")),
    row(.net, "congestion-fill", .number(0...20_971_520, .sectors), "0", .t2, .noEffect("on-congestion is block")),
    row(.net, "congestion-extents", .number(67...65534, .extents), "1237", .t2, .noEffect("on-congestion is block")),
    row(.net, "fencing", .choice(["dont-care", "resource-only", "resource-and-stonith"]), "dont-care", .t1),
    row(.net, "allow-remote-read", .boolean, "yes", .t2, .noEffect("a node without a good disk reads from its peer")),
    row(
      .net, "transport", .text(longest: 64), "tcp", .t3,
      .promise(kept: ["tcp", ""], "TCP is the only transport")),
    row(.net, "load-balance-paths", .boolean, "no", .t3, .noEffect("a connection uses one path")),
    row(
      .net, "tls", .boolean, "no", .t2,
      .promise(kept: ["no"], "encryption is not built yet, so data would cross the network in the clear")),
    row(.net, "tls-keyring", .text(longest: 128), nil, .t2, .noEffect("tls is no")),
    row(.net, "tls-privkey", .text(longest: 128), nil, .t2, .noEffect("tls is no")),
    row(.net, "tls-certificate", .text(longest: 128), nil, .t2, .noEffect("tls is no")),
    row(.net, "rdma-ctrl-rcvbuf-size", .number(0...10_485_760, .bytes), "0", .t3, .noEffect("there is no RDMA")),
    row(.net, "rdma-ctrl-sndbuf-size", .number(0...10_485_760, .bytes), "0", .t3, .noEffect("there is no RDMA")),
    row(.net, "unplug-watermark", .number(1...131_072, .plain), "128", .t3, .noEffect("it tuned old kernels")),
  ]

  // MARK: options { }, per resource

  static let resource: [OptionDefinition] = [
    row(.resource, "cpu-mask", .text(longest: 255), nil, .t3, .noEffect("the scheduler places the one thread")),
    row(
      .resource, "on-no-data-accessible", .choice(["io-error", "suspend-io"]), "io-error", .t1,
      .promise(kept: ["io-error"], "I/O without good data fails instead of waiting")),
    row(.resource, "auto-promote", .boolean, "yes", .t0),
    row(.resource, "auto-promote-timeout", .number(0...600, .deciseconds), "20", .t0),
    row(.resource, "peer-ack-window", .number(2048...204_800, .sectors), "4096", .t2, .noEffect("two nodes need none")),
    row(.resource, "peer-ack-delay", .number(1...10000, .milliseconds), "100", .t2, .noEffect("two nodes need none")),
    row(.resource, "twopc-timeout", .number(50...600, .deciseconds), "300", .t2, .noEffect("two nodes need none")),
    row(.resource, "twopc-retry-timeout", .number(1...50, .deciseconds), "1", .t2, .noEffect("two nodes need none")),
    row(
      .resource, "max-io-depth", .number(4...4_294_967_295, .plain), "8000", .t2,
      .noEffect("max-buffers bounds what is in flight")),
    row(
      .resource, "quorum", .votes(1...32), "off", .t2,
      .promise(kept: ["off"], "quorum is not built yet, so a node without it would keep writing")),
    row(.resource, "on-no-quorum", .choice(["suspend-io", "io-error"]), "suspend-io", .t2, .noEffect("quorum is off")),
    row(
      .resource, "quorum-minimum-redundancy", .votes(1...32), "off", .t2,
      .promise(kept: ["off"], "quorum is not built yet, so redundancy would not be enforced")),
    row(
      .resource, "on-suspended-primary-outdated", .choice(["disconnect", "force-secondary"]), "disconnect", .t2,
      .noEffect("a suspended Primary keeps its role")),
    row(.resource, "drbd8-api-compatibility", .boolean, "no", .t3, .noEffect("there is no kernel interface")),
  ]

  // MARK: startup { }

  static let startup: [OptionDefinition] = [
    row(.startup, "wfc-timeout", .number(0...300_000, .seconds), "0", .t1),
    row(.startup, "degr-wfc-timeout", .number(0...300_000, .seconds), "0", .t1),
    row(.startup, "outdated-wfc-timeout", .number(0...300_000, .seconds), "0", .t1),
    row(.startup, "wait-after-sb", .boolean, "no", .t1),
    row(.startup, "stacked-timeouts", .boolean, "no", .t1, .noEffect("there are no stacked resources")),
    row(.startup, "become-primary-on", .hosts, nil, .t1, .noEffect("promotion is left to the cluster or to you")),
  ]

  // MARK: handlers { }: command lines for /bin/sh

  static let handlers: [OptionDefinition] = [
    handler("fence-peer"),
    handler("unfence-peer"),
    handler("split-brain"),
    handler("initial-split-brain"),
    handler("pri-lost"),
    handler("pri-lost-after-sb"),
    handler("pri-on-incon-degr"),
    handler("local-io-error"),
    handler("before-resync-target"),
    handler("after-resync-target"),
    handler("before-resync-source"),
    handler("out-of-sync"),
    handler("quorum-lost", .noEffect("quorum is off, so it is never lost")),
    handler("disconnected"),
  ]

  // MARK: global { }

  static let global: [OptionDefinition] = [
    row(
      .global, "usage-count", .choice(["yes", "no", "ask"]), "no", .t1,
      .partial(kept: ["no"], "no usage counter is asked")),
    row(.global, "minor-count", .number(1...1_048_575, .plain), "32", .t1, .noEffect("there is no module to load")),
    row(.global, "dialog-refresh", .number(0...600, .seconds), "1", .t1, .noEffect("waiting shows its own progress")),
    row(.global, "disable-ip-verification", .boolean, "no", .t1),
    row(.global, "udev-always-use-vnr", .boolean, "no", .t1),
    row(.global, "cmd-timeout-short", .number(0...900, .seconds), "5", .t1, .noEffect("--timeout bounds a command")),
    row(
      .global, "cmd-timeout-medium", .number(0...900, .seconds), "121", .t1, .noEffect("--timeout bounds a command")),
    row(.global, "cmd-timeout-long", .number(0...900, .seconds), "600", .t1, .noEffect("--timeout bounds a command")),
  ]

  private static func row(
    _ section: OptionSection, _ name: String, _ type: OptionType, _ defaultText: String?, _ tier: OptionTier,
    _ effect: OptionEffect = .honoured
  ) -> OptionDefinition {
    OptionDefinition(
      name: name, section: section, type: type, defaultText: defaultText, tier: tier, effect: effect)
  }

  private static func handler(_ name: String, _ effect: OptionEffect = .honoured) -> OptionDefinition {
    row(.handlers, name, .text(longest: 255), nil, .t1, effect)
  }
}
