/* otlp_receiver.c: receives telemetry over HTTP, in OTLP's protobuf encoding, for all three signals on one port.
 *
 * plugin_config: {protocols: {http: {endpoint: "HOST:PORT"}}} (upstream's keys), or {endpoint: "HOST:PORT"}
 *
 * HOST is an IPv4 address, localhost or empty for any. Connections are served one after the other, each until it is idle;
 * bodies may be chunked. Compressed bodies, other content types and other methods are refused with their status.
 */
#define OTELWASM_SUPPORTS (OTELWASM_TRACES | OTELWASM_METRICS | OTELWASM_LOGS)
#define OTELWASM_RECEIVER
#include "sdk/otelwasm.h"
#include "sdk/protobuf.h"
#include "sdk/json.h"
#include "sdk/wasi.h"
#include "sdk/http.h"

enum { CONNECTIONS = 64, TICK_MS = 50, MAX_HEAD = 16384, MAX_BODY = 64 << 20 };

/* A connection and what of a request has come. Its buffer outlives calls, so it has memory of its own. */
typedef struct connection {
  int32_t fd; /* -1: free */
  uint8_t *data;
  uint32_t size;
  uint32_t room;
} connection;

static connection connections[CONNECTIONS];
static int32_t listener = -1;

/* Buffers come from the arena too, which a receiver never empties; a larger one replaces a smaller one and stays. */
static bool grow_buffer(connection *c, uint32_t room) {
  if (room <= c->room) return true;
  uint32_t wanted = c->room * 2 > room ? c->room * 2 : room;
  uint8_t *grown = otelwasm_alloc(wanted);
  if (grown == NULL) return false;
  memcpy(grown, c->data, c->size);
  c->data = grown;
  c->room = wanted;
  return true;
}

static void hang_up(connection *c) {
  wasi_fd_close(c->fd);
  c->fd = -1;
  c->size = 0;
}

static bool send_all(int32_t fd, bytes data) {
  while (data.size != 0) {
    wasi_iov iov = {data.data, data.size};
    uint32_t sent = 0;
    int32_t wrong = wasi_fd_write(fd, &iov, 1, &sent);
    if (wrong == WASI_AGAIN) {
      if (!wasi_wait(fd, WASI_FD_WRITE, 5000)) return false;
    } else if (wrong != 0) {
      return false;
    }
    data.data += sent;
    data.size -= sent;
  }
  return true;
}

/* Answers with a status line and an empty body: an empty message is the export response of full success. */
static bool answer(connection *c, bytes status) {
  uint8_t room[256];
  writer w = {room, 0, sizeof room, false};
  write_bytes(&w, TEXT("HTTP/1.1 "));
  write_bytes(&w, status);
  write_bytes(&w, TEXT("\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"));
  return send_all(c->fd, (bytes){w.data, w.size});
}

/* The body of chunks at `at`: joined in place behind the head. 0 more to come, -1 malformed, else where the request ends. */
static int32_t join_chunks(connection *c, uint32_t begin, uint32_t *body_size) {
  uint32_t at = begin, total = 0;
  for (;;) { /* first whether all is there: joining overwrites what would have to be read again */
    bytes rest = {c->data + at, c->size - at}, line;
    uint32_t before = rest.size, size;
    bool blank = rest.size >= 2 && rest.data[0] == '\r';
    if (blank || !http_line(&rest, &line)) return blank || rest.size > 64 ? -1 : 0;
    if (!parse_number(line, 16, &size) || size > MAX_BODY) return -1;
    at += before - rest.size;
    if (size == 0) {
      bytes trailer = {c->data + at, c->size - at};
      if (trailer.size < 2) return 0;
      if (trailer.data[0] != '\r') return -1; /* trailers are not taken */
      at += 2;
      break;
    }
    if (c->size - at < size + 2) return 0;
    at += size + 2;
    total += size;
    if (total > MAX_BODY) return -1;
  }
  uint32_t from = begin, to = begin;
  for (;;) {
    bytes rest = {c->data + from, c->size - from}, line;
    uint32_t before = rest.size, size = 0;
    http_line(&rest, &line);
    parse_number(line, 16, &size);
    from += before - rest.size;
    if (size == 0) break;
    memmove(c->data + to, c->data + from, size);
    to += size;
    from += size + 2;
  }
  *body_size = total;
  return (int32_t)at;
}

static uint32_t signal_of(bytes line) {
  static const struct {
    bytes start;
    uint32_t signal;
  } known[] = {{{(const uint8_t *)"POST /v1/traces ", 16}, OTELWASM_TRACES},
               {{(const uint8_t *)"POST /v1/metrics ", 17}, OTELWASM_METRICS},
               {{(const uint8_t *)"POST /v1/logs ", 14}, OTELWASM_LOGS}};
  for (int n = 0; n < 3; n++)
    if (line.size > known[n].start.size && memcmp(line.data, known[n].start.data, known[n].start.size) == 0)
      return known[n].signal;
  return 0;
}

/* Serves the request in the connection's buffer, if it is whole. False where the connection is to end. */
static bool serve(connection *c) {
  bytes received = {c->data, c->size};
  uint32_t head_size = http_head_size(received), body_size = 0, end;
  if (head_size == 0) return c->size < MAX_HEAD;
  bytes head = {c->data, head_size}, line = {NULL, 0};
  http_line(&head, &line);
  head = (bytes){c->data, head_size};
  bytes type = http_header(head, TEXT("Content-Type")), coding = http_header(head, TEXT("Content-Encoding"));
  uint32_t signal = signal_of(line);
  if (signal == 0) {
    bool posts = line.size > 5 && memcmp(line.data, "POST ", 5) == 0;
    answer(c, posts ? TEXT("404 Not Found") : TEXT("405 Method Not Allowed"));
    return false;
  }
  if (!same_ignoring_case(type, TEXT("application/x-protobuf")) ||
      (coding.size != 0 && !same_ignoring_case(coding, TEXT("identity")))) {
    answer(c, TEXT("415 Unsupported Media Type"));
    return false;
  }
  if (http_header(head, TEXT("Transfer-Encoding")).size != 0) {
    int32_t found = join_chunks(c, head_size, &body_size);
    if (found < 0) {
      answer(c, TEXT("400 Bad Request"));
      return false;
    }
    if (found == 0) return true;
    end = (uint32_t)found;
  } else {
    if (!parse_number(http_header(head, TEXT("Content-Length")), 10, &body_size)) {
      answer(c, TEXT("411 Length Required"));
      return false;
    }
    if (body_size > MAX_BODY) {
      answer(c, TEXT("413 Content Too Large"));
      return false;
    }
    if (c->size < head_size + body_size) {
      bytes expect = http_header(head, TEXT("Expect"));
      if (expect.size != 0 && c->size == head_size) send_all(c->fd, TEXT("HTTP/1.1 100 Continue\r\n\r\n"));
      return grow_buffer(c, head_size + body_size);
    }
    end = head_size + body_size;
  }
  bool keep = !same_ignoring_case(http_header(head, TEXT("Connection")), TEXT("close"));
  otelwasm_set_result(signal, (bytes){c->data + head_size, body_size});
  if (!answer(c, TEXT("200 OK")) || !keep) return false;
  memmove(c->data, c->data + end, c->size - end); /* a request that follows at once */
  c->size -= end;
  return c->size == 0 || serve(c);
}

static void receive(connection *c) {
  for (;;) {
    if (!grow_buffer(c, c->size + 4096)) {
      hang_up(c);
      return;
    }
    wasi_iov iov = {c->data + c->size, c->room - c->size};
    uint32_t got = 0;
    int32_t wrong = wasi_fd_read(c->fd, &iov, 1, &got);
    if (wrong == WASI_AGAIN) return;
    c->size += got;
    if (wrong != 0 || got == 0 || !serve(c)) {
      hang_up(c);
      return;
    }
  }
}

static void accept_all(void) {
  for (uint32_t n = 0; n < CONNECTIONS; n++) {
    connection *c = &connections[n];
    if (c->fd >= 0) continue;
    if (wasi_sock_accept(listener, WASI_NONBLOCK, &c->fd) != 0) {
      c->fd = -1;
      return;
    }
    wasi_fd_fdstat_set_flags(c->fd, WASI_NONBLOCK);
  }
}

static bool open_listener(void) {
  bytes config;
  uint8_t octets[4];
  uint32_t port;
  int32_t yes = 1;
  if (!otelwasm_config(&config)) return false;
  bytes http = json_get(json_get(config, TEXT("protocols")), TEXT("http"));
  bytes endpoint = json_text(json_get(json_is(http, '{') ? http : config, TEXT("endpoint")));
  if (!parse_host_port(endpoint, octets, &port)) {
    otelwasm_log(OTELWASM_LOG_ERROR, TEXT("endpoint is required: HOST:PORT, with an IPv4 address"));
    return false;
  }
  wasi_address address = {octets, 4};
  if (wasi_sock_open(1, 2, &listener) != 0 || wasi_sock_setsockopt(listener, 0, 0, &yes, 4) != 0 ||
      wasi_sock_bind(listener, &address, (int32_t)port) != 0 || wasi_sock_listen(listener, 128) != 0 ||
      wasi_fd_fdstat_set_flags(listener, WASI_NONBLOCK) != 0) {
    otelwasm_log(OTELWASM_LOG_ERROR, TEXT("the endpoint cannot be listened on"));
    return false;
  }
  return true;
}

/* One server for every signal, whichever start function the host calls. */
void otelwasm_receive(uint32_t signal) {
  (void)signal;
  for (uint32_t n = 0; n < CONNECTIONS; n++) connections[n].fd = -1;
  if (!open_listener()) __builtin_trap();
  otelwasm_log(OTELWASM_LOG_INFO, TEXT("receiving OTLP over HTTP"));
  while (!otelwasm_shutdown_requested()) {
    wasi_subscription in[CONNECTIONS + 2] = {{.userdata = CONNECTIONS, .kind = WASI_FD_READ, .which = (uint32_t)listener},
                                             {.userdata = CONNECTIONS + 1, .which = 1, .timeout = TICK_MS * 1000000}};
    wasi_event out[CONNECTIONS + 2];
    uint32_t count = 2, ready = 0;
    for (uint32_t n = 0; n < CONNECTIONS; n++)
      if (connections[n].fd >= 0)
        in[count++] = (wasi_subscription){.userdata = n, .kind = WASI_FD_READ, .which = (uint32_t)connections[n].fd};
    if (wasi_poll_oneoff(in, out, count, &ready) != 0) continue;
    for (uint32_t n = 0; n < ready; n++) {
      if (out[n].userdata == CONNECTIONS)
        accept_all();
      else if (out[n].userdata < CONNECTIONS)
        receive(&connections[out[n].userdata]);
    }
  }
  for (uint32_t n = 0; n < CONNECTIONS; n++)
    if (connections[n].fd >= 0) hang_up(&connections[n]);
  wasi_fd_close(listener);
}
