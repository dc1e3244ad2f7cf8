// What repl.conf(5) says of each option that has an effect. Type, range, unit and default come from the option table; an option
// without effect is described there by its reason. Law: every option that has an effect has a sentence.
import Config

enum OptionText {
  /// The sentence of an option, or nil.
  static func of(_ row: OptionDefinition) -> String? { texts[row.section]?[row.name] }

  private static let texts: [OptionSection: [String: String]] = [
    .disk: disk, .peerDevice: peerDevice, .net: net, .resource: resource, .startup: startup, .handlers: handlers,
    .global: global,
  ]

  private static let disk = [
    "on-io-error": """
    What the node does when the backing device fails a request. detach: the disk is detached and the peer's data are used. pass_on: a \
    failed write makes the disk Inconsistent, a failed read is served by the peer, and the disk stays attached. call-local-io-error: \
    the handler local-io-error is called, then the disk is detached.
    """,
    "size":
      "The size of the volume. 0: as much as both backing devices hold. A lower value never shrinks a volume that holds data.",
    "disk-flushes":
      "Whether the write cache of the data device is flushed. Say no only for a cache that survives a power failure.",
    "md-flushes":
      "Whether the write cache of the metadata device is flushed. Say no only for a cache that survives a power failure.",
    "al-extents": """
    How many extents of 4 MiB the activity log covers. More extents mean fewer metadata writes and a longer resync after a crash of \
    the Primary.
    """,
    "al-updates":
      "Whether the activity log is written. With no, a crash of the Primary costs a resync of the whole volume.",
    "discard-zeroes-if-aligned":
      "Whether an aligned discard may be used to write zeroes on a device that gives blocks back.",
    "rs-discard-granularity":
      "A resync discards a range of this size on the target when all of the range is zero. 0: it never does.",
  ]

  private static let peerDevice = [
    "resync-rate": "The rate of a resync when c-plan-ahead is 0.",
    "c-plan-ahead": "How far the rate controller plans ahead. 0: no controller, resync-rate holds.",
    "c-delay-target": "The delay of a resync request that the controller aims at, when c-fill-target is 0.",
    "c-fill-target": "How much resync data the controller keeps on its way to the peer. 0: c-delay-target counts.",
    "c-max-rate": "The highest rate of a resync. 0: no limit.",
    "c-min-rate": "A resync slower than this does not give way to the application. 0: a resync never gives way.",
  ]

  private static let net = [
    "protocol": """
    When a write is complete. A: it is on the local disk and has been sent. B: the peer has received it. C: it is on both disks.
    """,
    "timeout": "How long the peer may take to acknowledge a request. The connection ends afterwards (see ko-count).",
    "connect-int": "How often this node tries to connect, and how long a handshake may last.",
    "ping-int": "After how much silence a ping is sent.",
    "ping-timeout": "How long the answer to a ping may take before the connection ends.",
    "ko-count": "After this many timeouts without progress of a write the connection ends. 0: never.",
    "max-epoch-size": "How many writes may lie between two barriers.",
    "max-buffers": "How much memory this node uses for requests of the peer.",
    "sndbuf-size": "The send buffer of the sockets. 0: chosen by the kernel.",
    "rcvbuf-size": "The receive buffer of the sockets. 0: chosen by the kernel.",
    "socket-check-timeout": "How long the first packet of a new connection may take. 0: ping-timeout.",
    "allow-two-primaries": "Whether both nodes may be Primary at the same time.",
    "cram-hmac-alg":
      "The digest for the authentication of the peer, such as sha256. Both nodes need the same shared-secret.",
    "shared-secret": "The secret of the authentication.",
    "after-sb-0pri": """
    What happens after a split brain when neither node is Primary. disconnect: an operator decides. discard-zero-changes: the node \
    without changes becomes the target. discard-least-changes, discard-younger-primary, discard-older-primary, discard-node-NAME, \
    discard-local, discard-remote: that node's changes are overwritten.
    """,
    "after-sb-1pri": """
    The same when one node is Primary. consensus: as after-sb-0pri when that chooses the Secondary as the target. discard-secondary: the \
    Secondary becomes the target. call-pri-lost-after-sb: the Primary gives up its role, or its handler is called. violently-as0p: as \
    after-sb-0pri.
    """,
    "after-sb-2pri": "The same when both nodes are Primary.",
    "always-asbp": "Whether the policies count also when the histories have no ancestor in common.",
    "rr-conflict": "What happens when roles and the direction of a resync contradict each other.",
    "data-integrity-alg":
      "The digest in front of every block on the network. It costs processor time; use it to find faulty hardware.",
    "verify-alg": "The digest of an online verify.",
    "csums-alg": "The digest of a resync by checksums: only blocks that differ are sent.",
    "csums-after-crash-only": "Whether csums-alg is used only for the resync after a crash of the Primary.",
    "use-rle": "Whether bitmaps are sent compressed.",
    "on-congestion": "What happens when the network is slower than the application.",
    "fencing": """
    What a Primary does that loses its peer. dont-care: it goes on. resource-only: it calls fence-peer and goes on. \
    resource-and-stonith: it suspends I/O until fence-peer says that the peer is fenced, or the peer is back.
    """,
    "transport": "The kind of connection.",
    "tls": "Whether the connection is encrypted.",
  ]

  private static let resource = [
    "on-no-data-accessible": "What happens to I/O of a Primary without good data.",
    "auto-promote": "Whether using the device promotes its node, and its last close demotes it.",
    "auto-promote-timeout": "How long an automatic promotion waits for a peer that is Primary.",
    "quorum": "How many nodes have to be connected before a node may write.",
    "quorum-minimum-redundancy": "How many UpToDate disks a node needs before it may write.",
  ]

  private static let startup = [
    "wfc-timeout": "How long wait-connect and wait-sync wait for the connection. 0: without end.",
    "degr-wfc-timeout": "The same for a node that had been alone before it was restarted.",
    "outdated-wfc-timeout": "The same for a node whose peer was Outdated.",
    "wait-after-sb": "Whether a wait goes on when a connection is StandAlone after a split brain.",
  ]

  private static let handlers = [
    "fence-peer": """
    Fences the peer. Exit status 3: the peer is Inconsistent; 4: it is Outdated now; 5: it is unreachable and taken for dead; 6: it is \
    Primary, this node becomes Outdated; 7: it was powered off. Any other status: fencing has failed.
    """,
    "unfence-peer": "Ends the fencing: everything is UpToDate again.",
    "split-brain": "A split brain was found and not resolved.",
    "initial-split-brain": "A split brain was found; the policies are tried afterwards.",
    "pri-lost": "The comparison wants a Primary as the target.",
    "pri-lost-after-sb": "A Primary has lost a split brain and cannot give up its role.",
    "pri-on-incon-degr": "A Primary without connection has Inconsistent data only.",
    "local-io-error": "The backing device has failed a request (on-io-error call-local-io-error).",
    "before-resync-target":
      "A resync is about to overwrite this node's data, for example to make a snapshot. A failure ends the connection.",
    "after-resync-target": "A resync to this node has ended.",
    "before-resync-source": "A resync from this node begins.",
    "out-of-sync": "A verify has found blocks that differ.",
    "disconnected": "The connection has ended.",
  ]

  private static let global = [
    "usage-count": "Whether a usage counter on the network is told of this installation.",
    "disable-ip-verification": "Whether up and connect accept an address that this host does not have.",
    "udev-always-use-vnr":
      "Whether links below /dev/drbd/by-res have the volume number also for resources with one volume.",
  ]
}
