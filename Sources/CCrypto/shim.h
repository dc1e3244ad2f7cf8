/* OpenSSL's libcrypto, and CRC-32C by the processor's instruction. */
#include <stdint.h>
#include <stddef.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#if defined(__x86_64__)
#include <cpuid.h>
static inline int cc_has_crc32c(void)
{
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 20));
}
__attribute__((target("sse4.2")))
static inline uint32_t cc_crc32c(uint32_t crc, const void *bytes, size_t count)
{
  const unsigned char *p = (const unsigned char *)bytes;
  uint64_t state = crc;
  for (; count >= 8; count -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    state = __builtin_ia32_crc32di(state, word);
  }
  for (; count > 0; count--, p++) state = __builtin_ia32_crc32qi((uint32_t)state, *p);
  return (uint32_t)state;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>
#include <arm_acle.h>
static inline int cc_has_crc32c(void) { return (getauxval(AT_HWCAP) & (1ul << 7)) != 0; }
__attribute__((target("crc")))
static inline uint32_t cc_crc32c(uint32_t crc, const void *bytes, size_t count)
{
  const unsigned char *p = (const unsigned char *)bytes;
  for (; count >= 8; count -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    crc = __crc32cd(crc, word);
  }
  for (; count > 0; count--, p++) crc = __crc32cb(crc, *p);
  return crc;
}
#else
static inline int cc_has_crc32c(void) { return 0; }
static inline uint32_t cc_crc32c(uint32_t crc, const void *bytes, size_t count) { return crc; }
#endif
