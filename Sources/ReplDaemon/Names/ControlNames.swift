// Names of the Control target that others have too.
import Control

typealias ControlCommand = Command
typealias ControlRefusal = Refusal
typealias ControlReply = Reply
typealias ControlRequest = Request
