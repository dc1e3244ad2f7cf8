// The ring under load and in every mode, and why the kernel may refuse it.

import Base
import Foundation
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite struct RingTests {
    @Test("Every mode of the ladder works by itself", arguments: Ring.Mode.allCases)
    func modes(mode: Ring.Mode) throws {
      var ring = try Ring(entries: 8, modes: [mode])
      #expect(ring.mode == mode)
      ring.nop(tag: Tag(kind: 3, 42))
      let done = try ring.one()
      #expect(done.tag.kind == 3)
      #expect(done.tag.payload == 42)
      #expect(done.result == 0)
      #expect(ring.next() == nil)
    }

    @Test("More requests than the queue takes are all carried out, in both queues")
    func pressure() throws {
      // 8 entries, 32 completions: 5000 requests without reading one overflow both many times.
      var ring = try Ring.forTest(entries: 8)
      let count = 5000
      for i in 0..<count { ring.nop(tag: Tag(kind: 1, UInt64(i))) }
      var seen = [Bool](repeating: false, count: count)
      for _ in 0..<count {
        let index = Int(try ring.one().tag.payload)
        #expect(!seen[index])
        seen[index] = true
      }
      #expect(seen.allSatisfy { $0 })
      #expect(ring.next() == nil)
      #expect(ring.counters.squeezed > 100)
    }

    @Test("Waiting ends at the deadline when nothing completes")
    func deadline() throws {
      var ring = try Ring.forTest()
      let begin = Clock.now()
      ring.submitAndWait(until: begin + .milliseconds(30))
      let waited = Clock.now() - begin
      #expect(waited >= .milliseconds(30))
      #expect(ring.next() == nil)
      // A deadline that has passed only looks.
      ring.nop(tag: Tag(kind: 1))
      ring.submitAndWait(until: begin)
      #expect(ring.next() != nil)
    }

    @Test("A cancelled request completes as cancelled")
    func cancel() throws {
      var ring = try Ring.forTest()
      let signals = try Signals([SIGUSR2])
      let waiting = Tag(kind: 7, 1)
      signals.wait(&ring, tag: waiting)
      ring.cancel(waiting, own: Tag(kind: 8))
      var results: [UInt8: Int32] = [:]
      for _ in 0..<2 {
        let done = try ring.one()
        results[done.tag.kind] = done.result
      }
      #expect(results[8] == 0)
      #expect(results[7] == -ECANCELED || results[7] == -EINTR)
    }

    @Test("A tag carries a slot handle unharmed")
    func tags() {
      var slots = Slots<Int>(capacity: 5)
      for round in 0..<100 {
        let id = slots.insert(round)
        let tag = Tag(kind: 200, slot: id)
        #expect(tag.slot == id)
        #expect(tag.kind == 200)
        slots.remove(id)
      }
    }

    @Test("Registered files are found by their slot until they are taken back")
    func registeredFiles() throws {
      let scratch = try Scratch()
      let path = try scratch.file()
      var ring = try Ring(entries: 8, files: 2)
      var devices: [RingFile] = []
      let handle = try #require(FileHandle(forUpdatingAtPath: path))
      for _ in 0..<3 { devices.append(ring.register(handle.fileDescriptor)) }
      // Two slots; the third goes the plain way.
      #expect(devices.map(\.isRegistered) == [true, true, false])
      for device in devices {
        ring.dataSync(device, tag: Tag(kind: 1))
        #expect(try ring.one().result == 0)
      }
      ring.unregister(devices[0])
      ring.dataSync(devices[0], tag: Tag(kind: 1))
      #expect(try ring.one().fault == Errno(EBADF))
      let again = ring.register(handle.fileDescriptor)
      #expect(again.isRegistered)
    }

    @Test(
      "A refusal names what forbids io_uring",
      arguments: [
        (EPERM, 2, "kernel.io_uring_disabled=2"), (EPERM, 1, "privileged"), (EPERM, 0, "seccomp"),
        (EPERM, nil, "seccomp"),
        (ENOSYS, nil, "seccomp"), (ENOMEM, 0, "ulimit -l"), (EMFILE, 0, "Too many open files"),
      ] as [(Int32, Int?, String)])
    func refusals(code: Int32, sysctl: Int?, words: String) {
      let text = RingRefusal(Errno(code), sysctl: sysctl).text
      #expect(text.contains(words))
      #expect(!text.contains("\n"))
    }
  }
}
