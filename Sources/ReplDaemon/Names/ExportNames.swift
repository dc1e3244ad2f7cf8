// Names of the Export target that others have too.
import Export

typealias ClientTicket = Ticket
typealias ClientSession = Session
typealias ClientReply = Reply
typealias ClientExport = Export
