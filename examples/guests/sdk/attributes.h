/* attributes.h: editing the attributes of every span, log record and data point of a payload. Include behind protobuf.h. */
#ifndef ATTRIBUTES_H
#define ATTRIBUTES_H

/* One attribute: its key, its encoded AnyValue, and the whole field as it came (empty for one that was made here). */
typedef struct attribute {
  bytes key;
  bytes value;
  bytes raw;
} attribute;

typedef struct attributes {
  attribute *items;
  uint32_t count;
  uint32_t room;
  bool changed;
  bool failed; /* there was no memory */
} attributes;

/* Edits the attributes of one item; the guest's own. */
void edit_attributes(attributes *list);

static attribute *attribute_find(attributes *list, bytes key) {
  for (uint32_t n = 0; n < list->count; n++)
    if (same(list->items[n].key, key)) return &list->items[n];
  return NULL;
}

static void attribute_add(attributes *list, attribute item) {
  if (list->count == list->room) {
    uint32_t room = list->room * 2 + 32;
    attribute *grown = otelwasm_alloc(room * sizeof *grown);
    if (grown == NULL) {
      list->failed = true;
      return;
    }
    if (list->count != 0) memcpy(grown, list->items, list->count * sizeof *grown);
    list->items = grown;
    list->room = room;
  }
  list->items[list->count++] = item;
}

static inline void attribute_set(attributes *list, attribute *at, bytes value) {
  at->value = value;
  at->raw.size = 0;
  list->changed = true;
}

static inline void attribute_insert(attributes *list, bytes key, bytes value) {
  attribute_add(list, (attribute){key, value, {NULL, 0}});
  list->changed = true;
}

static void attribute_delete(attributes *list, bytes key) {
  uint32_t kept = 0;
  for (uint32_t n = 0; n < list->count; n++)
    if (!same(list->items[n].key, key)) list->items[kept++] = list->items[n];
  list->changed |= kept != list->count;
  list->count = kept;
}

/* Which field of an item holds its attributes; which of its fields lead to items that have some, deeper down. */
typedef struct level {
  uint32_t attributes; /* 0: none here */
  uint32_t inner[5];
  const struct level *below[5];
} level;

static const level LEVEL_SPAN = {.attributes = 9}, LEVEL_LOG = {.attributes = 6};
static const level LEVEL_NUMBER = {.attributes = 7}, LEVEL_HISTOGRAM = {.attributes = 9}, LEVEL_EXPONENTIAL = {.attributes = 1};
static const level LEVEL_NUMBERS = {.inner = {1}, .below = {&LEVEL_NUMBER}};
static const level LEVEL_HISTOGRAMS = {.inner = {1}, .below = {&LEVEL_HISTOGRAM}};
static const level LEVEL_EXPONENTIALS = {.inner = {1}, .below = {&LEVEL_EXPONENTIAL}};
static const level LEVEL_METRIC = {
    .inner = {5, 7, 9, 10, 11},
    .below = {&LEVEL_NUMBERS, &LEVEL_NUMBERS, &LEVEL_HISTOGRAMS, &LEVEL_EXPONENTIALS, &LEVEL_NUMBERS},
};
static const level LEVEL_SCOPE_SPANS = {.inner = {2}, .below = {&LEVEL_SPAN}};
static const level LEVEL_SCOPE_LOGS = {.inner = {2}, .below = {&LEVEL_LOG}};
static const level LEVEL_SCOPE_METRICS = {.inner = {2}, .below = {&LEVEL_METRIC}};
static const level LEVEL_RESOURCE_SPANS = {.inner = {2}, .below = {&LEVEL_SCOPE_SPANS}};
static const level LEVEL_RESOURCE_LOGS = {.inner = {2}, .below = {&LEVEL_SCOPE_LOGS}};
static const level LEVEL_RESOURCE_METRICS = {.inner = {2}, .below = {&LEVEL_SCOPE_METRICS}};
static const level LEVEL_TRACES = {.inner = {1}, .below = {&LEVEL_RESOURCE_SPANS}};
static const level LEVEL_LOGS = {.inner = {1}, .below = {&LEVEL_RESOURCE_LOGS}};
static const level LEVEL_METRICS = {.inner = {1}, .below = {&LEVEL_RESOURCE_METRICS}};

static bool take_attribute(attributes *list, const field *f) {
  attribute item = {{NULL, 0}, {NULL, 0}, f->raw};
  reader r = read_message(f->content);
  field part;
  while (next_field(&r, &part)) {
    if (is_bytes(&part, 1)) item.key = part.content;
    if (is_bytes(&part, 2)) item.value = part.content;
  }
  attribute_add(list, item);
  return !r.bad;
}

static void write_attribute(writer *w, uint32_t id, const attribute *item) {
  uint8_t length[5];
  if (item->raw.size != 0) {
    write_bytes(w, item->raw);
    return;
  }
  uint32_t size = 2 + put_varint(length, item->key.size) + item->key.size + put_varint(length, item->value.size) + item->value.size;
  write_varint(w, id << 3 | WIRE_BYTES);
  write_varint(w, size);
  write_field(w, 1, item->key);
  write_field(w, 2, item->value);
}

/* Writes the content of a message with the attributes of all items in it edited; false where it is malformed. */
static bool edit_message(writer *w, bytes message, const level *at, attributes *list) {
  reader r = read_message(message);
  field f;
  const uint8_t *copied = message.data; /* everything before it was written */
  uint32_t written = w->size;
  list->count = 0;
  list->changed = false;
  while (next_field(&r, &f)) {
    if (f.type != WIRE_BYTES) continue;
    if (at->attributes != 0) {
      if (f.id != at->attributes) continue;
      if (!take_attribute(list, &f)) return false;
      write_bytes(w, (bytes){copied, (uint32_t)(f.raw.data - copied)});
      copied = r.at;
      continue;
    }
    for (int n = 0; n < 5 && at->inner[n] != 0; n++) {
      if (f.id != at->inner[n]) continue;
      write_bytes(w, (bytes){copied, (uint32_t)(f.raw.data - copied)});
      copied = r.at;
      uint32_t begin = begin_message(w, f.id, f.content.size);
      if (!edit_message(w, f.content, at->below[n], list)) return false;
      end_message(w, begin, f.content.size);
      break;
    }
  }
  if (r.bad) return false;
  if (at->attributes != 0) {
    edit_attributes(list);
    if (!list->changed) { /* as it came */
      w->size = written;
      copied = message.data;
      list->count = 0;
    }
  }
  write_bytes(w, (bytes){copied, (uint32_t)(r.end - copied)});
  if (at->attributes != 0)
    for (uint32_t n = 0; n < list->count; n++) write_attribute(w, at->attributes, &list->items[n]);
  return true;
}

/* Edits the payload and sets the result; the status to return. */
static uint32_t edit_payload(uint32_t signal, bytes payload) {
  const level *at = signal == OTELWASM_TRACES ? &LEVEL_TRACES : signal == OTELWASM_LOGS ? &LEVEL_LOGS : &LEVEL_METRICS;
  writer w = {NULL, 0, payload.size + payload.size / 8 + 256, false};
  attributes list = {NULL, 0, 0, false, false};
  w.data = otelwasm_alloc(w.room);
  if (w.data == NULL) return otelwasm_fail(OTELWASM_ERROR, TEXT("there is no memory for the result"));
  if (!edit_message(&w, payload, at, &list))
    return otelwasm_fail(OTELWASM_INVALID_ARGUMENT, TEXT("the payload is malformed"));
  if (w.failed || list.failed) return otelwasm_fail(OTELWASM_ERROR, TEXT("there is no memory for the result"));
  otelwasm_set_result(signal, (bytes){w.data, w.size});
  return OTELWASM_OK;
}

#endif
