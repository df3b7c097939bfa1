/* stdout_exporter.c: writes a line of JSON to standard output for every span, metric and log record.
 *
 * A line has the signal, the item's name (for a log record its text), its trace and span ids in hex, and its attributes.
 */
#define OTELWASM_SUPPORTS (OTELWASM_TRACES | OTELWASM_METRICS | OTELWASM_LOGS)
#define OTELWASM_EXPORTER
#include "sdk/otelwasm.h"
#include "sdk/protobuf.h"
#include "sdk/json.h"
#include "sdk/wasi.h"
#include "sdk/http.h"

static const char HEX[] = "0123456789abcdef";

static void put_text(writer *w, bytes text) {
  write_bytes(w, TEXT("\""));
  for (uint32_t n = 0; n < text.size; n++) {
    uint8_t c = text.data[n];
    if (c == '"' || c == '\\') {
      uint8_t escaped[2] = {'\\', c};
      write_bytes(w, (bytes){escaped, 2});
    } else if (c < 0x20) {
      uint8_t escaped[6] = {'\\', 'u', '0', '0', (uint8_t)HEX[c >> 4], (uint8_t)HEX[c & 15]};
      write_bytes(w, (bytes){escaped, 6});
    } else {
      write_bytes(w, (bytes){&c, 1});
    }
  }
  write_bytes(w, TEXT("\""));
}

static void put_hex(writer *w, bytes data) {
  write_bytes(w, TEXT("\""));
  for (uint32_t n = 0; n < data.size; n++) {
    uint8_t pair[2] = {(uint8_t)HEX[data.data[n] >> 4], (uint8_t)HEX[data.data[n] & 15]};
    write_bytes(w, (bytes){pair, 2});
  }
  write_bytes(w, TEXT("\""));
}

static void put_integer(writer *w, int64_t value) {
  uint8_t digits[20];
  uint32_t n = 20;
  uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
  do digits[--n] = (uint8_t)('0' + rest % 10);
  while ((rest /= 10) != 0);
  if (value < 0) write_bytes(w, TEXT("-"));
  write_bytes(w, (bytes){digits + n, 20 - n});
}

/* An AnyValue: texts, truth values and whole numbers as they are; anything else as null. */
static void put_value(writer *w, bytes value) {
  reader r = read_message(value);
  field f;
  if (!next_field(&r, &f))
    write_bytes(w, TEXT("null"));
  else if (is_bytes(&f, 1))
    put_text(w, f.content);
  else if (f.id == 2 && f.type == WIRE_VARINT)
    write_bytes(w, f.number != 0 ? TEXT("true") : TEXT("false"));
  else if (f.id == 3 && f.type == WIRE_VARINT)
    put_integer(w, (int64_t)f.number);
  else
    write_bytes(w, TEXT("null"));
}

/* Which fields of an item hold its name, its ids and its attributes; 0 for none. */
typedef struct shape {
  bytes signal;
  uint32_t name, trace_id, span_id, attributes;
} shape;

static void put_item(writer *w, bytes item, const shape *s) {
  reader r = read_message(item);
  field f, part;
  bytes name = {NULL, 0}, trace_id = {NULL, 0}, span_id = {NULL, 0};
  bool first = true;
  while (next_field(&r, &f)) {
    if (is_bytes(&f, s->name)) name = f.content;
    if (is_bytes(&f, s->trace_id)) trace_id = f.content;
    if (is_bytes(&f, s->span_id)) span_id = f.content;
  }
  write_bytes(w, TEXT("{\"signal\":"));
  put_text(w, s->signal);
  write_bytes(w, TEXT(",\"name\":"));
  if (s->signal.data[0] == 'l')
    put_value(w, name);
  else
    put_text(w, name);
  if (s->trace_id != 0) {
    write_bytes(w, TEXT(",\"trace_id\":"));
    put_hex(w, trace_id);
    write_bytes(w, TEXT(",\"span_id\":"));
    put_hex(w, span_id);
  }
  write_bytes(w, TEXT(",\"attributes\":{"));
  r = read_message(item);
  while (s->attributes != 0 && next_field(&r, &f)) {
    if (!is_bytes(&f, s->attributes)) continue;
    bytes key = {NULL, 0}, value = {NULL, 0};
    reader pair = read_message(f.content);
    while (next_field(&pair, &part)) {
      if (is_bytes(&part, 1)) key = part.content;
      if (is_bytes(&part, 2)) value = part.content;
    }
    if (!first) write_bytes(w, TEXT(","));
    first = false;
    put_text(w, key);
    write_bytes(w, TEXT(":"));
    put_value(w, value);
  }
  write_bytes(w, TEXT("}}\n"));
}

static bool put_items(writer *w, bytes message, const shape *s, int depth) {
  reader r = read_message(message);
  field f;
  while (next_field(&r, &f)) {
    if (!is_bytes(&f, depth == 0 ? 1 : 2)) continue;
    if (depth == 2)
      put_item(w, f.content, s);
    else if (!put_items(w, f.content, s, depth + 1))
      return false;
  }
  return !r.bad;
}

uint32_t otelwasm_push(uint32_t signal, bytes payload) {
  static const shape span = {{(const uint8_t *)"traces", 6}, 5, 1, 2, 9};
  static const shape metric = {{(const uint8_t *)"metrics", 7}, 1, 0, 0, 0};
  static const shape record = {{(const uint8_t *)"logs", 4}, 5, 9, 10, 6};
  const shape *s = signal == OTELWASM_TRACES ? &span : signal == OTELWASM_METRICS ? &metric : &record;
  writer w = {NULL, 0, 0, false};
  if (!put_items(&w, payload, s, 0))
    return otelwasm_fail(OTELWASM_INVALID_ARGUMENT, TEXT("the payload is malformed"));
  if (w.failed) return otelwasm_fail(OTELWASM_ERROR, TEXT("there is no memory for the lines"));
  if (wasi_write_all(1, (bytes){w.data, w.size}) != 0)
    return otelwasm_fail(OTELWASM_ERROR, TEXT("standard output takes no more"));
  return OTELWASM_OK;
}
