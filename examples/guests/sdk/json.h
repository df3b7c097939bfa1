/* json.h: reading a plugin's configuration. Include behind otelwasm.h.
 *
 * A value is a piece of the text, looked at when it is asked for; what is not there, or of another type, is empty. The text
 * comes from the host, which writes JSON without spaces; spaces are skipped all the same.
 */
#ifndef JSON_H
#define JSON_H

static const uint8_t *json_space(const uint8_t *at, const uint8_t *end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
  return at;
}

/* Where the value that begins at `at` ends. */
static const uint8_t *json_skip(const uint8_t *at, const uint8_t *end) {
  unsigned depth = 0;
  do {
    if (at >= end) return end;
    if (*at == '"') {
      for (at++; at < end && *at != '"'; at++)
        if (*at == '\\') at++;
      at++;
    } else if (*at == '{' || *at == '[') {
      depth++;
      at++;
    } else if (*at == '}' || *at == ']') {
      depth--;
      at++;
    } else if (depth == 0) {
      while (at < end && *at != ',' && *at != '}' && *at != ']') at++;
    } else {
      at++;
    }
  } while (depth != 0);
  return at < end ? at : end;
}

/* Walks an array or object: `*at` begins at `json_first`; false at the end. For an object, *key is the key with its quotes. */
static const uint8_t *json_first(bytes value) {
  const uint8_t *at = json_space(value.data, value.data + value.size);
  return at < value.data + value.size ? at + 1 : at;
}

static bool json_next(bytes value, const uint8_t **at, bytes *key, bytes *item) {
  const uint8_t *end = value.data + value.size;
  const uint8_t *here = json_space(*at, end);
  if (here < end && *here == ',') here = json_space(here + 1, end);
  if (here >= end || *here == ']' || *here == '}') return false;
  if (key != NULL) {
    const uint8_t *after = json_skip(here, end);
    *key = (bytes){here, (uint32_t)(after - here)};
    here = json_space(after, end);
    if (here < end) here = json_space(here + 1, end); /* the colon */
  }
  const uint8_t *after = json_skip(here, end);
  *item = (bytes){here, (uint32_t)(after - here)};
  *at = after;
  return true;
}

static inline bool json_is(bytes value, uint8_t first) { return value.size != 0 && value.data[0] == first; }

/* The value under `key`, or an empty one. */
static bytes json_get(bytes object, bytes key) {
  bytes found = {NULL, 0}, name, item;
  if (!json_is(object, '{')) return found;
  for (const uint8_t *at = json_first(object); json_next(object, &at, &name, &item);)
    if (name.size == key.size + 2 && memcmp(name.data + 1, key.data, key.size) == 0) found = item;
  return found;
}

static uint32_t json_hex(const uint8_t *at) {
  uint32_t value = 0;
  for (int n = 0; n < 4; n++) {
    uint8_t c = at[n];
    value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return value;
}

/* The text of a string value, in the arena; empty for what is no string. */
static bytes json_text(bytes value) {
  if (value.size < 2 || value.data[0] != '"') return (bytes){NULL, 0};
  uint8_t *out = otelwasm_alloc(value.size);
  if (out == NULL) return (bytes){NULL, 0};
  uint32_t size = 0;
  for (const uint8_t *at = value.data + 1, *end = value.data + value.size - 1; at < end; at++) {
    if (*at != '\\') {
      out[size++] = *at;
      continue;
    }
    uint32_t c = *++at;
    if (c == 'u' && end - at > 4) {
      c = json_hex(at + 1);
      at += 4;
      if (c >= 0xD800 && c < 0xDC00 && end - at > 6 && at[1] == '\\') {
        c = 0x10000 + ((c - 0xD800) << 10) + (json_hex(at + 3) - 0xDC00);
        at += 6;
      }
    } else {
      c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c;
    }
    if (c < 0x80) {
      out[size++] = (uint8_t)c;
    } else if (c < 0x800) {
      out[size++] = (uint8_t)(0xC0 | c >> 6);
      out[size++] = (uint8_t)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
      out[size++] = (uint8_t)(0xE0 | c >> 12);
      out[size++] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
      out[size++] = (uint8_t)(0x80 | (c & 0x3F));
    } else {
      out[size++] = (uint8_t)(0xF0 | c >> 18);
      out[size++] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
      out[size++] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
      out[size++] = (uint8_t)(0x80 | (c & 0x3F));
    }
  }
  return (bytes){out, size};
}

/* A number: whether it is whole, and its value. Digits beyond what a double holds exactly are rounded roughly. */
typedef struct json_number {
  bool valid;
  bool whole;
  int64_t integer;
  double real;
} json_number;

static json_number json_to_number(bytes value) {
  json_number result = {false, true, 0, 0};
  const uint8_t *at = value.data, *end = at + value.size;
  bool negative = at < end && *at == '-';
  if (negative) at++;
  uint64_t digits = 0;
  int exponent = 0;
  for (; at < end && *at >= '0' && *at <= '9'; at++, result.valid = true) digits = digits * 10 + (*at - '0');
  if (at < end && *at == '.')
    for (at++, result.whole = false; at < end && *at >= '0' && *at <= '9'; at++, exponent--) digits = digits * 10 + (*at - '0');
  if (at < end && (*at | 0x20) == 'e') {
    int given = 0, sign = 1;
    result.whole = false;
    at++;
    if (at < end && (*at == '-' || *at == '+')) sign = *at++ == '-' ? -1 : 1;
    for (; at < end && *at >= '0' && *at <= '9' && given < 1000; at++) given = given * 10 + (*at - '0');
    exponent += sign * given;
  }
  double scale = 1;
  for (int n = exponent < 0 ? -exponent : exponent; n > 0 && scale < 1e300; n--) scale *= 10;
  result.real = exponent < 0 ? (double)digits / scale : (double)digits * scale;
  if (negative) result.real = -result.real;
  result.integer = negative ? -(int64_t)digits : (int64_t)digits;
  return result;
}

#endif
