/* http.h: as much of HTTP/1.1 (RFC 9112) as carrying telemetry takes. Include behind wasi.h and protobuf.h. */
#ifndef HTTP_H
#define HTTP_H

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

static bool same_ignoring_case(bytes a, bytes b) {
  if (a.size != b.size) return false;
  for (uint32_t n = 0; n < a.size; n++)
    if (lower(a.data[n]) != lower(b.data[n])) return false;
  return true;
}

/* Where the head ends, behind its empty line; 0 where it has not come yet. */
static uint32_t http_head_size(bytes received) {
  for (uint32_t n = 3; n < received.size; n++)
    if (received.data[n] == '\n' && received.data[n - 1] == '\r' && received.data[n - 2] == '\n') return n + 1;
  return 0;
}

/* Takes a line from the front of `head`, without its end. */
static bool http_line(bytes *head, bytes *line) {
  for (uint32_t n = 0; n + 1 < head->size; n++) {
    if (head->data[n] != '\r' || head->data[n + 1] != '\n') continue;
    *line = (bytes){head->data, n};
    head->data += n + 2;
    head->size -= n + 2;
    return n != 0;
  }
  return false;
}

/* The value of a header, without the spaces around it; of size 0 where there is none. */
static bytes http_header(bytes head, bytes name) {
  bytes line;
  http_line(&head, &line);
  while (http_line(&head, &line)) {
    if (line.size <= name.size || line.data[name.size] != ':') continue;
    if (!same_ignoring_case((bytes){line.data, name.size}, name)) continue;
    bytes value = {line.data + name.size + 1, line.size - name.size - 1};
    while (value.size != 0 && (*value.data == ' ' || *value.data == '\t')) value.data++, value.size--;
    while (value.size != 0 && value.data[value.size - 1] == ' ') value.size--;
    return value;
  }
  return (bytes){NULL, 0};
}

static bool parse_number(bytes text, uint32_t base, uint32_t *out) {
  uint32_t value = 0, n = 0;
  for (; n < text.size; n++) {
    uint8_t c = lower(text.data[n]);
    uint32_t digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10u : 99u;
    if (digit >= base) break;
    if (value > 0x0FFFFFFF) return false;
    value = value * base + digit;
  }
  *out = value;
  return n != 0 && (n == text.size || text.data[n] == ';' || text.data[n] == ' ');
}

static void write_number(writer *w, uint32_t number) {
  uint8_t digits[10];
  uint32_t n = 10;
  do digits[--n] = (uint8_t)('0' + number % 10);
  while ((number /= 10) != 0);
  write_bytes(w, (bytes){digits + n, 10 - n});
}

#endif
