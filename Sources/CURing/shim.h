/* liburing, and the few Linux calls that the Glibc module does not offer to Swift. */
/* stdint.h first: liburing.h pins feature macros that change glibc's fd_set otherwise. */
#include <stdint.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <malloc.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <liburing.h>

enum { CU_O_DIRECT = __O_DIRECT };
enum {
  CU_FIXED_FILE = 1u << IOSQE_FIXED_FILE_BIT,
  CU_IO_DRAIN = 1u << IOSQE_IO_DRAIN_BIT,
  CU_IO_LINK = 1u << IOSQE_IO_LINK_BIT,
  CU_ASYNC = 1u << IOSQE_ASYNC_BIT
};
enum { CU_ENOMEDIUM = ENOMEDIUM };
/* POLLRDHUP, which glibc shows only with _GNU_SOURCE. */
enum { CU_POLL_HANG_UP = 0x2000 };
enum { CU_RWF_DSYNC = 0x2 };
enum {
  CU_PUNCH_HOLE = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
  CU_ZERO_RANGE = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE
};
enum {
  CU_SETUP_DEFERRED = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
  CU_SETUP_COOPERATIVE = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL
};

static inline unsigned cu_cq_tail(const struct io_uring *r) { return io_uring_smp_load_acquire(r->cq.ktail); }
static inline unsigned cu_cq_head(const struct io_uring *r) { return *r->cq.khead; }
static inline void cu_cq_set_head(struct io_uring *r, unsigned h) { io_uring_smp_store_release(r->cq.khead, h); }
static inline const struct io_uring_cqe *cu_cqe_at(const struct io_uring *r, unsigned i)
{ return &r->cq.cqes[i & r->cq.ring_mask]; }

/* ioctl, fcntl, open, prctl and syscall take variable arguments, which Swift cannot pass. All return 0 or more, or -1 with errno. */
static inline int cu_open(const char *path, int flags, unsigned mode) { return open(path, flags, mode); }
static inline int cu_device_bytes(int fd, uint64_t *bytes) { return ioctl(fd, BLKGETSIZE64, bytes); }
static inline int cu_device_block(int fd, int *bytes) { return ioctl(fd, BLKSSZGET, bytes); }
static inline int cu_device_read_only(int fd, int *yes) { return ioctl(fd, BLKROGET, yes); }
/* The extents of a file that touch a range, the first `room` (at most 16) of them: how many, or -1 with errno. */
typedef struct { uint64_t start, bytes; uint32_t flags; } cu_extent;
enum {
  CU_EXTENT_UNWRITTEN = FIEMAP_EXTENT_UNWRITTEN,
  /* Flags that say nothing about the contents. */
  CU_EXTENT_PLAIN = FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_MERGED | FIEMAP_EXTENT_SHARED
};
static inline int cu_extents(int fd, uint64_t start, uint64_t bytes, cu_extent *extents, int room)
{
  enum { MOST = 16 };
  struct { struct fiemap head; struct fiemap_extent extents[MOST]; } ask = { .head = {
    .fm_start = start, .fm_length = bytes, .fm_extent_count = (uint32_t)(room < MOST ? room : MOST) } };
  if (ioctl(fd, FS_IOC_FIEMAP, &ask.head) < 0) return -1;
  for (uint32_t i = 0; i < ask.head.fm_mapped_extents; i++) {
    extents[i].start = ask.extents[i].fe_logical;
    extents[i].bytes = ask.extents[i].fe_length;
    extents[i].flags = ask.extents[i].fe_flags;
  }
  return (int)ask.head.fm_mapped_extents;
}
static inline int cu_unsent(int fd, int *bytes) { return ioctl(fd, SIOCOUTQ, bytes); }
static inline int cu_fallocate(int fd, int mode, int64_t offset, int64_t bytes)
{ return (int)syscall(SYS_fallocate, fd, mode, offset, bytes); }
/* An open-file-description lock: belongs to the descriptor, not to the process. Same number on every architecture. */
static inline int cu_lock_range(int fd, int64_t start, int64_t bytes)
{
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = bytes, .l_pid = 0 };
  return fcntl(fd, 37 /* F_OFD_SETLK */, &lock);
}
static inline int cu_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
static inline int cu_wait_pidfd(int pidfd, siginfo_t *info)
{ return waitid((idtype_t)3 /* P_PIDFD */, (id_t)pidfd, info, WEXITED | WNOHANG); }
static inline int cu_exit_status(const siginfo_t *info) { return info->si_status; }
static inline int cu_exit_code(const siginfo_t *info) { return info->si_code; }
static inline int cu_exit_pid(const siginfo_t *info) { return info->si_pid; }
/* One packet, with a descriptor beside the bytes when there is one (not -1). */
static inline ssize_t cu_send_packet(int fd, const void *bytes, size_t count, int descriptor)
{
  union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } beside;
  struct iovec part = { .iov_base = (void *)bytes, .iov_len = count };
  struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
  if (descriptor >= 0) {
    memset(&beside, 0, sizeof beside);
    message.msg_control = beside.room;
    message.msg_controllen = sizeof beside.room;
    beside.head.cmsg_level = SOL_SOCKET;
    beside.head.cmsg_type = SCM_RIGHTS;
    beside.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&beside.head), &descriptor, sizeof(int));
  }
  return sendmsg(fd, &message, MSG_NOSIGNAL);
}
/* `descriptor` becomes -1 when none came. */
static inline ssize_t cu_receive_packet(int fd, void *bytes, size_t room, int *descriptor)
{
  union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } beside;
  struct iovec part = { .iov_base = bytes, .iov_len = room };
  struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = beside.room, .msg_controllen = sizeof beside.room };
  *descriptor = -1;
  ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (got < 0) return got;
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int)))
    memcpy(descriptor, CMSG_DATA(head), sizeof(int));
  return got;
}
/* PR_SET_IO_FLUSHER, Linux 5.6. */
static inline int cu_set_io_flusher(void) { return prctl(57, 1, 0, 0, 0); }
static inline void cu_keep_heap(void) { mallopt(M_TRIM_THRESHOLD, -1); mallopt(M_TOP_PAD, 1 << 20); }
static inline int cu_random(void *bytes, size_t count) { return (int)syscall(SYS_getrandom, bytes, count, 0); }
/* The limit of open files: raised to `needed` as far as this user may. Returns what holds then. */
static inline uint64_t cu_allow_open_files(uint64_t needed)
{
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return needed;
  if (limit.rlim_cur >= needed) return limit.rlim_cur;
  struct rlimit wanted = { needed, limit.rlim_max >= needed ? limit.rlim_max : needed };
  if (setrlimit(RLIMIT_NOFILE, &wanted) == 0) return needed;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}
/* The last line of a process that dies of a signal: which one, where, and the way there. Only what a signal handler may
   call; the stack is one of its own, because the usual one may be what has run out. */
struct cu_death_state { struct sigaction before[65]; char prefix[8]; char stack[1 << 16]; };
static inline struct cu_death_state *cu_death_state(void) { static struct cu_death_state state = { .prefix = "" }; return &state; }
static inline char *cu_death_add(char *at, const char *text) { while (*text) *at++ = *text++; return at; }
static inline char *cu_death_number(char *at, uint64_t number, unsigned base)
{
  char digits[24];
  int count = 0;
  do { digits[count++] = "0123456789abcdef"[number % base]; number /= base; } while (number);
  while (count) *at++ = digits[--count];
  return at;
}
static inline void cu_death(int number, siginfo_t *info, void *context)
{
  const char *name = number == SIGILL ? "SIGILL" : number == SIGTRAP ? "SIGTRAP" : number == SIGABRT ? "SIGABRT"
    : number == SIGBUS ? "SIGBUS" : number == SIGFPE ? "SIGFPE" : number == SIGSEGV ? "SIGSEGV" : "a signal";
  char line[256];
  /* A line of the log may have been cut: this one is not joined with it. */
  char *end = cu_death_add(line, "\n");
  end = cu_death_add(end, cu_death_state()->prefix);
  end = cu_death_add(end, "repld: process ");
  end = cu_death_number(end, (uint64_t)getpid(), 10);
  end = cu_death_add(end, " died of ");
  end = cu_death_add(end, name);
  end = cu_death_add(end, " (signal ");
  end = cu_death_number(end, (uint64_t)number, 10);
  end = cu_death_add(end, ")");
  if (info->si_code <= 0) {
    end = cu_death_add(end, " sent by process ");
    end = cu_death_number(end, (uint64_t)info->si_pid, 10);
  } else {
    end = cu_death_add(end, " at address 0x");
    end = cu_death_number(end, (uint64_t)(uintptr_t)info->si_addr, 16);
  }
  end = cu_death_add(end, "; the way there:\n");
  ssize_t rest = end - line;
  const char *from = line;
  while (rest > 0) {
    ssize_t written = write(2, from, (size_t)rest);
    if (written <= 0) break;
    from += written;
    rest -= written;
  }
  void *frames[64];
  int count = backtrace(frames, 64);
  backtrace_symbols_fd(frames, count, 2);
  /* Swift's own handler, where there is one, tells more; it returns, and a signal that was sent would be survived. */
  if (number > 0 && number < 65) {
    const struct sigaction *before = &cu_death_state()->before[number];
    if (before->sa_flags & SA_SIGINFO && before->sa_sigaction) before->sa_sigaction(number, info, context);
  }
  signal(number, SIG_DFL);
  raise(number);
}
static inline void cu_tell_of_death(int to_journal)
{
  /* The first call loads a library: not in a signal handler. */
  void *frames[2];
  backtrace(frames, 2);
  if (to_journal) strcpy(cu_death_state()->prefix, "<2>");
  stack_t stack = { .ss_sp = cu_death_state()->stack, .ss_size = sizeof cu_death_state()->stack, .ss_flags = 0 };
  sigaltstack(&stack, NULL);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = cu_death;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  static const int signals[] = { SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV };
  for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++)
    sigaction(signals[i], &action, &cu_death_state()->before[signals[i]]);
}
/* Raises the limit of locked memory: without bound, else as far as this user may. -1 with errno when bounded. */
static inline int cu_raise_locked_memory(void)
{
  struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
  if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0) return 0;
  int error = errno;
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_MEMLOCK, &limit);
  }
  errno = error;
  return -1;
}
