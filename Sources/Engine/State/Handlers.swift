// Hooks of the `handlers` section, called by the flow that has something to tell. Each call has a number of its own, by which its exit
// code finds the flow that waits for it.
import Base

extension Engine {
  @discardableResult
  mutating func call(_ handler: Handler, _ v: Int) -> WorkID {
    handlersCalled += 1
    let id = WorkID(kind: .handler, slot: SlotID(raw: handlersCalled))
    fx.append(.handler(id, handler, volumes[v].number))
    return id
  }
}
