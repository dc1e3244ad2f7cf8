// Manual texts: disks and their data.

extension ManualText {
  static let disks: [ManualText] = [
    ManualText(
      command: "attach",
      does: """
        Opens the backing device and the metadata of each volume that is Diskless and compares the data with those of a connected peer. \
        A resync starts where it is needed.
        """,
      waits: "The command waits until the comparison is over (at most 30 seconds, or --timeout).",
      refuses: """
        It fails for a volume that has a disk, without metadata, for a device that is smaller than the volume in use, and for data that \
        the comparison refuses (split brain, unrelated, older than a Primary has shown). The volume is Diskless then.
        """,
      examples: [.init("repladm attach r0/0", "Attach the disk of volume 0.")],
      related: ["detach", "create-md"]),
    ManualText(
      command: "detach",
      does: """
        Closes the backing device: the volume becomes Diskless. A Primary then reads from and writes to the connected UpToDate peer. Attach the \
        disk again, and only what has changed is resynced.
        """,
      waits:
        "The command waits until requests under way have ended, unless --force (at most 30 seconds, or --timeout).",
      refuses:
        "It fails on a Primary whose peer has no UpToDate data, and on a node whose Primary peer needs this disk.",
      examples: [
        .init("repladm detach r0/0", "Take a disk out for a replacement."),
        .init("repladm detach --force r0/0", "Detach a disk that does not answer."),
      ], related: ["attach", "status"]),
    ManualText(
      command: "invalidate",
      does: """
        Marks all local data out of sync and Inconsistent; the peer's data are copied. On a resource that is down the metadata are \
        marked, and the next connection copies.
        """,
      refuses: "It fails on a Primary, without a connected peer with UpToDate data, and during a resync.",
      examples: [
        .init("repladm invalidate r0/0", "Copy all data of volume 0 from the peer."),
        .init("repladm invalidate --reset-bitmap=no r0/0", "Copy what an online verify has found to differ."),
      ], related: ["invalidate-remote", "verify", "wait-sync"]),
    ManualText(
      command: "invalidate-remote",
      does: "Marks all data of the peer out of sync and Inconsistent; the data of this node are copied.",
      refuses:
        "It fails without a connected peer, without UpToDate data here, during a resync, and for a peer that is Primary.",
      examples: [.init("repladm invalidate-remote r0/0", "Copy all data of volume 0 to the peer.")],
      related: ["invalidate", "wait-sync"]),
    ManualText(
      command: "outdate",
      does: """
        Marks the local data Outdated: this node is not promoted until it has been resynced. On a resource that is down the metadata \
        are marked. Fencing handlers call this command on the node to fence.
        """,
      refuses: "It fails while connected and on a Primary.",
      examples: [.init("repladm outdate r0", "Declare the data of this node old.")],
      related: ["primary", "invalidate"]),
    ManualText(
      command: "pause-sync",
      does: "Pauses the resync of a volume, and each later one, until resume-sync. Writes are replicated as before.",
      examples: [.init("repladm pause-sync r0/0", "Keep the disks free for an application.")],
      related: ["resume-sync", "peer-device-options"]),
    ManualText(
      command: "resume-sync",
      does: "Ends the pause of a resync. The resync goes on when no other node or option pauses it.",
      refuses: "It fails when the resync was not paused on this node.",
      examples: [.init("repladm resume-sync r0/0", "Go on with the resync.")],
      related: ["pause-sync", "wait-sync"]),
    ManualText(
      command: "verify",
      does: """
        Starts an online verify: the blocks of both nodes are compared by their digests (verify-alg of the net section) while the volume \
        is in use. Blocks that differ are marked out of sync and logged; the next connection resyncs them. The application's I/O goes \
        first.
        """,
      waits:
        """
        The command returns when the verify has begun; status shows its progress and wait-sync waits for its end. When standard \
        output is a terminal, the command shows a bar until the verify ends and then what is out of sync; ^C ends the bar, not the verify.
        """,
      refuses: "It fails without verify-alg, without a connection, while a disk is not UpToDate, and during a resync.",
      examples: [
        .init("repladm verify r0/0", "Compare all of volume 0."),
        .init("repladm verify --start 0 --stop 2097152 r0/0", "Compare the first GiB (sectors of 512 bytes)."),
        .init("repladm disconnect r0 && repladm connect r0", "Resync what the verify has found."),
      ], related: ["invalidate", "status"]),
    ManualText(
      command: "suspend-io",
      does: "Holds back the requests of applications on this node until resume-io. Nothing fails meanwhile.",
      waits: "The command waits until requests under way have ended.",
      examples: [.init("repladm suspend-io r0", "Freeze the volumes for a snapshot below them.")],
      related: ["resume-io"]),
    ManualText(
      command: "resume-io",
      does: "Lets the requests go on that suspend-io has held back.",
      examples: [.init("repladm resume-io r0", "End the suspension.")], related: ["suspend-io"]),
  ]

  static let sizes: [ManualText] = [
    ManualText(
      command: "resize",
      does: """
        Measures the backing devices and makes the volume as large as the smaller of both nodes allows, or as --size says. Grow the \
        devices of both nodes first. The new blocks are resynced, unless --assume-clean. Internal metadata move to the new end of the \
        device while the volume is in use.

        The block device grows at once, in use or not; NBD clients see the new size when they connect again.
        """,
      waits:
        "The command waits for the peer's size (at most 60 seconds, or --timeout). When nothing grows it says what limits the size.",
      refuses: """
        It fails during a resync, without a peer (unless --assume-peer-has-space), and for a size smaller than the present one while the \
        volume is in use or connected.
        """,
      examples: [
        .init(
          "lvextend -L +10G /dev/vg/r0 && repladm resize r0", "Grow by 10 GiB, after the same lvextend on the peer."),
        .init("repladm resize --size 100G r0/0", "Grow to 100 GiB."),
      ], related: ["check-resize", "status"]),
    ManualText(
      command: "check-resize",
      does: """
        Moves internal metadata to the end of a backing device that has grown while the resource was down. Metadata in place are left as \
        they are. up does the same where the old size of the device is on record.
        """,
      waits: "The command works on the disk itself and returns when the metadata are durable.",
      refuses:
        "It fails while the volume is attached, and when no metadata are found at the old end (--from names it).",
      examples: [
        .init("repladm check-resize r0/0", "Look for the metadata of volume 0."),
        .init("repladm check-resize --from 100G r0/0", "The device had 100 GiB before."),
      ], related: ["resize", "dump-md"]),
  ]
}
