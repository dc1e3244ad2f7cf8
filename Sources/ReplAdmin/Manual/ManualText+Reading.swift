// Manual texts: options at run time, states, and commands for scripts.

extension ManualText {
  private static func runTime(_ command: String, _ section: String, _ more: String, _ example: Example) -> ManualText {
    ManualText(
      command: command,
      does: """
        Changes options of \(section) while the resource runs. Each option is written --NAME=VALUE with the names and units of \
        repl.conf(5); --set-defaults sets the others to their defaults. adjust goes back to the file. \(more)
        """,
      refuses: "It fails for an option that is unknown or out of range; nothing has been changed then.",
      examples: [example], related: ["adjust"])
  }

  static let options: [ManualText] = [
    runTime(
      "disk-options", "the disk section", "",
      .init("repladm disk-options --on-io-error=pass_on r0/0", "Keep a failing disk attached.")),
    runTime(
      "net-options", "the net section",
      "Options that both nodes have to agree on are sent to the peer, or cost a reconnect of a moment.",
      .init("repladm net-options --ping-timeout=20 r0", "Wait two seconds for a ping.")),
    runTime(
      "peer-device-options", "the resync rates of the disk section", "",
      .init("repladm peer-device-options --c-max-rate=20M r0", "Resync with 20 MiB/s at most.")),
    runTime(
      "resource-options", "the options section", "",
      .init("repladm resource-options --auto-promote=no r0", "Promote by command only.")),
  ]

  static let reading: [ManualText] = [
    ManualText(
      command: "status",
      does: """
        Prints the role of this node, the state of each disk, and for each connection the peer's role, its disks, and the progress of a \
        resync or verify. Without an object: all running resources.
        """,
      examples: [
        .init("repladm status", "All resources."),
        .init("repladm status --statistics r0", "With counters in KiB."),
        .init("repladm status --json r0", "For a program."),
      ], related: ["events2", "wait-sync"]),
    ManualText(
      command: "explain",
      does: """
        Prints a sentence for everything that keeps a resource from two connected UpToDate nodes, and what to do about it. Without an \
        object: all resources of this host.
        """,
      examples: [.init("repladm explain r0", "After a look at status that was not as expected.")],
      related: ["status", "events2"]),
    ManualText(
      command: "monitor",
      does: """
        Shows all resources on the terminal and draws them anew every second: roles, disks, connections, read and write rates, the \
        progress of a resync or verify as a bar with the time left, and the mean latency of requests and of each stage of a write. \
        h lists the keys, q quits. States are words; colours repeat them unless NO_COLOR is set. A terminal without cursor movement \
        (TERM=dumb) gets one picture after another. When standard output is no terminal, the command prints one picture and ends. \
        Without an object: what the file has for this host, and what runs.
        """,
      waits: "The command runs until q, ^C or the end of --timeout.",
      examples: [
        .init("repladm monitor", "All resources; also as a member of the group repl."),
        .init("repladm monitor r0", "Resource r0 alone."),
      ], related: ["status", "wait-sync", "metrics"]),
    ManualText(
      command: "metrics",
      does: """
        Prints roles, disk and connection states, counters and what is out of sync in Prometheus' text format. Metrics that DRBD's \
        exporter (drbd-reactor) has carry its names and labels; the others begin with repl_, such as the histograms of how long \
        requests and the stages of writes take. A resource whose repld does not run has \
        repl_resource_up 0. Without an object: all resources of this host.
        """,
      examples: [
        .init("repladm metrics", "Look at them."),
        .init(
          "repladm metrics --output /var/lib/prometheus/node-exporter/repl.prom",
          "From a timer, for node_exporter's textfile collector."),
      ], related: ["status", "events2"]),
    ManualText(
      command: "events2",
      does: "Prints the present state of all objects, then each change as one line, until the program is ended.",
      waits: "With --now the command ends after the present state.",
      examples: [
        .init("repladm events2 --timestamps r0", "Follow resource r0."),
        .init("repladm events2 --now --statistics", "One picture with counters."),
      ], related: ["status"]),
    ManualText(
      command: "role", does: "Prints the role of this node: Primary or Secondary.",
      examples: [.init("repladm role r0", "For a script.")], related: ["status"]),
    ManualText(
      command: "cstate", does: "Prints the state of each connection, such as Connected, Connecting or StandAlone.",
      examples: [.init("repladm cstate r0", "For a script.")], related: ["status", "connect"]),
    ManualText(
      command: "dstate",
      does: "Prints the state of each disk, this node's first, then the peer's, separated by a slash.",
      examples: [.init("repladm dstate r0/0", "For a script.")], related: ["status", "attach"]),
    ManualText(
      command: "dump", does: "Prints the configuration as the parser has understood it, with all inherited options.",
      waits: "The command reads the files and asks no daemon.",
      examples: [
        .init("repladm dump r0", "Check a file."), .init("repladm -c new.conf dump all", "Check another file."),
      ],
      related: ["dump-xml", "sh-nop"]),
    ManualText(
      command: "dump-xml", does: "Prints the configuration as XML, in the form of drbdadm.",
      waits: "The command reads the files and asks no daemon.",
      examples: [.init("repladm dump-xml r0", "For a program.")], related: ["dump"]),
  ]

  private static func value(_ command: String, _ what: String, _ example: String = "r0") -> ManualText {
    ManualText(
      command: command, does: what, waits: "The command reads the configuration files and asks no daemon.",
      examples: [.init("repladm \(command)\(example.isEmpty ? "" : " " + example)", "For a script.")],
      related: ["dump"])
  }

  static let scripts: [ManualText] = [
    value("sh-dev", "Prints the path of each volume's block device, one on a line."),
    value("sh-nbd-uri", "Prints the NBD URI of each volume, for nbdinfo, nbdcopy, qemu-io and fio."),
    value("sh-resources", "Prints the names of this host's resources, one in each line.", ""),
    value("sh-resource", "Prints the name of the resource."),
    value("sh-minor", "Prints the minor number of each volume."),
    value("sh-ll-dev", "Prints the backing device of each volume."),
    value("sh-md-dev", "Prints the device that holds the metadata of each volume."),
    value("sh-md-idx", "Prints where the metadata of each volume are on that device: internal, flexible or an index."),
    value("sh-ip", "Prints the address of this host's end of the connection."),
    value("sh-udev", "Prints the names of a volume's device as variables for a udev rule.", "minor-0"),
    value("sh-nop", "Reads the configuration files, reports their errors and does nothing else.", ""),
    ManualText(
      command: "install-names",
      does: """
        Makes symbolic links with the names drbdadm, drbdsetup, drbdmeta, replsetup and replmeta to this program in a directory. \
        Programs that call DRBD's tools find repladm then. A file that is there already is not replaced.
        """,
      waits: "The command makes links and asks no daemon.",
      refuses: "It fails where a file of that name is not a link to this program.",
      examples: [.init("repladm install-names /usr/local/sbin", "For a host without drbd-utils.")],
      related: ["sh-dev"]),
  ]
}
