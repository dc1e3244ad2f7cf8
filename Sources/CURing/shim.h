/* stdint.h first: liburing.h pins feature macros that change glibc's fd_set otherwise. */
#include <stdint.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <liburing.h>

enum { CU_O_DIRECT = __O_DIRECT };
enum {
  CU_FIXED_FILE = 1u << IOSQE_FIXED_FILE_BIT,
  CU_IO_DRAIN = 1u << IOSQE_IO_DRAIN_BIT,
  CU_IO_LINK = 1u << IOSQE_IO_LINK_BIT,
  CU_ASYNC = 1u << IOSQE_ASYNC_BIT
};

static inline unsigned cu_cq_tail(const struct io_uring *r) { return io_uring_smp_load_acquire(r->cq.ktail); }
static inline unsigned cu_cq_head(const struct io_uring *r) { return *r->cq.khead; }
static inline void cu_cq_set_head(struct io_uring *r, unsigned h) { io_uring_smp_store_release(r->cq.khead, h); }
static inline const struct io_uring_cqe *cu_cqe_at(const struct io_uring *r, unsigned i)
{ return &r->cq.cqes[i & r->cq.ring_mask]; }
