/* otlphttp_exporter.c: sends telemetry over HTTP, in OTLP's protobuf encoding.
 *
 * plugin_config: {endpoint: "http://HOST:PORT", timeout_ms: 10000}
 *
 * HOST is an IPv4 address or localhost. A connection is kept for the next batch. 429, 502, 503, 504 and failures of the
 * connection answer ERROR, which may be tried again; any other refusal INVALID_ARGUMENT.
 */
#define OTELWASM_SUPPORTS (OTELWASM_TRACES | OTELWASM_METRICS | OTELWASM_LOGS)
#define OTELWASM_EXPORTER
#include "sdk/otelwasm.h"
#include "sdk/protobuf.h"
#include "sdk/json.h"
#include "sdk/wasi.h"
#include "sdk/http.h"

enum { MAX_ANSWER = 65536 };

static int32_t connection = -1;
static uint64_t deadline;

static void drop(void) {
  if (connection >= 0) wasi_fd_close(connection);
  connection = -1;
}

static uint32_t left_ms(void) {
  uint64_t now = wasi_now();
  return now < deadline ? (uint32_t)((deadline - now) / 1000000) + 1 : 0;
}

/* The connection does not block: whatever would is waited for here, until the deadline. */
static bool wait_for(uint8_t kind) {
  uint32_t ms = left_ms();
  return ms != 0 && wasi_wait(connection, kind, ms);
}

static bool open_connection(const uint8_t octets[4], uint32_t port) {
  wasi_address address = {octets, 4};
  int32_t error = 0;
  if (wasi_sock_open(1, 2, &connection) != 0) return false;
  if (wasi_fd_fdstat_set_flags(connection, WASI_NONBLOCK) == 0) {
    int32_t wrong = wasi_sock_connect(connection, &address, (int32_t)port);
    if (wrong == 0) return true;
    if (wrong == WASI_INPROGRESS && wait_for(WASI_FD_WRITE) &&
        wasi_sock_getsockopt(connection, 0, 2, &error, 4) == 0 && error == 0)
      return true;
  }
  drop();
  return false;
}

static bool send_all(bytes data) {
  while (data.size != 0) {
    wasi_iov iov = {data.data, data.size};
    uint32_t sent = 0;
    int32_t wrong = wasi_fd_write(connection, &iov, 1, &sent);
    if (wrong == WASI_AGAIN) {
      if (!wait_for(WASI_FD_WRITE)) return false;
    } else if (wrong != 0) {
      return false;
    }
    data.data += sent;
    data.size -= sent;
  }
  return true;
}

/* Reads more of the answer; false at its end, and where nothing comes in time. */
static bool receive_more(writer *answer) {
  if (answer->size > MAX_ANSWER || !writer_reserve(answer, 4096)) return false;
  for (;;) {
    wasi_iov iov = {answer->data + answer->size, answer->room - answer->size};
    uint32_t got = 0;
    int32_t wrong = wasi_fd_read(connection, &iov, 1, &got);
    if (wrong == 0) {
      answer->size += got;
      return got != 0;
    }
    if (wrong != WASI_AGAIN || !wait_for(WASI_FD_READ)) return false;
  }
}

/* The status of the answer, or 0 where none came. The connection is kept if the answer has a length that was read. */
static uint32_t receive_answer(void) {
  writer answer = {NULL, 0, 0, false};
  uint32_t head_size, length = 0, status = 0;
  while ((head_size = http_head_size((bytes){answer.data, answer.size})) == 0)
    if (!receive_more(&answer)) return 0;
  bytes head = {answer.data, head_size};
  if (head.size < 12 || memcmp(head.data, "HTTP/1.", 7) != 0) return 0;
  parse_number((bytes){head.data + 9, 3}, 10, &status);
  bool keep = parse_number(http_header(head, TEXT("Content-Length")), 10, &length) &&
              !same_ignoring_case(http_header(head, TEXT("Connection")), TEXT("close"));
  while (keep && answer.size < head_size + length) keep = receive_more(&answer);
  if (!keep) drop();
  return status;
}

static uint32_t post(uint32_t signal, bytes host, const uint8_t octets[4], uint32_t port, bytes payload) {
  static const bytes paths[] = {[OTELWASM_METRICS] = {(const uint8_t *)"metrics", 7},
                                [OTELWASM_LOGS] = {(const uint8_t *)"logs", 4},
                                [OTELWASM_TRACES] = {(const uint8_t *)"traces", 6}};
  writer request = {NULL, 0, 0, false};
  write_bytes(&request, TEXT("POST /v1/"));
  write_bytes(&request, paths[signal]);
  write_bytes(&request, TEXT(" HTTP/1.1\r\nHost: "));
  write_bytes(&request, host);
  write_bytes(&request, TEXT("\r\nContent-Type: application/x-protobuf\r\nContent-Length: "));
  write_number(&request, payload.size);
  write_bytes(&request, TEXT("\r\n\r\n"));
  if (request.failed) return 0;
  for (int attempt = 0; attempt < 2; attempt++) {
    bool kept = connection >= 0;
    if (!kept && !open_connection(octets, port)) return 0;
    uint32_t status = 0;
    if (send_all((bytes){request.data, request.size}) && send_all(payload)) status = receive_answer();
    if (status != 0) return status;
    drop();
    if (!kept) break; /* one that was kept may have been closed meanwhile: once more with a new one */
  }
  return 0;
}

uint32_t otelwasm_push(uint32_t signal, bytes payload) {
  bytes config;
  uint8_t octets[4];
  uint32_t port = 0;
  if (!otelwasm_config(&config)) return otelwasm_fail(OTELWASM_ERROR, TEXT("there is no memory for the configuration"));
  bytes endpoint = json_text(json_get(config, TEXT("endpoint")));
  json_number timeout = json_to_number(json_get(config, TEXT("timeout_ms")));
  deadline = wasi_now() + (timeout.valid ? (uint64_t)timeout.integer : 10000) * 1000000;
  if (endpoint.size < 7 || memcmp(endpoint.data, "http://", 7) != 0)
    return otelwasm_fail(OTELWASM_INVALID_ARGUMENT, TEXT("endpoint is required: http://HOST:PORT"));
  bytes host = {endpoint.data + 7, endpoint.size - 7};
  if (host.size != 0 && host.data[host.size - 1] == '/') host.size--;
  if (!parse_host_port(host, octets, &port))
    return otelwasm_fail(OTELWASM_INVALID_ARGUMENT, TEXT("endpoint has an IPv4 address or localhost, and a port"));
  uint32_t status = post(signal, host, octets, port, payload);
  if (status >= 200 && status < 300) return OTELWASM_OK;
  if (status == 0) return otelwasm_fail(OTELWASM_ERROR, TEXT("the endpoint did not answer"));
  writer reason = {NULL, 0, 0, false};
  write_bytes(&reason, TEXT("the endpoint answered "));
  write_number(&reason, status);
  bool passing = status == 429 || status == 502 || status == 503 || status == 504;
  return otelwasm_fail(passing ? OTELWASM_ERROR : OTELWASM_INVALID_ARGUMENT, (bytes){reason.data, reason.size});
}
