// Memory for requests of the kernel: as many pieces of one size as there may be writes under way, mapped once. The piece that was given
// back last is lent first, so that small requests touch few pages.
import Base
import Glibc

struct LentMemory: ~Copyable {
  let bytesOfPiece: Int
  private let base: UnsafeMutableRawPointer
  private let total: Int
  private var free: [UnsafeMutableRawPointer]

  init(pieces: Int, bytes: Int) {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    bytesOfPiece = (bytes + page - 1) / page * page
    total = bytesOfPiece * pieces
    guard let mapped = mmap(nil, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      mapped != MAP_FAILED
    else { preconditionFailure("no address space for \(total) bytes") }
    base = mapped
    let size = bytesOfPiece
    free = (0..<pieces).reversed().map { mapped + $0 * size }
  }

  deinit { munmap(base, total) }

  mutating func borrow() -> UnsafeMutableRawPointer? { free.popLast() }
  mutating func giveBack(_ piece: UnsafeMutableRawPointer) { free.append(piece) }
}
