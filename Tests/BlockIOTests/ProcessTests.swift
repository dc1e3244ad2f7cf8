// Children and signals on the ring, the pid file, memory, digests, clock and chance.

import Base
import CURing
import Foundation
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite struct ProcessTests {
    private func exit(_ command: String, environment: [String] = [], log: Int32? = nil) throws -> Child.Exit? {
      var ring = try Ring.forTest()
      var child = try Child(shell: command, environment: environment, log: log)
      ring.pollReadable(child.descriptor, tag: Tag(kind: 1))
      #expect(try ring.one().result > 0)
      let exit = child.reap()
      #expect(child.reap() == exit)
      return exit
    }

    @Test("The end of a child arrives on the ring with its status")
    func status() throws {
      #expect(try exit("exit 7") == .status(7))
      #expect(try exit("kill -9 $$") == .signal(SIGKILL))
      #expect(try exit("no-such-program 2>/dev/null") == .status(127))
    }

    @Test("A child has its environment, its log and the usual signals")
    func surroundings() throws {
      let scratch = try Scratch()
      let path = "\(scratch.path)/log"
      let log = cu_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
      defer { close(log) }
      let command =
        #"echo "$DRBD_RESOURCE $DRBD_PEER" >&2; cat; grep SigBlk /proc/self/status; cat /proc/self/oom_score_adj"#
      #expect(
        try exit(command, environment: ["DRBD_RESOURCE=r0", "DRBD_PEER=b", "PATH=/usr/bin:/bin"], log: log)
          == .status(0))
      let text = try String(contentsOfFile: path, encoding: .utf8)
      #expect(text == "r0 b\nSigBlk:\t0000000000000000\n0\n")
    }

    @Test("A child that takes too long is ended with all that it started")
    func kill() throws {
      var ring = try Ring.forTest()
      let scratch = try Scratch()
      let path = "\(scratch.path)/pid"
      var child = try Child(
        shell: "sleep 1000 & echo $! > \(path).new; mv \(path).new \(path); wait", environment: ["PATH=/usr/bin:/bin"])
      ring.pollReadable(child.descriptor, tag: Tag(kind: 1))
      while access(path, F_OK) != 0 { ring.submitAndWait(until: Clock.now() + .milliseconds(5)) }
      #expect(child.reap() == nil)
      let grandchild = try #require(Int32(try String(contentsOfFile: path, encoding: .utf8).dropLast()))
      child.kill()
      #expect(try ring.one().result > 0)
      #expect(child.reap() == .signal(SIGKILL))
      // Dead, or dead and not yet collected by its new parent. The kernel ends a group one by one.
      func isDead() -> Bool {
        let state = try? String(contentsOfFile: "/proc/\(grandchild)/stat", encoding: .utf8)
        return state == nil || state!.contains(") Z ") || Glibc.kill(grandchild, 0) != 0
      }
      let limit = Clock.now() + .seconds(20)
      while !isDead(), Clock.now() < limit { ring.submitAndWait(until: Clock.now() + .milliseconds(5)) }
      #expect(isDead())
    }

    @Test("A program that does not exist is refused by name")
    func noProgram() {
      let refused = refusal { () throws(ChildRefusal) in _ = try Child(program: ["/no/such", "x"], environment: []) }
      #expect(refused?.text == "'/no/such x' could not be started: No such file or directory")
    }

    @Test("A signal arrives as bytes")
    func signal() throws {
      var ring = try Ring.forTest()
      let signals = try Signals([SIGUSR1])
      signals.wait(&ring, tag: Tag(kind: 5))
      pthread_kill(pthread_self(), SIGUSR1)
      #expect(signals.received(try ring.one()) == SIGUSR1)
    }

    @Test("One process per pid file; what a killed one left is no obstacle")
    func pidFile() throws {
      let scratch = try Scratch()
      let path = "\(scratch.path)/r0.pid"
      try "999999\n".write(toFile: path, atomically: false, encoding: .utf8)
      do {
        let first = try PidFile(path: path)
        #expect(try String(contentsOfFile: first.path, encoding: .utf8) == "\(getpid())\n")
        #expect(PidFile.isHeld(path))
        let refused = refusal { () throws(PidFileRefusal) in _ = try PidFile(path: path) }
        #expect(refused == .held(path: path, pid: getpid()))
        #expect(refused?.text.contains("(pid \(getpid())") == true)
        withExtendedLifetime(first.path) {}
      }
      #expect(access(path, F_OK) != 0)
      #expect(!PidFile.isHeld(path))
    }

    @Test("Time goes forward and chance differs")
    func clockAndChance() {
      let first = Clock.now()
      #expect(first <= Clock.now())
      #expect(Entropy.word() != Entropy.word())
    }
  }
}

extension OnThisMachine {
  @Suite struct DigestTests {
    private func hex(_ bytes: [UInt8]) -> String {
      bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    @Test(
      "Digests of \"abc\" are the published ones",
      arguments: [
        (.md5, "900150983cd24fb0d6963f7d28e17f72"), (.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
          .sha384,
          "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
        ),
        (
          .sha512,
          "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ), (.crc32c, "b73f4b36"),
      ] as [(DigestAlgorithm, String)])
    func vectors(algorithm: DigestAlgorithm, expected: String) throws {
      var digest = try Digest(algorithm)
      #expect(hex(digest.of(Array("abc".utf8))) == expected)
      // It starts over after each.
      Array("ab".utf8).withUnsafeBytes { digest.update($0) }
      #expect(hex(digest.of(Array("c".utf8))) == expected)
    }

    @Test("CRC-32C of a block of zeroes is that of the wire specification, by instruction and by table")
    func crc() throws {
      let zeroes = [UInt8](repeating: 0, count: 4096)
      var digest = try Digest(.crc32c)
      #expect(hex(digest.of(zeroes)) == "8941f998")
      for count in [0, 1, 7, 8, 9, 1000] {
        pattern(count, seed: 1).withUnsafeBytes { #expect(Crc32c.update(.max, $0) == Crc32c.byTable(.max, $0)) }
      }
    }

    @Test("HMAC as in RFC 2202 and RFC 4231")
    func keyed() throws {
      let message = Array("what do ya want for nothing?".utf8)
      let key = Array("Jefe".utf8)
      #expect(hex(try Digest.keyed(.sha1, key: key, message: message)) == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
      #expect(hex(try Digest.keyed(.md5, key: key, message: message)) == "750c783e6ab0b503eaa86e310a5db738")
      #expect(
        hex(try Digest.keyed(.sha256, key: key, message: message))
          == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
      #expect(hex(try Digest.keyed(.sha1, key: [], message: [])) == "fbdb1d1b18aa6c08324b7d64b71fb76370690e1d")
      #expect(Digest.equal([1, 2], [1, 2]) && !Digest.equal([1, 2], [1, 3]) && !Digest.equal([1], [1, 2]))
    }

    @Test("An unknown name lists the known ones")
    func unknown() throws {
      let plain = refusal { () throws(UnknownDigest) in _ = try DigestAlgorithm(named: "sha3") }
      #expect(plain?.text == "'sha3' is no digest known here: use one of crc32c, md5, sha1, sha256, sha384, sha512")
      let keyed = refusal { () throws(UnknownDigest) in _ = try DigestAlgorithm(keyedNamed: "crc32c") }
      #expect(keyed?.text == "'crc32c' is no digest known here: use one of md5, sha1, sha256, sha384, sha512")
      #expect(try DigestAlgorithm(named: "crc32c") == .crc32c)
    }
  }
}

extension OnThisMachine {
  @Suite struct MemoryTests {
    /// In a child process: locked memory and a changed standing would stay with the test program.
    @Test("What cannot be protected is reported with its consequence")
    func shortfall() {
      let text = MemoryShortfall(what: "locking memory", error: Errno(EPERM), consequence: "I/O may stall").text
      #expect(text == "locking memory was refused (Operation not permitted): I/O may stall")
    }
  }
}
