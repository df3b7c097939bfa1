/* component_lower.c: Python objects to values of the engine, by a plan.
 *
 * The Python code that this may run (a property, an __index__) can change the objects that are being read. So nothing is kept
 * across it except by a reference, and lengths are looked at again.
 */
#include "component.h"
#include "values.h"

/* ---- the parts of values, in the arena's memory or the engine's ---- */

static bool make_values(Lowering *lowering, wrt_values *out, size_t count) {
  if (lowering->arena == NULL) {
    lowering->ops->list_new(out, count);
    return true;
  }
  out->data = arena_take(lowering, count, sizeof *out->data);
  if (out->data == NULL) return false;
  out->size = count;
  return true;
}

/* A value in memory of its own, into which `value` is moved. */
static wrt_value *make_box(Lowering *lowering) {
  if (lowering->arena == NULL) {
    wrt_value zeros = {0};
    return lowering->ops->box_new(&zeros);
  }
  wrt_value *box = arena_take(lowering, 1, sizeof *box);
  if (box != NULL) *box = (wrt_value){0};
  return box;
}

/* The name of a field or case, which the plan has. */
static void put_name(Lowering *lowering, const wrt_text *name, wrt_text *out) {
  if (lowering->arena == NULL)
    lowering->ops->text_new(out, name->data, name->size);
  else
    *out = *name;
}

/* ---- numbers ---- */

/* Reads an int of at most 64 bits, signed or not; -1 if it does not fit. */
static int read_integer(PyObject *object, bool is_signed, uint64_t *out) {
  int64_t number;
  if (LIKELY(read_int(object, &number))) {
    *out = (uint64_t)number;
    return is_signed || number >= 0 ? 0 : -1;
  }
  if (is_signed) return -1;
  *out = PyLong_AsUnsignedLongLong(object);
  if (*out != UINT64_MAX || !PyErr_Occurred()) return 0;
  PyErr_Clear();
  return -1;
}

#define INTEGER(KIND, member, type, is_signed, low, high)                                   \
  case KIND: {                                                                              \
    uint64_t number;                                                                        \
    if (UNLIKELY(read_integer(object, is_signed, &number) < 0)) return -1;                  \
    if (UNLIKELY((is_signed) ? (int64_t)number < (int64_t)(low) || (int64_t)number > (int64_t)(high) \
                             : number > (uint64_t)(high)))                                  \
      return -1;                                                                            \
    out->of.member = (type)number;                                                          \
    break;                                                                                  \
  }

/* Lowers an int, or for floats a float, of a subclass too. */
static int lower_plain_number(Plan *plan, PyObject *object, wrt_value *out) {
  switch (plan->kind) {
    INTEGER(WRT_VALUE_S8, s8, int8_t, true, INT8_MIN, INT8_MAX)
    INTEGER(WRT_VALUE_U8, u8, uint8_t, false, 0, UINT8_MAX)
    INTEGER(WRT_VALUE_S16, s16, int16_t, true, INT16_MIN, INT16_MAX)
    INTEGER(WRT_VALUE_U16, u16, uint16_t, false, 0, UINT16_MAX)
    INTEGER(WRT_VALUE_S32, s32, int32_t, true, INT32_MIN, INT32_MAX)
    INTEGER(WRT_VALUE_U32, u32, uint32_t, false, 0, UINT32_MAX)
    INTEGER(WRT_VALUE_S64, s64, int64_t, true, INT64_MIN, INT64_MAX)
    INTEGER(WRT_VALUE_U64, u64, uint64_t, false, 0, UINT64_MAX)
    default: {
      double number;
      if (LIKELY(PyFloat_Check(object))) {
        number = PyFloat_AS_DOUBLE(object);
      } else {
        number = PyLong_AsDouble(object);
        if (number == -1.0 && PyErr_Occurred()) {
          if (PyErr_ExceptionMatches(PyExc_OverflowError)) PyErr_Clear();
          return -1;
        }
      }
      if (plan->kind == WRT_VALUE_F64)
        out->of.f64 = number;
      else
        out->of.f32 = (float)number;
    }
  }
  out->kind = plan->kind;
  return 0;
}

static bool is_plain_number(Plan *plan, PyObject *object) {
  return PyLong_Check(object) || (plan->kind >= WRT_VALUE_F32 && PyFloat_Check(object));
}

/* The plan's function makes ints and floats of numbers of other kinds, by the rules of every call; it may run their code. */
static int lower_number(Plan *plan, PyObject *object, wrt_value *out) {
  if (LIKELY(is_plain_number(plan, object))) return lower_plain_number(plan, object, out);
  if (plan->type == NULL) return -1;
  PyObject *number = PyObject_CallOneArg(plan->type, object);
  if (number == NULL) return -1;
  int result = is_plain_number(plan, number) ? lower_plain_number(plan, number, out) : -1;
  Py_DECREF(number);
  return result;
}

/* ---- text ---- */

/* Puts the text of a string into `out`, where it stays the string's; -1 as lower. */
static int lend_string(PyObject *object, wrt_value *out) {
  Py_ssize_t size;
  if (UNLIKELY(!PyUnicode_Check(object))) return -1;
  const char *text = PyUnicode_AsUTF8AndSize(object, &size);
  if (UNLIKELY(text == NULL)) {
    if (PyErr_ExceptionMatches(PyExc_UnicodeError)) PyErr_Clear();
    return -1;
  }
  out->of.text = (wrt_text){.size = (size_t)size, .data = (char *)text};
  out->kind = WRT_VALUE_STRING;
  return 0;
}

static int lower_string(Lowering *lowering, PyObject *object, wrt_value *out) {
  wrt_value lent;
  if (UNLIKELY(lend_string(object, &lent) < 0)) return -1;
  if (lowering->arena == NULL)
    lowering->ops->text_new(&lent.of.text, lent.of.text.data, lent.of.text.size);
  else if (arena_hold(lowering, object) == NULL)
    return -1;
  *out = lent;
  return 0;
}

static int lower_char(PyObject *object, wrt_value *out) {
  if (!PyUnicode_Check(object)) return -1;
#if PY_VERSION_HEX < 0x030C0000
  if (PyUnicode_READY(object) < 0) return -1;
#endif
  if (PyUnicode_GET_LENGTH(object) != 1) return -1;
  Py_UCS4 character = PyUnicode_READ_CHAR(object, 0);
  if (character >= 0xD800 && character <= 0xDFFF) return -1;
  out->of.character = character;
  out->kind = WRT_VALUE_CHAR;
  return 0;
}

/* ---- lists ---- */

/* The size and kind of a number in a buffer, by the kind of the list's numbers; several format letters may mean the same. */
static const struct {
  uint8_t size;
  char kind; /* i, u or f, and b for bool */
} number_formats[] = {
    [WRT_VALUE_BOOL] = {1, 'b'}, [WRT_VALUE_S8] = {1, 'i'},  [WRT_VALUE_U8] = {1, 'u'},  [WRT_VALUE_S16] = {2, 'i'},
    [WRT_VALUE_U16] = {2, 'u'},  [WRT_VALUE_S32] = {4, 'i'}, [WRT_VALUE_U32] = {4, 'u'}, [WRT_VALUE_S64] = {8, 'i'},
    [WRT_VALUE_U64] = {8, 'u'},  [WRT_VALUE_F32] = {4, 'f'}, [WRT_VALUE_F64] = {8, 'f'},
};

static bool fits_format(const Py_buffer *view, uint8_t kind) {
  const char *format = view->format == NULL ? "B" : view->format;
  if (*format == '@' || *format == '=' || *format == (PY_LITTLE_ENDIAN ? '<' : '>')) format++;
  if (format[0] == '\0' || format[1] != '\0') return false;
  char found = strchr("bhilqn", *format) != NULL   ? 'i'
               : strchr("BHILQN", *format) != NULL ? 'u'
               : strchr("fd", *format) != NULL     ? 'f'
               : *format == '?'                    ? 'b'
                                                   : '\0';
  return found == number_formats[kind].kind && view->itemsize == number_formats[kind].size;
}

#define COPY_ITEMS(KIND, member, type)                                      \
  case KIND:                                                                \
    for (size_t i = 0; i < count; i++) {                                    \
      type item;                                                            \
      memcpy(&item, from + i * sizeof item, sizeof item);                   \
      to[i].kind = KIND;                                                    \
      to[i].of.member = item;                                               \
    }                                                                       \
    break;

static void copy_items(uint8_t kind, const char *from, wrt_value *to, size_t count) {
  switch (kind) {
    COPY_ITEMS(WRT_VALUE_S8, s8, int8_t)
    COPY_ITEMS(WRT_VALUE_U8, u8, uint8_t)
    COPY_ITEMS(WRT_VALUE_S16, s16, int16_t)
    COPY_ITEMS(WRT_VALUE_U16, u16, uint16_t)
    COPY_ITEMS(WRT_VALUE_S32, s32, int32_t)
    COPY_ITEMS(WRT_VALUE_U32, u32, uint32_t)
    COPY_ITEMS(WRT_VALUE_S64, s64, int64_t)
    COPY_ITEMS(WRT_VALUE_U64, u64, uint64_t)
    COPY_ITEMS(WRT_VALUE_F32, f32, float)
    COPY_ITEMS(WRT_VALUE_F64, f64, double)
    default:
      for (size_t i = 0; i < count; i++) {
        to[i].kind = WRT_VALUE_BOOL;
        to[i].of.boolean = from[i] != 0;
      }
  }
}

/* Items of any buffer of one dimension in the format of the list's numbers; PLAN_BYTES takes any buffer of bytes. */
static int lower_buffer(Lowering *lowering, uint8_t kind, PyObject *object, wrt_value *out) {
  Py_buffer view;
  if (!PyObject_CheckBuffer(object)) return -1;
  if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) < 0) {
    if (PyErr_ExceptionMatches(PyExc_BufferError) || PyErr_ExceptionMatches(PyExc_ValueError)) PyErr_Clear();
    return -1;
  }
  int result = -1;
  char *copy = NULL;
  wrt_values list = {0};
  if (view.ndim == 1 && fits_format(&view, kind)) {
    size_t count = (size_t)(view.len / view.itemsize);
    const char *items = view.buf;
    if (!PyBuffer_IsContiguous(&view, 'C')) {
      copy = PyMem_Malloc((size_t)view.len + 1);
      items = copy;
      if (copy == NULL) PyErr_NoMemory();
      else if (PyBuffer_ToContiguous(copy, &view, view.len, 'C') < 0) items = NULL;
    }
    if (items != NULL && make_values(lowering, &list, count)) {
      copy_items(kind, items, list.data, count);
      out->of.list = list;
      out->kind = WRT_VALUE_LIST;
      result = 0;
    }
  }
  PyMem_Free(copy);
  PyBuffer_Release(&view);
  return result;
}

/* The item of a list or tuple, a new reference; NULL where Python code made it shorter. */
static inline PyObject *item_at(PyObject *sequence, size_t index) {
  if (UNLIKELY(index >= (size_t)PySequence_Fast_GET_SIZE(sequence))) return NULL;
  return Py_NewRef(PySequence_Fast_GET_ITEM(sequence, (Py_ssize_t)index));
}

/* Lowers the items of a list or tuple into as many values, which lie in the arena or are valid already. */
static int lower_items(Lowering *lowering, Plan *const *plans, bool same, PyObject *sequence, wrt_value *to, size_t count) {
  size_t i = 0;
  for (; i < count; i++) {
    PyObject *item = item_at(sequence, i);
    int result = item == NULL ? -1 : lower(lowering, plans[same ? 0 : i], item, &to[i]);
    Py_XDECREF(item);
    if (UNLIKELY(result < 0)) return -1;
  }
  return (size_t)PySequence_Fast_GET_SIZE(sequence) == count ? 0 : -1;
}

static int lower_list(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  uint8_t kind = plan->kind == PLAN_BYTES ? WRT_VALUE_U8 : plan->children[0]->kind;
  if (!(PyList_Check(object) || PyTuple_Check(object)))
    return kind <= WRT_VALUE_F64 ? lower_buffer(lowering, kind, object, out) : -1;
  size_t count = (size_t)PySequence_Fast_GET_SIZE(object);
  wrt_values list;
  if (!make_values(lowering, &list, count)) return -1;
  if (lowering->arena == NULL) { /* `out` must be valid at every moment */
    out->of.list = list;
    out->kind = WRT_VALUE_LIST;
  }
  if (lower_items(lowering, plan->children, true, object, list.data, count) < 0) return -1;
  out->of.list = list;
  out->kind = WRT_VALUE_LIST;
  return 0;
}

static int lower_tuple(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  if (!(PyTuple_Check(object) || PyList_Check(object)) || (size_t)PySequence_Fast_GET_SIZE(object) != plan->count) return -1;
  wrt_values list;
  if (!make_values(lowering, &list, plan->count)) return -1;
  if (lowering->arena == NULL) {
    out->of.list = list;
    out->kind = WRT_VALUE_TUPLE;
  }
  if (lower_items(lowering, plan->children, false, object, list.data, plan->count) < 0) return -1;
  out->of.list = list;
  out->kind = WRT_VALUE_TUPLE;
  return 0;
}

/* ---- records ---- */

/* Whether fields are to be looked up by their names in the object: 1 or 0, or -1 with an exception set. */
static int is_mapping(Store *store, PyObject *object) {
  if (PyDict_Check(object)) return 1;
  return PyMapping_Check(object) ? PyObject_IsInstance(object, store->state->mapping_class) : 0;
}

/* A field of an object, a new reference; NULL where it has none, with or without an exception set. */
static PyObject *field_of(Plan *plan, uint32_t index, PyObject *object, bool mapping) {
  PyObject *name = plan->attributes[index];
  if (plan->plain && Py_TYPE(object) == (PyTypeObject *)plan->type)
    return Py_XNewRef(*(PyObject **)((char *)object + plan->offsets[index]));
  if (PyDict_Check(object)) return Py_XNewRef(PyDict_GetItemWithError(object, name));
  PyObject *found = mapping ? PyObject_GetItem(object, name) : PyObject_GetAttr(object, name);
  if (found == NULL && PyErr_ExceptionMatches(mapping ? PyExc_KeyError : PyExc_AttributeError)) PyErr_Clear();
  return found;
}

static int lower_record(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  bool own = plan->plain && Py_TYPE(object) == (PyTypeObject *)plan->type;
  int mapping = own ? 0 : is_mapping(lowering->store, object);
  if (mapping < 0) return -1;
  if (mapping) {
    Py_ssize_t size = PyMapping_Size(object);
    if (size != (Py_ssize_t)plan->count) return -1;
  }
  wrt_fields fields = {.size = plan->count};
  if (lowering->arena == NULL) {
    lowering->ops->fields_new(&fields, plan->count);
    out->of.record = fields;
    out->kind = WRT_VALUE_RECORD;
  } else {
    fields.data = arena_take(lowering, plan->count, sizeof *fields.data);
    if (fields.data == NULL) return -1;
  }
  for (uint32_t i = 0; i < plan->count; i++) {
    PyObject *value = field_of(plan, i, object, mapping != 0);
    if (UNLIKELY(value == NULL)) return -1;
    put_name(lowering, &plan->names[i], &fields.data[i].name);
    int result = lower(lowering, plan->children[i], value, &fields.data[i].value);
    Py_DECREF(value);
    if (UNLIKELY(result < 0)) return -1;
  }
  out->of.record = fields;
  out->kind = WRT_VALUE_RECORD;
  return 0;
}

/* ---- choices ---- */

/* The payload of a case: what the object holds as `value`. -1 as lower. */
static int lower_payload(Lowering *lowering, Plan *plan, PyObject *object, wrt_value **out) {
  PyObject *payload = PyObject_GetAttr(object, lowering->store->state->value_name);
  if (payload == NULL) return -1;
  wrt_value *box = make_box(lowering);
  *out = box; /* first, so that the value is valid at every moment */
  int result = box == NULL ? -1 : lower(lowering, plan, payload, box);
  Py_DECREF(payload);
  return result;
}

/* The number of `object` among the plan's objects; -1 where it is none of them, with or without an exception set. */
static Py_ssize_t find_case(Plan *plan, PyObject *object) {
  for (uint32_t i = 0; i < plan->count && i < 8; i++)
    if (plan->objects[i] == object) return i;
  if (plan->count <= 8) return -1;
  PyObject *number = PyDict_GetItemWithError(plan->index, object);
  if (number == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) PyErr_Clear(); /* not hashable */
  return number == NULL ? -1 : PyLong_AsSsize_t(number);
}

static int lower_variant(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  bool is_class = PyType_Check(object); /* a case without payload may be given by its class */
  Py_ssize_t at = find_case(plan, is_class ? object : (PyObject *)Py_TYPE(object));
  if (UNLIKELY(at < 0 || (is_class && plan->children[at] != NULL))) return -1;
  out->of.variant = (wrt_variant){{0, NULL}, NULL};
  put_name(lowering, &plan->names[at], &out->of.variant.name);
  out->kind = WRT_VALUE_VARIANT;
  if (plan->children[at] == NULL) return 0;
  return lower_payload(lowering, plan->children[at], object, &out->of.variant.payload);
}

static int lower_enum(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  Py_ssize_t at = find_case(plan, object);
  if (UNLIKELY(at < 0)) return -1;
  put_name(lowering, &plan->names[at], &out->of.text);
  out->kind = WRT_VALUE_ENUM;
  return 0;
}

static int lower_option(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  out->of.option = NULL;
  out->kind = WRT_VALUE_OPTION;
  if (object == Py_None) return 0;
  if (plan->wrapped) {
    if (!Py_IS_TYPE(object, (PyTypeObject *)plan->type)) return -1;
    return lower_payload(lowering, plan->children[0], object, &out->of.option);
  }
  wrt_value *box = make_box(lowering);
  out->of.option = box;
  return box == NULL ? -1 : lower(lowering, plan->children[0], object, box);
}

static int lower_result(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  bool is_ok = (PyObject *)Py_TYPE(object) == plan->objects[0];
  if (UNLIKELY(!is_ok && (PyObject *)Py_TYPE(object) != plan->objects[1])) return -1;
  Plan *payload = plan->children[is_ok ? 0 : 1];
  out->of.result = (wrt_outcome){is_ok, NULL};
  out->kind = WRT_VALUE_RESULT;
  if (payload != NULL) return lower_payload(lowering, payload, object, &out->of.result.payload);
  PyObject *nothing = PyObject_GetAttr(object, lowering->store->state->value_name);
  Py_XDECREF(nothing);
  return nothing == Py_None ? 0 : -1;
}

static int lower_flags(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  if (!PyObject_TypeCheck(object, (PyTypeObject *)plan->type)) return -1;
  PyObject *number = PyObject_GetAttr(object, lowering->store->state->value_name);
  if (number == NULL) return -1;
  uint64_t bits = PyLong_Check(number) ? PyLong_AsUnsignedLongLongMask(number) : 0;
  Py_DECREF(number);
  if (PyErr_Occurred()) return -1;
  if (plan->count < 64 && bits >> plan->count != 0) return -1;
  wrt_texts texts = {.size = (size_t)__builtin_popcountll(bits)};
  if (lowering->arena == NULL)
    lowering->ops->texts_new(&texts, texts.size);
  else if ((texts.data = arena_take(lowering, texts.size, sizeof *texts.data)) == NULL)
    return -1;
  for (size_t i = 0; bits != 0; bits &= bits - 1)
    put_name(lowering, &plan->names[__builtin_ctzll(bits)], &texts.data[i++]);
  out->of.flags = texts;
  out->kind = WRT_VALUE_FLAGS;
  return 0;
}

/* ---- resources ---- */

/* A resource of the host's: any object. The guest gets a number for it. */
static int lower_host_resource(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  Store *store = lowering->store;
  bool owned = plan->kind == PLAN_OWN;
  uint32_t rep;
  wrt_failure failure;
  wrt_resource *handle;
  if (plan->type != NULL) {
    int fits = PyObject_IsInstance(object, plan->type);
    if (fits <= 0) return -1;
  }
  if (host_resource_keep(store, object, &rep) < 0) return -1;
  int result = lowering->ops->resource_new(store->native, plan->host_type, rep, owned, &handle, &failure);
  if (result != WRT_OK) {
    host_resource_drop(NULL, store, rep);
    raise_failure(store, result, &failure);
    return -1;
  }
  if (lowering->arena != NULL) {
    ArenaHeld *held = arena_take(lowering, 1, sizeof *held);
    if (held == NULL) {
      lowering->ops->resource_delete(handle);
      host_resource_drop(NULL, store, rep);
      return -1;
    }
    *held = (ArenaHeld){.next = lowering->arena->held, .handle = handle, .rep = rep, .owned = owned};
    lowering->arena->held = held;
  }
  out->of.resource = handle;
  out->kind = WRT_VALUE_RESOURCE;
  return 0;
}

static int lower_resource(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  if (plan->host_type != 0) return lower_host_resource(lowering, plan, object, out);
  if (!PyObject_TypeCheck(object, (PyTypeObject *)plan->type)) return -1;
  Resource *resource = (Resource *)object;
  if (resource->native == NULL || resource->store != lowering->store || resource->giving) return -1;
  if (plan->kind == PLAN_OWN && resource->borrowed) return -1;
  if (lowering->arena == NULL) { /* a host function gives it to the guest */
    out->of.resource = lowering->ops->resource_copy(resource->native);
    if (plan->kind == PLAN_OWN) {
      lowering->ops->resource_delete(resource->native);
      resource->native = NULL;
    }
  } else {
    ArenaHeld *held = arena_hold(lowering, object);
    if (held == NULL) return -1;
    held->owned = resource->giving = plan->kind == PLAN_OWN;
    out->of.resource = resource->native;
  }
  out->kind = WRT_VALUE_RESOURCE;
  return 0;
}

int lower(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  switch (plan->kind) {
    case WRT_VALUE_BOOL:
      if (UNLIKELY(object != Py_True && object != Py_False)) return -1;
      out->of.boolean = object == Py_True;
      out->kind = WRT_VALUE_BOOL;
      return 0;
    case WRT_VALUE_CHAR: return lower_char(object, out);
    case WRT_VALUE_STRING: return lower_string(lowering, object, out);
    case WRT_VALUE_LIST:
    case PLAN_BYTES: return lower_list(lowering, plan, object, out);
    case WRT_VALUE_RECORD: return lower_record(lowering, plan, object, out);
    case WRT_VALUE_TUPLE: return lower_tuple(lowering, plan, object, out);
    case WRT_VALUE_VARIANT: return lower_variant(lowering, plan, object, out);
    case WRT_VALUE_ENUM: return lower_enum(lowering, plan, object, out);
    case WRT_VALUE_OPTION: return lower_option(lowering, plan, object, out);
    case WRT_VALUE_RESULT: return lower_result(lowering, plan, object, out);
    case WRT_VALUE_FLAGS: return lower_flags(lowering, plan, object, out);
    case PLAN_OWN:
    case PLAN_BORROW: return lower_resource(lowering, plan, object, out);
    default: return lower_number(plan, object, out);
  }
}

int lower_argument(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out) {
  int64_t number;
  if (LIKELY(plan->kind == WRT_VALUE_U32) && LIKELY(PyLong_CheckExact(object)) && LIKELY(read_int(object, &number)) &&
      LIKELY(number >= 0 && number <= UINT32_MAX)) {
    out->of.u32 = (uint32_t)number;
    out->kind = WRT_VALUE_U32;
    return 0;
  }
  return plan->kind == WRT_VALUE_STRING ? lend_string(object, out) : lower(lowering, plan, object, out);
}
