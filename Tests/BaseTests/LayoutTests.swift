// A layout is declared once: what is written is read back, sizes agree, and bytes that are too few are an error.
import Base
import Testing

private struct Sample: Layout, Equatable {
  var a: UInt8 = 0
  var b: UInt16 = 0
  var c: UInt32 = 0
  var d: UInt64 = 0
  var handle: UInt64 = 0
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u8(&a)
    walk.u16(&b)
    walk.u32(&c)
    walk.u64(&d)
    walk.opaque64(&handle)
    walk.pad(3)
  }
}

@Test func `what is written is read back, big endian, pads zero`() throws {
  var sample = Sample()
  sample.a = 1
  sample.b = 0x0203
  sample.c = 0x0405_0607
  sample.d = 0x0809_0a0b_0c0d_0e0f
  sample.handle = 0x1122_3344_5566_7788
  #expect(Sample.size == 26)
  var bytes = [UInt8](repeating: 0xff, count: 30)
  let end = bytes.withUnsafeMutableBytes { sample.write(to: $0, at: 2) }
  #expect(end == 28)
  #expect(Array(bytes[2..<17]) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
  #expect(Array(bytes[25..<28]) == [0, 0, 0])
  #expect(bytes[28] == 0xff)
  let back = try Sample(reading: bytes.span.bytes, at: 2)
  #expect(back == sample)
}

@Test func `too few bytes are an error`() {
  let bytes = [UInt8](repeating: 0, count: 25)
  #expect(throws: ShortLayout.self) { try Sample(reading: bytes.span.bytes) }
}
