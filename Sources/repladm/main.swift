// `repladm`, `replmeta` and `replsetup`: one program, called by three names.
import Glibc
import ReplAdmin

let arguments = CommandLine.arguments
signal(SIGPIPE, SIG_IGN)
exit(
  CommandLineRun.run(
    Array(arguments.dropFirst()), surroundings: .ofThisProcess(arguments.first ?? "repladm"), console: .standard()))
