// Manual texts: metadata.

extension ManualText {
  private static let offline = "The command works on the disk itself and returns when the metadata are durable."
  private static let attached = "It fails while the volume is attached, and where no metadata are found."

  static let metadata: [ManualText] = [
    ManualText(
      command: "create-md",
      does: """
        Writes new metadata for each volume: the disk is Inconsistent, and all of it is out of sync. The data area is not touched, but \
        with internal metadata the last part of the device is (about 32 KiB for each GiB, and 40 KiB).
        """,
      waits: offline,
      refuses: """
        It fails while the volume is attached, for a device that is too small or has logical blocks larger than 4096 bytes, and with exit \
        40 for a file system that reaches into the place of the metadata: shrink the file system, or use external metadata. Existing \
        metadata are overwritten only after a yes, or with --force: all knowledge of what differs from the peer is lost then.
        """,
      examples: [
        .init("repladm create-md r0", "Prepare the disks of a new resource."),
        .init("repladm create-md --format v08 r0", "Write metadata that kernel DRBD 8.4 reads."),
        .init("repladm create-md --force r0/0", "Prepare a replaced disk without a question."),
      ], related: ["up", "wipe-md", "dump-md"]),
    ManualText(
      command: "wipe-md",
      does: "Removes the metadata of a volume, after a yes or with --force. The data area is not touched.",
      waits: offline, refuses: attached,
      examples: [.init("repladm wipe-md r0/0", "Give the device to another use.")], related: ["create-md"]),
    ManualText(
      command: "apply-al",
      does: """
        Reads the activity log of a volume that was in use at a crash, and marks its extents out of sync in the bitmap. up does the \
        same.
        """,
      waits: offline, refuses: attached,
      examples: [.init("repladm apply-al r0/0", "Prepare dump-md after a crash.")],
      related: ["up", "dump-md", "repair-md"]),
    ManualText(
      command: "dump-md",
      does: "Prints the metadata of a volume as text, in drbdmeta's format: generations, flags, sizes, bitmap.",
      waits: "The command reads the disk and changes nothing.",
      refuses: attached + " A volume whose activity log is not applied needs apply-al first, or --force.",
      examples: [.init("repladm dump-md r0/0 > r0.md", "Keep the metadata before a risky step.")],
      related: ["restore-md", "apply-al", "show-gi"]),
    ManualText(
      command: "restore-md",
      does: "Writes metadata that dump-md has printed, after a yes or with --force.",
      waits: offline,
      refuses: "It fails while the volume is attached, and for a text that does not fit the device.",
      examples: [.init("repladm restore-md r0/0 r0.md", "Write the saved metadata back.")], related: ["dump-md"]),
    ManualText(
      command: "get-gi",
      does: """
        Prints the generation identifiers of a volume in one line: current, bitmap and two history UUIDs, and the flags. A running \
        daemon is asked; else the disk is read.
        """,
      examples: [.init("repladm get-gi r0/0", "For a script.")], related: ["show-gi", "new-current-uuid"]),
    ManualText(
      command: "show-gi",
      does: "Prints the generation identifiers of a volume with a legend.",
      examples: [.init("repladm show-gi r0/0", "Find out why two nodes do not connect.")], related: ["get-gi"]),
    ManualText(
      command: "new-current-uuid",
      does: """
        Begins a new data generation. With --clear-bitmap on two connected nodes with new metadata, both disks are declared equal: they \
        become UpToDate without a resync. Use this only when the devices have the same content, or none that matters.
        """,
      waits: "The command waits until the new generation is durable here.",
      refuses: "While connected it fails unless both nodes have new metadata and --clear-bitmap is given.",
      examples: [
        .init("repladm new-current-uuid --clear-bitmap r0/0", "Skip the first resync of two new disks.")
      ], related: ["create-md", "primary"]),
    ManualText(
      command: "convert-md",
      does: """
        Converts metadata between v08 (DRBD 8.4) and v09 (DRBD 9), after a yes or with --force. Bitmap, generations and flags are kept: \
        the next connection resyncs only what differs.
        """,
      waits: offline, refuses: attached + " It fails where the new format does not fit in the same place.",
      examples: [.init("repladm convert-md --to v09 r0", "Convert the metadata of kernel DRBD 8.4.")],
      related: ["create-md", "dump-md"]),
    ManualText(
      command: "repair-md",
      does: """
        Makes metadata usable whose activity log cannot be read: a log that can be read is applied; otherwise all blocks are marked out \
        of sync, and the next connection resyncs the volume as a whole.
        """,
      waits: offline, refuses: attached,
      examples: [.init("repladm repair-md r0/0", "After 'No usable activity log found'.")],
      related: ["apply-al", "create-md"]),
  ]
}
