// The manual page of the configuration file, repl.conf(5): the sections, and every option with its type, range, unit, default and
// effect as the option table has them.
import Config

enum ConfigurationPage {
  static var text: String {
    var page = Roff.head("repl.conf", section: 5, "configuration of replicated resources")
    page += ".SH DESCRIPTION\n" + Roff.paragraphs(opening)
    for section in OptionSection.allCases {
      page += ".SH \(Roff.escaped(title(section)))\n" + Roff.paragraphs([purpose(section)])
      for row in OptionTable.rows where row.section == section {
        page += ".TP\n\\fB\(Roff.escaped(row.name))\\fR \(Roff.escaped(row.allowed))\n"
        page += Roff.escaped(sentence(row)) + "\n"
      }
    }
    page += ".SH EXAMPLE\n.nf\n" + Roff.escaped(example) + "\n.fi\n"
    page += ".SH FILES\n" + Roff.paragraphs(files)
    page += Roff.seeAlso(["repladm (8)", "repld (8)"])
    return page
  }

  private static let opening = [
    """
    The file has the grammar of drbd.conf, of DRBD 8.4 and of DRBD 9: an existing file is read as it is. A resource names its hosts \
    (on NAME { ... }), and for each host the volumes with device, disk and meta-disk, and an address. Both nodes have the same file.
    """,
    """
    An option is written in a section: disk in a resource, a volume or common; net in a resource, a connection or common; options, \
    startup and handlers in a resource or common; global once. The innermost section counts. Numbers take the suffixes K, M and G; a \
    size takes s for sectors.
    """,
    """
    An option that has no effect in repl is accepted and reported once by up. A value that promises what repl does not have is refused \
    by up.
    """,
  ]

  private static let files = [
    """
    Without -c, /etc/repl.conf is read; where it does not exist, /etc/drbd.conf.
    """
  ]

  private static func title(_ section: OptionSection) -> String {
    section == .peerDevice ? "RESYNC OPTIONS (DISK SECTION)" : "\(section.keyword.uppercased()) SECTION"
  }

  private static func purpose(_ section: OptionSection) -> String {
    switch section {
    case .disk: "The backing device of each volume."
    case .peerDevice: "How fast a volume is resynced. These options are written in the disk section."
    case .net: "The connection. Options that both nodes have to agree on must be the same in both files."
    case .resource: "The resource as a whole."
    case .startup: "How long wait-connect and wait-sync wait."
    case .handlers:
      """
      Command lines for /bin/sh that the daemon calls. The environment names the resource, its volumes and the peer with the \
      variables of DRBD (DRBD_RESOURCE, DRBD_VOLUME, DRBD_PEER and others).
      """
    case .global: "Once in the file, for all resources."
    }
  }

  private static func sentence(_ row: OptionDefinition) -> String {
    var parts = [OptionText.of(row) ?? ""]
    if let standard = row.defaultText, !standard.isEmpty { parts.append("Default: \(standard).") }
    switch row.effect {
    case .honoured: break
    case .noEffect(let why): parts.append("No effect: \(why).")
    case .partial(let kept, let why):
      parts.append("Only \(kept.joined(separator: ", ")) has an effect: \(why).")
    case .promise(let kept, let why):
      let words = kept.filter { !$0.isEmpty }.joined(separator: ", ")
      parts.append("Any other value than \(words) is refused: \(why).")
    }
    return parts.filter { !$0.isEmpty }.joined(separator: " ")
  }

  private static let example = """
    resource r0 {
      net {
        protocol C;
        cram-hmac-alg sha256;
        shared-secret "change-this";
      }
      volume 0 {
        device /dev/drbd0 minor 0;
        disk /dev/vg0/data;
        meta-disk internal;
      }
      on alpha { address 10.0.0.1:7789; node-id 0; }
      on beta { address 10.0.0.2:7789; node-id 1; }
    }
    """
}
