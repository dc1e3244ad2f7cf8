// ReplDaemon
