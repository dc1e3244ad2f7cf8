// Manual texts: resources and roles.

extension ManualText {
  static let roles: [ManualText] = [
    ManualText(
      command: "up",
      does: """
        Starts the daemon repld of the resource, applies the activity log of each volume, attaches the backing devices and begins to \
        connect to the peer. The resource is Secondary afterwards. The names of the devices (/dev/drbdN) are there until down; opening \
        one for writing, or mounting it, makes this node Primary first, and its last close makes it Secondary again (auto-promote in \
        repl.conf(5)). Reading one on a Secondary fails with EMEDIUMTYPE ("Wrong medium type"). With the kernel's own nbd, or without \
        FUSE, there is no name before primary.
        """,
      waits: """
        The command waits until the daemon has attached the disks (at most 30 seconds, or --timeout) and does not wait for the peer: \
        use wait-connect.
        """,
      refuses: """
        It fails when repld runs already for this resource (use adjust), when a volume has no metadata (use create-md), and when the \
        file asks for something that repl does not have. A disk that cannot be attached leaves the daemon running with the volume \
        Diskless, as drbdadm does.
        """,
      examples: [
        .init("repladm up r0", "Start resource r0."),
        .init("repladm up all", "Start every resource of this host."),
        .init("repladm -d up r0", "Print the steps without doing them."),
      ], related: ["down", "adjust", "create-md", "wait-connect"]),
    ManualText(
      command: "down",
      does: """
        Removes the block devices, disconnects from the peer, detaches the backing devices and ends the daemon. A resource that is not \
        running is success; block devices that a daemon has left behind are removed.
        """,
      waits:
        "The command waits until requests under way have ended and the daemon process is gone (at most 60 seconds, or --timeout).",
      refuses: """
        It fails while a block device is mounted or open or an NBD client is connected (the message names the holder), and with fencing \
        while the peer does not answer a Primary's end. With --force it does not: requests under way and later ones end with errors, and a \
        daemon that does not answer within 5 seconds is killed; a file system that is mounted on the device then has to be unmounted.
        """,
      examples: [
        .init("repladm down r0", "Stop resource r0."),
        .init("repladm down --force r0", "End a daemon that hangs, and its device."),
      ],
      related: ["up", "secondary", "disconnect"]),
    ManualText(
      command: "adjust",
      does: """
        Reads the configuration file and changes the running resource to it: options, volumes, disks that are configured and not \
        attached, the connection. Another address or port, and a volume that was added or removed, cost a reconnect; a Primary stays in \
        use, and requests to the other volumes wait for it. A volume that was added needs metadata (create-md) before; type adjust on \
        both nodes, in any order. The disk of a volume that was removed is detached. Another minor or device name gives the volume \
        another device. Options that were changed at run time go back to the file. A resource that is down is started.
        """,
      waits: "The command waits until the daemon has carried out each step (at most 30 seconds, or --timeout).",
      refuses: """
        It fails for a file with an error, for another node id, and when the device of a volume that was removed or renamed is in use; \
        nothing has been changed then. A disk that cannot be attached is reported when its volume is there.
        """,
      examples: [
        .init("repladm adjust r0", "Apply an edited file."),
        .init("repladm -d adjust r0", "Print what would be done."),
        .init("repladm adjust --skip-disk r0", "Leave the disks as they are."),
      ], related: ["up", "net-options", "disk-options"]),
    ManualText(
      command: "primary",
      does: """
        Makes this node Primary: applications may use the volumes by the block devices (/dev/drbdN). With fencing, and without a \
        connection, the handler fence-peer is called first. The node stays Primary until secondary, also one that an open of the device \
        has promoted before.

        With --force a node without UpToDate data becomes Primary: its disk is declared UpToDate, and the peer is resynced from it. \
        Use this once, for the first node of a new resource, or when the other copy is lost.
        """,
      waits:
        "The command waits for the peer's consent and until the metadata say Primary (at most 60 seconds, or --timeout).",
      refuses: """
        It fails while the peer is Primary (exit 11), without access to UpToDate data (exit 17), during a handshake, when fence-peer does \
        not say that the peer is fenced (exit 10), and when this node or a Diskless peer has detached newer data.
        """,
      examples: [
        .init("repladm primary r0", "Use the data on this node."),
        .init("repladm primary --force r0", "Declare the data of this node UpToDate, for the first start."),
      ], related: ["secondary", "status", "invalidate"]),
    ManualText(
      command: "secondary",
      does: """
        Takes the block devices away, but not their names, and makes this node Secondary, so that the other node can be promoted. Writes that wait for the end of \
        a fencing fail.
        """,
      waits: """
        The command waits until every write is on disk here, the peer has acknowledged it, and the metadata of all volumes say \
        Secondary (at most 60 seconds, or --timeout).
        """,
      refuses:
        "It fails while a block device is mounted or open or an NBD client is connected; the message names the holder.",
      examples: [
        .init("umount /mnt && repladm secondary r0", "Hand the data over to the other node."),
        .init("repladm secondary --force r0", "Answer all requests under way with errors and demote."),
      ], related: ["primary", "down"]),
  ]

  static let connections: [ManualText] = [
    ManualText(
      command: "connect",
      does: """
        Begins to connect to the peer, from StandAlone, and returns. When both nodes meet they compare their data: a resync starts where \
        it is needed, and a split brain is resolved by the policies after-sb-0pri, -1pri and -2pri or ends the connection.

        With --discard-my-data a node that is Secondary becomes the target when the comparison finds a split brain: what was written \
        here since the nodes were last equal is overwritten. Without a split brain the option does nothing.
        """,
      refuses: "It fails when the connection is not StandAlone.",
      examples: [
        .init("repladm connect r0", "Connect again after a disconnect."),
        .init("repladm connect --discard-my-data r0", "Resolve a split brain, on the node whose changes are given up."),
        .init("repladm connect --tentative r0", "Log what a connection would resync and stay StandAlone."),
      ], related: ["disconnect", "wait-connect", "wait-sync"]),
    ManualText(
      command: "disconnect",
      does: """
        Ends the connection to the peer; the connection stays StandAlone until connect. With fencing a Secondary becomes Outdated when \
        it disconnects from a Primary, or when the Primary disconnects from it.
        """,
      waits: "The command waits until the peer has agreed (at most 30 seconds, or --timeout).",
      refuses:
        "It fails when a Primary would lose its only UpToDate data. With --force it does not ask a peer that does not answer.",
      examples: [
        .init("repladm disconnect r0", "End the connection."),
        .init("repladm disconnect --force r0", "End the connection to a peer that does not answer."),
      ], related: ["connect", "down"]),
    ManualText(
      command: "wait-connect",
      does: "Waits for the connection.",
      waits: """
        The command waits until the peer's volumes are visible, for wfc-timeout seconds of the startup section, or --wfc-timeout; 0 is \
        without end.
        """,
      refuses: "It fails with exit 5 when the time is over, and when the connection becomes StandAlone.",
      examples: [.init("repladm wait-connect --wfc-timeout 60 r0", "Wait a minute at most.")],
      related: ["connect", "wait-sync"]),
    ManualText(
      command: "wait-con-int",
      does: "Waits as wait-connect does, for every resource of this host. Init scripts call it; names are ignored.",
      waits: "The timeouts of the startup section hold for each resource.",
      refuses: "It fails with exit status 5 when a resource is not connected in time.",
      examples: [.init("repladm wait-con-int", "Wait for the peers of all resources.")],
      related: ["wait-connect", "wait-sync"]),
    ManualText(
      command: "wait-sync",
      does:
        "Waits for the end of a resync and shows its progress: a bar on a terminal, a line for each tenth on stderr elsewhere.",
      waits:
        "The command waits until every volume is Established and nothing is left to resync, for as long as wait-connect does.",
      refuses: "It fails with exit 5 when the time is over, and when the connection becomes StandAlone.",
      examples: [.init("repladm wait-sync r0 && repladm primary r0", "Promote when the data are complete.")],
      related: ["wait-connect", "status"]),
  ]
}
