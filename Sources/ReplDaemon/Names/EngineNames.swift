// Several targets have a good short name for a thing of their own, and some names meet here. Where they do, this target
// says whose it is; a file of this folder imports one target only, so that the name is clear.
import Engine

typealias EngineCommand = Command
typealias EngineRefusal = Refusal
typealias EngineFault = DiskFault
typealias EngineTicket = Ticket
typealias EngineOnIOError = OnIOError
typealias EngineProtocol = WireProtocol
typealias EngineHandler = Handler
