/* wasi.h: standard output, sockets and waiting for guests without a libc. Include behind otelwasm.h.
 *
 * WASI preview 1 with the WasmEdge socket extension, version 2. Results are WASI's errnos, 0 for success.
 */
#ifndef WASI_H
#define WASI_H

#define WASI(name) IMPORT("wasi_snapshot_preview1", name)

enum { WASI_AGAIN = 6, WASI_INPROGRESS = 26 };
enum { WASI_FD_READ = 1, WASI_FD_WRITE = 2, WASI_NONBLOCK = 4 };

typedef struct wasi_iov {
  const void *data;
  uint32_t size;
} wasi_iov;

WASI("fd_write") int32_t wasi_fd_write(int32_t fd, const wasi_iov *iovs, uint32_t count, uint32_t *written);
WASI("fd_read") int32_t wasi_fd_read(int32_t fd, const wasi_iov *iovs, uint32_t count, uint32_t *read);
WASI("fd_close") int32_t wasi_fd_close(int32_t fd);
WASI("fd_fdstat_set_flags") int32_t wasi_fd_fdstat_set_flags(int32_t fd, int32_t flags);
WASI("poll_oneoff") int32_t wasi_poll_oneoff(const void *in, void *out, uint32_t count, uint32_t *events);
WASI("clock_time_get") int32_t wasi_clock_time_get(int32_t id, int64_t precision, uint64_t *time);
WASI("sock_open") int32_t wasi_sock_open(int32_t family, int32_t type, int32_t *fd);
WASI("sock_bind") int32_t wasi_sock_bind(int32_t fd, const void *address, int32_t port);
WASI("sock_listen") int32_t wasi_sock_listen(int32_t fd, int32_t backlog);
WASI("sock_connect") int32_t wasi_sock_connect(int32_t fd, const void *address, int32_t port);
WASI("sock_accept") int32_t wasi_sock_accept(int32_t fd, int32_t flags, int32_t *out);
WASI("sock_setsockopt")
int32_t wasi_sock_setsockopt(int32_t fd, int32_t level, int32_t option, const int32_t *value, uint32_t size);
WASI("sock_getsockopt")
int32_t wasi_sock_getsockopt(int32_t fd, int32_t level, int32_t option, int32_t *value, uint32_t size);

/* Writes all of `text`; standard output is 1. */
static int32_t wasi_write_all(int32_t fd, bytes text) {
  while (text.size != 0) {
    wasi_iov iov = {text.data, text.size};
    uint32_t written = 0;
    int32_t wrong = wasi_fd_write(fd, &iov, 1, &written);
    if (wrong != 0) return wrong;
    text.data += written;
    text.size -= written;
  }
  return 0;
}

static inline uint64_t wasi_now(void) { /* ns of the monotonic clock */
  uint64_t now = 0;
  wasi_clock_time_get(1, 0, &now);
  return now;
}

typedef struct wasi_subscription {
  uint64_t userdata;
  uint8_t kind; /* 0 clock, 1 readable, 2 writable */
  _Alignas(8) uint32_t which; /* the clock or the descriptor */
  uint64_t timeout;
  uint64_t precision;
  uint16_t flags;
} wasi_subscription;

typedef struct wasi_event {
  uint64_t userdata;
  uint16_t error;
  uint8_t kind;
  uint64_t bytes;
  uint16_t flags;
} wasi_event;

_Static_assert(sizeof(wasi_subscription) == 48 && offsetof(wasi_subscription, timeout) == 24, "subscription");
_Static_assert(sizeof(wasi_event) == 32 && offsetof(wasi_event, bytes) == 16, "event");

/* Waits until one descriptor is readable or writable, for `ms` at most: whether it is. */
static bool wasi_wait(int32_t fd, uint8_t kind, uint32_t ms) {
  wasi_subscription in[2] = {{.userdata = 1, .kind = kind, .which = (uint32_t)fd},
                             {.userdata = 2, .which = 1, .timeout = (uint64_t)ms * 1000000}};
  wasi_event out[2];
  uint32_t count = 0;
  if (wasi_poll_oneoff(in, out, 2, &count) != 0) return false;
  for (uint32_t n = 0; n < count; n++)
    if (out[n].userdata == 1 && out[n].error == 0) return true;
  return false;
}

/* An IPv4 address as the socket functions take it. */
typedef struct wasi_address {
  const uint8_t *octets;
  uint32_t size;
} wasi_address;

/* Reads "a.b.c.d"; false for anything else, but for "localhost" and, as any address, nothing at all. */
static bool parse_ipv4(bytes text, uint8_t octets[4]) {
  static const uint8_t any[4] = {0, 0, 0, 0}, local[4] = {127, 0, 0, 1};
  if (text.size == 0 || same(text, TEXT("localhost"))) {
    memcpy(octets, text.size == 0 ? any : local, 4);
    return true;
  }
  uint32_t part = 0, value = 0, digits = 0;
  for (uint32_t n = 0; n <= text.size; n++) {
    uint8_t c = n < text.size ? text.data[n] : '.';
    if (c == '.') {
      if (digits == 0 || value > 255 || part > 3) return false;
      octets[part++] = (uint8_t)value;
      value = digits = 0;
    } else if (c >= '0' && c <= '9' && digits < 3) {
      value = value * 10 + (c - '0');
      digits++;
    } else {
      return false;
    }
  }
  return part == 4;
}

static bool parse_port(bytes text, uint32_t *port) {
  *port = 0;
  for (uint32_t n = 0; n < text.size; n++) {
    if (text.data[n] < '0' || text.data[n] > '9' || n > 4) return false;
    *port = *port * 10 + (text.data[n] - '0');
  }
  return text.size != 0 && *port < 65536;
}

/* Splits "host:port" at its last colon. */
static bool parse_host_port(bytes text, uint8_t octets[4], uint32_t *port) {
  for (uint32_t n = text.size; n-- > 0;)
    if (text.data[n] == ':')
      return parse_ipv4((bytes){text.data, n}, octets) &&
             parse_port((bytes){text.data + n + 1, text.size - n - 1}, port);
  return false;
}

#endif
