// The packets between repladm and repl-device, both ways.
import Base
import Control
import Testing

@Suite struct DeviceTalk {
  @Test func requestsComeBackAsTheyWent() {
    let volume = VolumeNumber(7)
    for request: DeviceRequest in [
      .serve(volume, size: 1 << 40, flags: 0x8d), .resume(volume, size: 4096, flags: 0), .resize(volume, size: .max),
      .end(volume), .leave, .state, .name(volume, minor: 90, "drbd90"), .unname(volume),
      .bind(volume, major: 7, minor: 1 << 20), .hold, .role(automatic: true), .role(automatic: false), .mayDemote,
    ] { #expect(DeviceRequest(request.text) == request) }
  }

  @Test func repliesComeBackAsTheyWent() {
    let shown = [
      DeviceReply.Shown(volume: VolumeNumber(0), isConnected: true),
      DeviceReply.Shown(volume: VolumeNumber(65534), isConnected: false),
    ]
    for reply: DeviceReply in [
      .done, .served("r0-0-1f"), .leaving, .refused("volume 0 is served already"), .state(shown), .state([]),
    ] {
      #expect(DeviceReply(reply.text) == reply)
    }
  }

  @Test(arguments: [
    "", "serve", "serve 0 1", "serve 0 1 2 3", "serve 65536 1 2", "serve 0 -1 2", "serve 0 1 65536", "resize 0", "end",
    "end x",
    "end 0 0", "state 0", "stat", " state", "state ", "name 0 1", "name 0 1 a b", "name 0 1 a/b", "name 0 1 ..",
    "name x 1 a", "unname", "bind 0 7", "bind 0 7 x", "bind 0 7 4294967296", "role", "role none", "hold 1",
  ])
  func whatIsNoRequestIsNotTakenForOne(_ text: String) { #expect(DeviceRequest(text) == nil) }

  @Test(arguments: [
    "", "don", "done 1", "served", "served ", "served a b", "leaving x", "state 0", "state 0:gone", "state x:waiting",
    "state 0:waiting:1",
  ])
  func whatIsNoReplyIsNotTakenForOne(_ text: String) { #expect(DeviceReply(text) == nil) }
}
