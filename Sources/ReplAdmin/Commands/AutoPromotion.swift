// What the options `auto-promote` and `auto-promote-timeout` are for the daemon that runs: as the file says, or as they were changed since.
import Control
import FoundationEssentials

struct AutoPromotion {
  let isOn: Bool
  /// How long a promotion waits for a peer that is about to give up the role.
  let seconds: Double

  private struct Shown: Decodable {
    struct Options: Decodable {
      var isOn: Bool
      var deciseconds: String
      enum CodingKeys: String, CodingKey { case isOn = "auto-promote", deciseconds = "auto-promote-timeout" }
    }
    var options: Options
  }

  init(of daemon: DaemonProcess, deadline: Deadline) throws(Refusal) {
    let text = try daemon.text(.show(json: true, defaults: true), deadline: deadline)
    do {
      let options = try JSONDecoder().decode(Shown.self, from: Data(text.utf8)).options
      isOn = options.isOn
      seconds = (Double(options.deciseconds) ?? 0) / 10
    } catch {
      throw Refusal(
        "repld did not say whether auto-promote is on", why: "\(error)",
        next: "install repladm and repld of the same version", exitCode: 20)
    }
  }
}
