/* protobuf.h: reading and rewriting protobuf's wire format; as much as a guest needs. Include behind otelwasm.h.
 *
 * Reading: a `reader` walks the fields of one message; `bad` is set where the bytes are malformed, and ends the walk.
 * Writing: a `writer` appends to a buffer that grows in the arena; `begin_message` and `end_message` frame what is between.
 */
#ifndef PROTOBUF_H
#define PROTOBUF_H

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

typedef struct reader {
  const uint8_t *at;
  const uint8_t *end;
  bool bad;
} reader;

/* One field: `raw` with its tag; `content` for those with a length, `number` for the others. */
typedef struct field {
  uint32_t id;
  uint32_t type;
  bytes raw;
  bytes content;
  uint64_t number;
} field;

static inline reader read_message(bytes message) { return (reader){message.data, message.data + message.size, false}; }

static inline bool is_bytes(const field *f, uint32_t id) { return f->id == id && f->type == WIRE_BYTES; }

static uint64_t read_varint(reader *r) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (r->at == r->end) break;
    uint8_t byte = *r->at++;
    value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  r->bad = true;
  return 0;
}

static inline bool next_field(reader *r, field *f) {
  if (r->at == r->end || r->bad) return false;
  const uint8_t *begin = r->at;
  uint32_t tag = *begin < 0x80 ? *r->at++ : (uint32_t)read_varint(r);
  uint32_t size;
  f->id = tag >> 3;
  f->type = tag & 7;
  switch (f->type) {
  case WIRE_VARINT: f->number = read_varint(r); break;
  case WIRE_BYTES:
    size = r->at != r->end && *r->at < 0x80 ? *r->at++ : (uint32_t)read_varint(r);
    if (r->bad || size > (uint32_t)(r->end - r->at)) return !(r->bad = true);
    f->content = (bytes){r->at, size};
    r->at += size;
    break;
  case WIRE_FIXED64:
  case WIRE_FIXED32:
    size = f->type == WIRE_FIXED64 ? 8 : 4;
    if (size > (uint32_t)(r->end - r->at)) return !(r->bad = true);
    f->number = 0;
    memcpy(&f->number, r->at, size);
    r->at += size;
    break;
  default: r->bad = true; /* groups: OTLP has none */
  }
  f->raw = (bytes){begin, (uint32_t)(r->at - begin)};
  return !r->bad;
}

typedef struct writer {
  uint8_t *data;
  uint32_t size;
  uint32_t room;
  bool failed; /* there was no memory */
} writer;

/* Makes room for `more` bytes; false where there is no memory. */
static bool writer_grow(writer *w, uint32_t more) {
  uint32_t room = w->room + w->room / 2 + more;
  uint8_t *grown = room < w->room ? NULL : otelwasm_alloc(room);
  if (grown == NULL) {
    w->failed = true;
    return false;
  }
  memcpy(grown, w->data, w->size);
  w->data = grown;
  w->room = room;
  return true;
}

static inline bool writer_reserve(writer *w, uint32_t more) { return more <= w->room - w->size || writer_grow(w, more); }

static inline void write_bytes(writer *w, bytes piece) {
  if (piece.size == 0 || !writer_reserve(w, piece.size)) return;
  memcpy(w->data + w->size, piece.data, piece.size);
  w->size += piece.size;
}

static uint32_t put_varint(uint8_t *out, uint64_t value) {
  uint32_t size = 0;
  for (; value >= 0x80; value >>= 7) out[size++] = (uint8_t)value | 0x80;
  out[size++] = (uint8_t)value;
  return size;
}

static void write_varint(writer *w, uint64_t value) {
  if (writer_reserve(w, 10)) w->size += put_varint(w->data + w->size, value);
}

static void write_field(writer *w, uint32_t id, bytes content) {
  write_varint(w, id << 3 | WIRE_BYTES);
  write_varint(w, content.size);
  write_bytes(w, content);
}

/* Begins a field with a length; `guess` is about how long it will be. The result goes to `end_message`. */
static uint32_t begin_message(writer *w, uint32_t id, uint32_t guess) {
  uint8_t length[5];
  write_varint(w, id << 3 | WIRE_BYTES);
  write_bytes(w, (bytes){length, put_varint(length, guess)});
  return w->size;
}

static void end_message(writer *w, uint32_t begin, uint32_t guess) {
  uint8_t length[5], guessed[5];
  if (w->failed) return;
  uint32_t size = w->size - begin;
  uint32_t width = put_varint(length, size), was = put_varint(guessed, guess);
  if (width != was) { /* the guess was of another width: the content moves */
    if (width > was && !writer_reserve(w, width - was)) return;
    memmove(w->data + begin + width - was, w->data + begin, size);
    w->size = w->size + width - was;
  }
  memcpy(w->data + begin - was, length, width);
}

#endif
