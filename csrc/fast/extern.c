/* extern.c: everything the host makes, links, reads and sets in a store: the methods of Store named EXTERN_METHODS.
 *
 * Handles pass between Python and C as bytes objects holding the plain struct; they come from this file only, and the adapter
 * ensures that a handle is used with the store that it came from.
 */
#include "values.h"

/* ---- handles ---- */

bool read_handle(PyObject *object, void *handle, size_t size) {
  if (!PyBytes_Check(object) || (size_t)PyBytes_GET_SIZE(object) != size) {
    PyErr_SetString(PyExc_TypeError, "this is no handle");
    return false;
  }
  memcpy(handle, PyBytes_AS_STRING(object), size);
  return true;
}

static PyObject *handle_bytes(const wrt_extern *handle) {
  return PyBytes_FromStringAndSize((const char *)handle, sizeof *handle);
}

/* ---- what the host makes ---- */

/* memory(minimum, maximum or None, is_64, shared) -> handle */
PyObject *store_memory(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  unsigned long long minimum, maximum = 0;
  PyObject *limit;
  int is_64, shared;
  if (!PyArg_ParseTuple(args, "KOpp", &minimum, &limit, &is_64, &shared)) return NULL;
  if (limit != Py_None && (maximum = PyLong_AsUnsignedLongLong(limit), PyErr_Occurred())) return NULL;
  wrt_extern_type type = {.kind = WRT_MEMORY, .minimum = minimum, .maximum = maximum, .has_maximum = limit != Py_None,
                          .is_64 = is_64 != 0, .shared = shared != 0, .page_size = 65536};
  wrt_extern out;
  wrt_failure failure;
  if (store_enter(self) < 0) return NULL;
  int result = self->ops->memory_new(self->native, &type, &out, &failure);
  PyObject *handle = result == WRT_OK ? handle_bytes(&out) : raise_failure(self, result, &failure);
  store_leave(self);
  return handle;
}

/* Encodes one value of a global or table, inside the store; -1 with an exception set. The adapter has checked the value, so
 * only a function of another store or a lack of memory can still make this fail. */
static int encode_one(Store *store, wrt_type type, PyObject *value, wrt_slot *slot) {
  uint8_t code = (uint8_t)type;
  slot[0].u64 = slot[1].u64 = 0;
  if (encode_refs(store, &code, &value, 1, slot) == 0) return 0;
  if (!PyErr_Occurred()) PyErr_Format(PyExc_TypeError, "%R does not fit", value);
  return -1;
}

static PyObject *decode_one(Store *store, wrt_type type, wrt_slot *slot) {
  uint8_t code = (uint8_t)type;
  if (type == WRT_REF || (type > WRT_REF && store->ops->object_root == NULL)) {
    PyErr_SetString(PyExc_TypeError, "a reference of this type cannot cross into Python");
    return NULL;
  }
  take_refs(store, &code, 1, slot);
  PyObject *value = decode(store, code, slot);
  if (value == NULL) drop_refs(store, &code, 1, slot);
  return value;
}

/* table(minimum, maximum or None, element, init) -> handle */
PyObject *store_table(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  unsigned int minimum, maximum = 0;
  PyObject *limit, *init;
  int element;
  if (!PyArg_ParseTuple(args, "IOiO", &minimum, &limit, &element, &init)) return NULL;
  if (limit != Py_None) {
    unsigned long number = PyLong_AsUnsignedLong(limit);
    if (PyErr_Occurred()) return NULL;
    maximum = (unsigned int)number;
  }
  wrt_extern_type type = {.kind = WRT_TABLE, .minimum = minimum, .maximum = maximum, .has_maximum = limit != Py_None,
                          .content = (wrt_type)element};
  wrt_extern out;
  wrt_failure failure;
  wrt_slot slot[2];
  PyObject *handle = NULL;
  if (store_enter(self) < 0) return NULL;
  if (encode_one(self, type.content, init, slot) == 0) {
    int result = self->ops->table_new(self->native, &type, slot, &out, &failure);
    handle = result == WRT_OK ? handle_bytes(&out) : raise_failure(self, result, &failure);
  }
  store_leave(self);
  return handle;
}

/* global_(type, value, mutable) -> handle */
PyObject *store_global_(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *value, *handle = NULL;
  int content, mutable_;
  if (!PyArg_ParseTuple(args, "iOp", &content, &value, &mutable_)) return NULL;
  wrt_extern_type type = {.kind = WRT_GLOBAL, .content = (wrt_type)content, .mutable_ = mutable_ != 0};
  wrt_extern out;
  wrt_failure failure;
  wrt_slot slot[2];
  if (store_enter(self) < 0) return NULL;
  if (encode_one(self, type.content, value, slot) == 0) {
    int result = self->ops->global_new(self->native, &type, slot, &out, &failure);
    handle = result == WRT_OK ? handle_bytes(&out) : raise_failure(self, result, &failure);
  }
  store_leave(self);
  return handle;
}

/* ---- instances ---- */

/* close_instance(instance handle): the engine frees it as soon as it can */
PyObject *store_close_instance(PyObject *object, PyObject *bytes) {
  Store *self = (Store *)object;
  wrt_instance instance;
  if (!read_handle(bytes, &instance, sizeof instance)) return NULL;
  if (self->native == NULL || self->ops->instance_close == NULL) Py_RETURN_NONE;
  wrt_instance *more = PyMem_Realloc(self->closing, (self->closing_count + 1) * sizeof *more);
  if (more == NULL) return PyErr_NoMemory();
  self->closing = more;
  self->closing[self->closing_count++] = instance;
  store_close_instances(self);
  Py_RETURN_NONE;
}

/* export(instance handle, name) -> handle or None */
PyObject *store_export(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *bytes;
  const char *name;
  Py_ssize_t size;
  wrt_instance instance;
  wrt_extern out = {{0}};
  if (!PyArg_ParseTuple(args, "Ss#", &bytes, &name, &size) || !read_handle(bytes, &instance, sizeof instance) ||
      store_check(self) < 0)
    return NULL;
  if (!self->ops->instance_export(self->native, &instance, name, (size_t)size, &out)) Py_RETURN_NONE;
  return handle_bytes(&out);
}

/* describe(handle) -> (kind, content, mutable, minimum, maximum or None, FunctionType of a function or tag, or None) */
PyObject *store_describe(PyObject *object, PyObject *bytes) {
  Store *self = (Store *)object;
  wrt_extern handle;
  wrt_extern_type type;
  wrt_failure failure;
  if (!read_handle(bytes, &handle, sizeof handle) || store_check(self) < 0) return NULL;
  int result = self->ops->extern_type(self->native, &handle, &type, &failure);
  if (result != WRT_OK) return raise_failure(self, result, &failure);
  PyObject *maximum = type.has_maximum ? PyLong_FromUnsignedLongLong(type.maximum) : Py_NewRef(Py_None);
  PyObject *signature = type.types == NULL
                            ? Py_NewRef(Py_None)
                            : PyObject_CallFunction(self->state->make_function_type, "y#y#", type.types,
                                                    (Py_ssize_t)type.param_count, type.types + type.param_count,
                                                    (Py_ssize_t)type.result_count);
  PyObject *tuple = NULL;
  if (maximum != NULL && signature != NULL)
    tuple = Py_BuildValue("iiOKOO", (int)type.kind, (int)type.content, type.mutable_ ? Py_True : Py_False,
                          (unsigned long long)type.minimum, maximum, signature);
  Py_XDECREF(maximum);
  Py_XDECREF(signature);
  self->ops->type_clear(&type);
  return tuple;
}

/* function(handle, name) -> Function */
PyObject *store_function(PyObject *object, PyObject *args) {
  PyObject *bytes, *name;
  wrt_extern handle;
  if (!PyArg_ParseTuple(args, "SU", &bytes, &name) || !read_handle(bytes, &handle, sizeof handle) ||
      store_check((Store *)object) < 0)
    return NULL;
  return function_new((Store *)object, &handle, name);
}

/* ---- globals and tables ---- */

/* What a global's value or a table's elements are, inside the store; false with an exception set. */
static bool content_of(Store *store, const wrt_extern *handle, wrt_type *content) {
  wrt_extern_type type;
  wrt_failure failure;
  int result = store->ops->extern_type(store->native, handle, &type, &failure);
  if (result == WRT_OK)
    *content = type.content;
  else
    raise_failure(store, result, &failure);
  return result == WRT_OK;
}

/* As store_enter, where no guest runs: what a guest holds can be read also once an error has ended it, as for a coredump. */
static int enter_to_read(Store *store) {
  if (LIKELY(store->stop_error == NULL)) return store_enter(store);
  store->timed = false;
  int result = store_enter(store);
  store->timed = true; /* as there is a stop_error */
  return result;
}

/* global_get(handle) -> value */
PyObject *store_global_get(PyObject *object, PyObject *bytes) {
  Store *self = (Store *)object;
  wrt_extern handle;
  wrt_slot slot[2];
  if (!read_handle(bytes, &handle, sizeof handle) || enter_to_read(self) < 0) return NULL;
  wrt_type type;
  PyObject *value = NULL;
  if (content_of(self, &handle, &type)) {
    self->ops->global_get(self->native, &handle, slot);
    value = decode_one(self, type, slot);
  }
  store_leave(self);
  return value;
}

/* global_set(handle, value) */
PyObject *store_global_set(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *bytes, *value, *done = NULL;
  wrt_extern handle;
  wrt_slot slot[2];
  wrt_failure failure;
  if (!PyArg_ParseTuple(args, "SO", &bytes, &value) || !read_handle(bytes, &handle, sizeof handle) ||
      store_enter(self) < 0)
    return NULL;
  wrt_type type;
  if (content_of(self, &handle, &type) && encode_one(self, type, value, slot) == 0) {
    int result = self->ops->global_set(self->native, &handle, slot, &failure);
    done = result == WRT_OK ? Py_NewRef(Py_None) : raise_refused(self, result, &failure);
  }
  store_leave(self);
  return done;
}

/* table_size(handle) -> int */
PyObject *store_table_size(PyObject *object, PyObject *bytes) {
  Store *self = (Store *)object;
  wrt_extern handle;
  if (!read_handle(bytes, &handle, sizeof handle) || store_check(self) < 0) return NULL;
  return PyLong_FromUnsignedLongLong(self->ops->table_size(self->native, &handle));
}

/* table_get(handle, index) -> value; IndexError beyond the end */
PyObject *store_table_get(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *bytes, *value = NULL;
  unsigned long long index;
  wrt_extern handle;
  wrt_slot slot[2];
  if (!PyArg_ParseTuple(args, "SK", &bytes, &index) || !read_handle(bytes, &handle, sizeof handle) ||
      store_enter(self) < 0)
    return NULL;
  wrt_type type;
  if (content_of(self, &handle, &type)) {
    if (self->ops->table_get(self->native, &handle, index, slot))
      value = decode_one(self, type, slot);
    else
      PyErr_Format(PyExc_IndexError, "index %llu is beyond the table", index);
  }
  store_leave(self);
  return value;
}

/* table_set(handle, index, value) */
PyObject *store_table_set(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *bytes, *value, *done = NULL;
  unsigned long long index;
  wrt_extern handle;
  wrt_slot slot[2];
  wrt_failure failure;
  if (!PyArg_ParseTuple(args, "SKO", &bytes, &index, &value) || !read_handle(bytes, &handle, sizeof handle) ||
      store_enter(self) < 0)
    return NULL;
  wrt_type type;
  if (content_of(self, &handle, &type) && encode_one(self, type, value, slot) == 0) {
    int result = self->ops->table_set(self->native, &handle, index, slot, &failure);
    done = result == WRT_OK ? Py_NewRef(Py_None) : raise_refused(self, result, &failure);
  }
  store_leave(self);
  return done;
}

/* table_grow(handle, delta, value) -> length before, or None where a limit forbids it */
PyObject *store_table_grow(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *bytes, *value, *done = NULL;
  unsigned long long delta;
  uint64_t previous;
  wrt_extern handle;
  wrt_slot slot[2];
  wrt_failure failure;
  if (!PyArg_ParseTuple(args, "SKO", &bytes, &delta, &value) || !read_handle(bytes, &handle, sizeof handle) ||
      store_enter(self) < 0)
    return NULL;
  wrt_type type;
  if (content_of(self, &handle, &type) && encode_one(self, type, value, slot) == 0) {
    int result = self->ops->table_grow(self->native, &handle, delta, slot, &previous, &failure);
    if (result == WRT_OK) {
      done = PyLong_FromUnsignedLongLong(previous);
    } else if (result == WRT_LIMIT) {
      self->ops->failure_clear(&failure);
      done = Py_NewRef(Py_None);
    } else {
      raise_refused(self, result, &failure);
    }
  }
  store_leave(self);
  return done;
}
