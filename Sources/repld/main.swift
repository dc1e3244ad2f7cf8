// The daemon of one resource. Everything is in ReplDaemon.
import ReplDaemon

Repld.runAsProgram()
