/* The low-level interface of libfuse 3, and the few fields of it that Swift does not reach by name. */
#define FUSE_USE_VERSION 35
#include <stdint.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <fuse_lowlevel.h>

/* Reads and writes of the file go past the page cache: what is on top of it has one of its own. */
static inline void cf_set_direct(struct fuse_file_info *file) { file->direct_io = 1; }
/* Requests are read into memory of ours, so nothing is spliced. */
static inline void cf_refuse_splice(struct fuse_conn_info *link)
{ link->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE); }
static inline struct fuse_buf cf_memory(void *memory, size_t size)
{ struct fuse_buf buffer = { .size = size, .mem = memory }; return buffer; }
static inline int cf_open_signals(void)
{
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM); sigaddset(&set, SIGINT); sigaddset(&set, SIGHUP);
  if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) return -1;
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}
