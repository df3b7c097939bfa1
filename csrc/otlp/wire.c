/* wire.c: the extension module pywasmrt._shim._wire: OTLP payloads in protobuf's wire format, counted, split and validated.
 *
 * The twin of pywasmrt/otel/wire_python.py, which says what the functions mean; a test holds the two equal, messages too.
 * The bytes come from anywhere: every read is checked against the end of what encloses it. Nothing here keeps a reference to
 * the payload, which the caller's argument owns for the time of a call.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 };
enum { MAX_DEPTH = 100, FIELDS = 16 };
enum { KIND_ANY, KIND_STRING, KIND_FIXED64, KIND_VARINT, KIND_MESSAGE };

/* The payload, and the first thing found wrong with it. */
typedef struct Wire {
  const uint8_t *data;
  size_t failed_at;
  const char *why;
} Wire;

/* One field: its number, its wire type, where it begins, where its content begins, and where it ends. */
typedef struct Field {
  uint32_t number;
  unsigned type;
  size_t begin;
  size_t start;
  size_t end;
} Field;

static bool fail(Wire *wire, size_t at, const char *why) {
  wire->failed_at = at;
  wire->why = why;
  return false;
}

static PyObject *raise_malformed(const Wire *wire) {
  return PyErr_Format(PyExc_ValueError, "malformed OTLP at byte %zu: %s", wire->failed_at, wire->why);
}

/* A number of up to 64 bits; moves *at behind it. */
static bool read_long_varint(Wire *wire, size_t *at, size_t end, uint64_t *value) {
  size_t begin = *at;
  uint64_t result = 0;
  for (unsigned n = 0; n < 10; n++) {
    if (begin + n >= end) return fail(wire, begin, "the data ends within a number");
    uint8_t byte = wire->data[begin + n];
    result |= (uint64_t)(byte & 0x7F) << 7 * n;
    if (byte < 0x80) {
      if (n == 9 && byte > 1) break;
      *at = begin + n + 1;
      *value = result;
      return true;
    }
  }
  return fail(wire, begin, "a number has more than 64 bits");
}

/* The same, with a quick path for numbers of one or two bytes, which nearly all tags and lengths are. */
static inline bool read_varint(Wire *wire, size_t *at, size_t end, uint64_t *value) {
  if (end - *at >= 2) {
    const uint8_t *bytes = wire->data + *at;
    if (bytes[0] < 0x80) {
      *value = bytes[0];
      *at += 1;
      return true;
    }
    if (bytes[1] < 0x80) {
      *value = (uint64_t)(bytes[0] & 0x7F) | (uint64_t)bytes[1] << 7;
      *at += 2;
      return true;
    }
  }
  return read_long_varint(wire, at, end, value);
}

static inline bool read_tag(Wire *wire, size_t *at, size_t end, uint32_t *number, unsigned *type) {
  size_t begin = *at;
  uint64_t value;
  if (!read_varint(wire, at, end, &value)) return false;
  if (*at - begin > 5 || value > UINT32_MAX || value < 8) return fail(wire, begin, "a field has no valid number");
  *number = (uint32_t)value >> 3;
  *type = (unsigned)value & 7;
  return true;
}

/* Moves *at behind a length, to the content, and gives the content's end. */
static inline bool read_length(Wire *wire, size_t *at, size_t end, size_t *content_end) {
  size_t begin = *at;
  uint64_t size;
  if (!read_varint(wire, at, end, &size)) return false;
  if (size > end - *at) return fail(wire, begin, "a length reaches beyond the end");
  *content_end = *at + (size_t)size;
  return true;
}

/* Moves *at behind a field's content. */
static bool skip(Wire *wire, uint32_t number, unsigned type, size_t *at, size_t end, int depth) {
  uint64_t unused;
  size_t content_end, size;
  switch (type) {
  case VARINT: return read_varint(wire, at, end, &unused);
  case BYTES:
    if (!read_length(wire, at, end, &content_end)) return false;
    *at = content_end;
    return true;
  case FIXED64:
  case FIXED32:
    size = type == FIXED64 ? 8 : 4;
    if (size > end - *at) return fail(wire, *at, "the data ends within a number");
    *at += size;
    return true;
  case GROUP:
    if (depth <= 0) return fail(wire, *at, "nested too deeply");
    for (;;) {
      uint32_t inner;
      size_t begin = *at;
      if (!read_tag(wire, at, end, &inner, &type)) return false;
      if (type == END_GROUP) return inner == number || fail(wire, begin, "a group ends that did not begin");
      if (!skip(wire, inner, type, at, end, depth - 1)) return false;
    }
  case END_GROUP: return fail(wire, *at, "a group ends that did not begin");
  default: return fail(wire, *at, "a wire type that does not exist");
  }
}

/* Reads the field at *at and moves behind it. */
static inline bool read_field(Wire *wire, size_t *at, size_t end, Field *field) {
  field->begin = *at;
  if (!read_tag(wire, at, end, &field->number, &field->type)) return false;
  field->start = *at;
  if (field->type == BYTES) {
    if (!read_length(wire, at, end, &field->end)) return false;
    field->start = *at;
    *at = field->end;
    return true;
  }
  if (!skip(wire, field->number, field->type, at, end, MAX_DEPTH)) return false;
  field->end = *at;
  return true;
}

/* ---- counting ---- */

static bool holds_points(uint32_t number) {
  return number == 5 || number == 7 || number == 9 || number == 10 || number == 11;
}

/* Counts the fields at the end of a path of `path_length` fields: `path[i]` is the field's number, 0 for any field that holds
 * data points. */
static bool count_inside(Wire *wire, size_t at, size_t end, const uint8_t *path, size_t path_length, size_t *found) {
  Field field;
  while (at < end) {
    if (!read_field(wire, &at, end, &field)) return false;
    if (field.type != BYTES || !(path[0] != 0 ? field.number == path[0] : holds_points(field.number))) continue;
    if (path_length == 1)
      ++*found;
    else if (!count_inside(wire, field.start, field.end, path + 1, path_length - 1, found))
      return false;
  }
  return true;
}

static PyObject *count_path(PyObject *data, const uint8_t *path, size_t length) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE) < 0) return NULL;
  Wire wire = {.data = buffer.buf};
  size_t found = 0;
  PyObject *result = count_inside(&wire, 0, (size_t)buffer.len, path, length, &found) ? PyLong_FromSize_t(found)
                                                                                     : raise_malformed(&wire);
  PyBuffer_Release(&buffer);
  return result;
}

static PyObject *wire_count(PyObject *module, PyObject *data) {
  (void)module;
  static const uint8_t path[] = {1, 2, 2};
  return count_path(data, path, sizeof path);
}

static PyObject *wire_count_data_points(PyObject *module, PyObject *data) {
  (void)module;
  static const uint8_t path[] = {1, 2, 2, 0, 1};
  return count_path(data, path, sizeof path);
}

/* ---- splitting ---- */

static const size_t NONE = SIZE_MAX;

/* A piece of the payload with its tag, and what it belongs to: indices of shells, or NONE. A resource or scope that holds
 * nothing has an entry of no bytes. */
typedef struct Entry {
  size_t resource;
  size_t scope;
  size_t begin;
  size_t end;
} Entry;

/* Where the other fields of a resource or scope lie, one after the other, in `rest` of its kind. */
typedef struct Shell {
  size_t begin;
  size_t end;
} Shell;

/* A list that grows; `size` and `room` count elements. */
typedef struct List {
  void *elements; /* owned */
  size_t size;
  size_t room;
} List;

typedef struct Split {
  List entries;   /* Entry */
  List resources; /* Shell */
  List scopes;    /* Shell */
  List resource_rest; /* uint8_t */
  List scope_rest;    /* uint8_t */
} Split;

/* Appends `count` elements of `width` bytes; false with MemoryError set. */
static bool append(List *list, const void *elements, size_t count, size_t width) {
  if (count > list->room - list->size) {
    size_t room = list->room * 2 > list->size + count ? list->room * 2 : list->size + count + 16;
    void *grown = room > SIZE_MAX / 2 / width ? NULL : PyMem_Realloc(list->elements, room * width);
    if (grown == NULL) {
      PyErr_NoMemory();
      return false;
    }
    list->elements = grown;
    list->room = room;
  }
  if (count != 0) memcpy((uint8_t *)list->elements + list->size * width, elements, count * width);
  list->size += count;
  return true;
}

static bool add_entry(Split *split, size_t resource, size_t scope, size_t begin, size_t end) {
  Entry entry = {resource, scope, begin, end};
  return append(&split->entries, &entry, 1, sizeof entry);
}

/* The functions below return false with the fault in `wire`, or with an exception set. */

static bool take_scope(Split *split, Wire *wire, size_t resource, size_t at, size_t end) {
  size_t scope = split->scopes.size, held = split->entries.size;
  Shell shell = {split->scope_rest.size, split->scope_rest.size};
  Field field;
  if (!append(&split->scopes, &shell, 1, sizeof shell)) return false;
  while (at < end) {
    if (!read_field(wire, &at, end, &field)) return false;
    bool kept = field.number == 2 && field.type == BYTES
                    ? add_entry(split, resource, scope, field.begin, field.end)
                    : append(&split->scope_rest, wire->data + field.begin, field.end - field.begin, 1);
    if (!kept) return false;
  }
  ((Shell *)split->scopes.elements)[scope].end = split->scope_rest.size;
  return split->entries.size != held || add_entry(split, resource, scope, 0, 0);
}

static bool take_resource(Split *split, Wire *wire, size_t at, size_t end) {
  size_t resource = split->resources.size, held = split->entries.size;
  Shell shell = {split->resource_rest.size, split->resource_rest.size};
  Field field;
  if (!append(&split->resources, &shell, 1, sizeof shell)) return false;
  while (at < end) {
    if (!read_field(wire, &at, end, &field)) return false;
    bool kept = field.number == 2 && field.type == BYTES
                    ? take_scope(split, wire, resource, field.start, field.end)
                    : append(&split->resource_rest, wire->data + field.begin, field.end - field.begin, 1);
    if (!kept) return false;
  }
  ((Shell *)split->resources.elements)[resource].end = split->resource_rest.size;
  return split->entries.size != held || add_entry(split, resource, NONE, 0, 0);
}

static bool take_payload(Split *split, Wire *wire, size_t end) {
  size_t at = 0;
  Field field;
  while (at < end) {
    if (!read_field(wire, &at, end, &field)) return false;
    bool kept = field.number == 1 && field.type == BYTES ? take_resource(split, wire, field.start, field.end)
                                                         : add_entry(split, NONE, NONE, field.begin, field.end);
    if (!kept) return false;
  }
  return true;
}

static size_t framed_size(size_t content) {
  size_t size = 2 + content;
  for (size_t rest = content >> 7; rest != 0; rest >>= 7) size++;
  return size;
}

static uint8_t *put(uint8_t *out, const void *bytes, size_t size) {
  if (size != 0) memcpy(out, bytes, size);
  return out + size;
}

static uint8_t *put_frame(uint8_t *out, unsigned field, size_t content) {
  *out++ = (uint8_t)(field << 3 | BYTES);
  for (; content >= 0x80; content >>= 7) *out++ = (uint8_t)(content & 0x7F) | 0x80;
  *out++ = (uint8_t)content;
  return out;
}

static const Entry *entry_at(const Split *split, size_t n) { return (const Entry *)split->entries.elements + n; }

/* Where the run of entries of the same scope that begins at `n` ends, and how large the scope's content is. */
static size_t scope_run(const Split *split, size_t n, size_t end, size_t *content) {
  size_t scope = entry_at(split, n)->scope;
  const Shell *shell = (const Shell *)split->scopes.elements + scope;
  *content = shell->end - shell->begin;
  for (; n < end && entry_at(split, n)->scope == scope; n++) *content += entry_at(split, n)->end - entry_at(split, n)->begin;
  return n;
}

static size_t resource_run(const Split *split, size_t n, size_t end, size_t *content) {
  size_t resource = entry_at(split, n)->resource, inner;
  const Shell *shell = (const Shell *)split->resources.elements + resource;
  *content = shell->end - shell->begin;
  while (n < end && entry_at(split, n)->resource == resource) {
    if (entry_at(split, n)->scope == NONE) {
      n++;
      continue;
    }
    n = scope_run(split, n, end, &inner);
    *content += framed_size(inner);
  }
  return n;
}

/* The size of the payload that the entries n to end make. */
static size_t joined_size(const Split *split, size_t n, size_t end) {
  size_t total = 0, content;
  while (n < end) {
    const Entry *entry = entry_at(split, n);
    if (entry->resource == NONE) {
      total += entry->end - entry->begin;
      n++;
    } else {
      n = resource_run(split, n, end, &content);
      total += framed_size(content);
    }
  }
  return total;
}

static void join(const Split *split, const uint8_t *data, size_t n, size_t end, uint8_t *out) {
  size_t content;
  while (n < end) {
    const Entry *entry = entry_at(split, n);
    if (entry->resource == NONE) {
      out = put(out, data + entry->begin, entry->end - entry->begin);
      n++;
      continue;
    }
    const Shell *shell = (const Shell *)split->resources.elements + entry->resource;
    size_t resource_end = resource_run(split, n, end, &content);
    out = put_frame(out, 1, content);
    out = put(out, (const uint8_t *)split->resource_rest.elements + shell->begin, shell->end - shell->begin);
    while (n < resource_end) {
      entry = entry_at(split, n);
      if (entry->scope == NONE) {
        n++;
        continue;
      }
      shell = (const Shell *)split->scopes.elements + entry->scope;
      size_t scope_end = scope_run(split, n, resource_end, &content);
      out = put_frame(out, 2, content);
      out = put(out, (const uint8_t *)split->scope_rest.elements + shell->begin, shell->end - shell->begin);
      for (; n < scope_end; n++) {
        entry = entry_at(split, n);
        out = put(out, data + entry->begin, entry->end - entry->begin);
      }
    }
  }
}

/* Adds the payload of the entries n to end to `pieces`; false with an exception set. */
static bool add_piece(const Split *split, const uint8_t *data, size_t n, size_t end, PyObject *pieces) {
  PyObject *piece = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)joined_size(split, n, end));
  if (piece == NULL) return false;
  join(split, data, n, end, (uint8_t *)PyBytes_AS_STRING(piece));
  int result = PyList_Append(pieces, piece);
  Py_DECREF(piece);
  return result == 0;
}

static PyObject *make_pieces(const Split *split, const uint8_t *data, size_t max_items) {
  PyObject *pieces = PyList_New(0);
  size_t begin = 0, items = 0;
  if (pieces == NULL) return NULL;
  for (size_t n = 0; n < split->entries.size; n++) {
    const Entry *entry = entry_at(split, n);
    if (entry->scope == NONE || entry->begin == entry->end) continue;
    if (items == max_items) {
      if (!add_piece(split, data, begin, n, pieces)) goto failed;
      begin = n;
      items = 0;
    }
    items++;
  }
  if (!add_piece(split, data, begin, split->entries.size, pieces)) goto failed;
  return pieces;
failed:
  Py_DECREF(pieces);
  return NULL;
}

static PyObject *wire_split(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer buffer;
  Py_ssize_t max_items;
  if (!PyArg_ParseTuple(args, "y*n", &buffer, &max_items)) return NULL;
  Split split = {0};
  Wire wire = {.data = buffer.buf};
  PyObject *result = NULL;
  if (take_payload(&split, &wire, (size_t)buffer.len))
    result = make_pieces(&split, wire.data, max_items < 1 ? 1 : (size_t)max_items);
  else if (wire.why != NULL)
    result = raise_malformed(&wire);
  PyMem_Free(split.entries.elements);
  PyMem_Free(split.resources.elements);
  PyMem_Free(split.scopes.elements);
  PyMem_Free(split.resource_rest.elements);
  PyMem_Free(split.scope_rest.elements);
  PyBuffer_Release(&buffer);
  return result;
}

/* ---- validating ---- */

/* Whether `data` is UTF-8 (Unicode, table 3-7): no surrogates, no overlong forms, nothing beyond U+10FFFF. */
static bool is_utf8(const uint8_t *data, size_t size) {
  size_t at = 0;
  while (at < size) {
    uint8_t first = data[at++];
    if (first < 0x80) continue;
    unsigned more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    if (first < 0xC2 || first > 0xF4 || more > size - at) return false;
    uint8_t second = data[at];
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (second < low || second > high) return false;
    for (unsigned n = 1; n < more; n++)
      if ((data[at + n] & 0xC0) != 0x80) return false;
    at += more;
  }
  return true;
}

/* The table of pywasmrt/otel/wire_schema.py. */
typedef struct Table {
  const uint8_t *rows;
  size_t messages;
} Table;

static bool validate(Wire *wire, size_t at, size_t end, const Table *table, size_t message, int depth) {
  uint32_t number;
  unsigned type;
  size_t after;
  while (at < end) {
    if (!read_tag(wire, &at, end, &number, &type)) return false;
    if (type != BYTES) {
      if (!skip(wire, number, type, &at, end, depth)) return false;
      continue;
    }
    if (!read_length(wire, &at, end, &after)) return false;
    const uint8_t *row = number < FIELDS ? table->rows + (message * FIELDS + number) * 2 : NULL;
    switch (row == NULL ? KIND_ANY : row[0]) {
    case KIND_STRING:
      if (!is_utf8(wire->data + at, after - at)) return fail(wire, at, "a text is not UTF-8");
      break;
    case KIND_FIXED64:
      if ((after - at) % 8 != 0) return fail(wire, at, "packed numbers do not fill their length");
      break;
    case KIND_VARINT:
      for (uint64_t unused; at < after;)
        if (!read_varint(wire, &at, after, &unused)) return false;
      break;
    case KIND_MESSAGE:
      if (depth <= 0) return fail(wire, at, "nested too deeply");
      if (row[1] < table->messages && !validate(wire, at, after, table, row[1], depth - 1)) return false;
      break;
    default: break;
    }
    at = after;
  }
  return true;
}

static PyObject *wire_validate(PyObject *module, PyObject *args) {
  (void)module;
  Py_buffer data, rows;
  Py_ssize_t root;
  if (!PyArg_ParseTuple(args, "y*y*n", &data, &rows, &root)) return NULL;
  Wire wire = {.data = data.buf};
  Table table = {rows.buf, (size_t)rows.len / (FIELDS * 2)};
  PyObject *result = NULL;
  if (root < 0 || (size_t)root >= table.messages)
    PyErr_SetString(PyExc_ValueError, "the table has no such message");
  else
    result = validate(&wire, 0, (size_t)data.len, &table, (size_t)root, MAX_DEPTH) ? Py_NewRef(Py_None)
                                                                                  : raise_malformed(&wire);
  PyBuffer_Release(&rows);
  PyBuffer_Release(&data);
  return result;
}

/* ---- the module ---- */

static PyMethodDef wire_methods[] = {
    {"count", wire_count, METH_O, "count($module, data, /)\n--\n\nHow many items the payload holds."},
    {"count_data_points", wire_count_data_points, METH_O,
     "count_data_points($module, data, /)\n--\n\nHow many data points a payload of metrics holds."},
    {"split", wire_split, METH_VARARGS,
     "split($module, data, max_items, /)\n--\n\nSplit a payload into payloads of up to `max_items` items."},
    {"validate", wire_validate, METH_VARARGS,
     "validate($module, data, table, root, /)\n--\n\nCheck the payload against the message `root` of `table`."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot wire_slots[] = {
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_USED}, // a payload is not written to while it is read
#endif
    {0, NULL},
};

static PyModuleDef wire_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pywasmrt._shim._wire",
    .m_doc = "OTLP payloads in their wire format.",
    .m_methods = wire_methods,
    .m_slots = wire_slots,
};

PyMODINIT_FUNC PyInit__wire(void) { return PyModuleDef_Init(&wire_module); }
