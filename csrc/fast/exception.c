/* exception.c: exceptions of guests as Python exceptions, and the other way round.
 *
 * A WasmException (pywasmrt/errors.py) that a host function raises, with a tag of the store that calls, is thrown into the
 * guest: guests may catch it. One that no guest catches ends the call, and the innermost call from Python raises it: the same
 * object that was thrown, if it is among the last that host functions have thrown in this call chain, and otherwise a new one
 * with the exception's tag and values. The objects are kept in a ring, so that a guest that catches a million costs no memory.
 */
#include "values.h"

/* How many of the exceptions thrown by host functions are kept, to come out as the same objects. */
enum { THROWN_KEPT = 64 };

struct Thrown {
  size_t next;
  struct {
    wrt_ref root;        /* owned */
    PyObject *exception; /* owned; NULL in an empty place */
    PyObject *values;    /* owned: those that were thrown */
  } kept[THROWN_KEPT];
};

/* ---- the ring ---- */

void thrown_clear(Store *store) {
  Thrown *thrown = store->thrown;
  store->thrown = NULL; /* first, as the releases below may run Python code */
  if (thrown == NULL) return;
  for (size_t i = 0; i < THROWN_KEPT; i++) {
    if (thrown->kept[i].exception == NULL) continue;
    store->ops->ref_delete(&thrown->kept[i].root);
    Py_DECREF(thrown->kept[i].exception);
    Py_DECREF(thrown->kept[i].values);
  }
  PyMem_Free(thrown);
}

int thrown_traverse(Store *store, visitproc visit, void *arg) {
  for (size_t i = 0; store->thrown != NULL && i < THROWN_KEPT; i++) {
    Py_VISIT(store->thrown->kept[i].exception);
    Py_VISIT(store->thrown->kept[i].values);
  }
  return 0;
}

/* Empties the next place in the ring: 0, or -1 with an exception set. May run Python code. */
static int make_place(Store *store) {
  if (store->thrown == NULL && (store->thrown = PyMem_Calloc(1, sizeof *store->thrown)) == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  for (;;) { /* a destructor may throw exceptions of its own, and so take the place that was made */
    size_t at = store->thrown->next % THROWN_KEPT;
    PyObject *before = store->thrown->kept[at].exception, *values = store->thrown->kept[at].values;
    if (before == NULL) return 0;
    store->thrown->kept[at].exception = store->thrown->kept[at].values = NULL;
    store->ops->ref_delete(&store->thrown->kept[at].root);
    Py_DECREF(before);
    Py_DECREF(values);
  }
}

/* Releases an object later, with what guests no longer hold, as no Python code may run now. Without memory it leaks. */
static void release_later(Store *store, PyObject *object) {
  HostRef *ref = host_ref_new(store, object);
  if (ref == NULL) {
    PyErr_Clear();
    Py_INCREF(object);
    return;
  }
  host_ref_finalize(ref);
}

/* Puts an exception that was thrown into the ring, which takes over the root. If the place that was made for it has been filled
 * meanwhile, the exception will not be recognised. */
static void keep_thrown(Store *store, wrt_ref *root, PyObject *exception, PyObject *values) {
  size_t at = store->thrown->next % THROWN_KEPT;
  if (store->thrown->kept[at].exception != NULL) {
    store->ops->ref_delete(root);
    release_later(store, exception);
    release_later(store, values);
    return;
  }
  store->thrown->next++;
  store->thrown->kept[at].root = *root;
  store->thrown->kept[at].exception = Py_NewRef(exception);
  store->thrown->kept[at].values = Py_NewRef(values);
}

/* The object that was thrown as the exception that ended the call: borrowed, or NULL. */
static PyObject *find_thrown(Store *store) {
  for (size_t i = 0; store->thrown != NULL && i < THROWN_KEPT; i++) {
    PyObject *exception = store->thrown->kept[i].exception;
    if (exception != NULL && store->ops->exception_is(store->native, &store->thrown->kept[i].root)) return exception;
  }
  return NULL;
}

/* ---- into a guest ---- */

static bool has_tag(Store *store, PyObject *exception, wrt_extern *out) {
  PyObject *tag = PyObject_GetAttrString(exception, "tag");
  PyObject *owner = tag == NULL ? NULL : PyObject_GetAttrString(tag, "_store");
  PyObject *handle = owner != (PyObject *)store ? NULL : PyObject_GetAttrString(tag, "_handle");
  bool found = handle != NULL && read_handle(handle, out, sizeof *out);
  Py_XDECREF(handle);
  Py_XDECREF(owner);
  Py_XDECREF(tag);
  return found;
}

PyObject *exception_to_throw(Store *store, wrt_extern *tag, PyObject **values) {
  if (store->ops->exception_throw == NULL || !PyErr_ExceptionMatches(store->state->wasm_exception)) return NULL;
  PyObject *type, *exception, *traceback, *given = NULL;
  PyErr_Fetch(&type, &exception, &traceback);
  PyErr_NormalizeException(&type, &exception, &traceback);
  if (traceback != NULL) PyException_SetTraceback(exception, traceback);
  *values = NULL;
  if (has_tag(store, exception, tag) && (given = PyObject_GetAttrString(exception, "values")) != NULL)
    *values = PySequence_Tuple(given);
  Py_XDECREF(given);
  if (*values != NULL && make_place(store) < 0) Py_CLEAR(*values);
  PyErr_Clear(); /* the error of an attribute that a class has overridden: this is then an exception like others */
  if (*values == NULL) {
    PyErr_Restore(type, exception, traceback);
    return NULL;
  }
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return exception;
}

/* Writes the values into slots and throws them: 0, or -1, with an exception set unless the values do not fit. */
static int throw_values(Store *store, const wrt_extern *tag, const wrt_extern_type *type, PyObject *values, wrt_ref *root) {
  size_t count = type->param_count;
  if ((size_t)PyTuple_GET_SIZE(values) != count) return -1;
  wrt_slot *slots = PyMem_Calloc(count * store->ops->slot_words + 1, sizeof *slots);
  if (slots == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  wrt_failure failure;
  int result = encode_refs(store, type->types, &PyTuple_GET_ITEM(values, 0), count, slots);
  if (result == 0) {
    result = store->ops->exception_throw(store->native, tag, slots, root, &failure);
    if (result != WRT_OK) {
      set_failure(store, &failure, "the exception cannot be thrown");
      result = -1;
    }
  }
  PyMem_Free(slots);
  return result;
}

int exception_send(Store *store, const wrt_extern *tag, PyObject *values, PyObject *exception) {
  wrt_extern_type type;
  wrt_failure failure;
  wrt_ref root;
  int result = store->ops->extern_type(store->native, tag, &type, &failure);
  if (result != WRT_OK) {
    set_failure(store, &failure, "the exception cannot be thrown");
    return WRT_HOST;
  }
  result = throw_values(store, tag, &type, values, &root);
  store->ops->type_clear(&type);
  if (result < 0) return WRT_HOST;
  keep_thrown(store, &root, exception, values);
  return WRT_THROWN;
}

void exception_refuse(PyObject *values) {
  if (!PyErr_Occurred()) PyErr_Format(PyExc_TypeError, "these values do not fit the exception's tag: %R", values);
}

int throw_or_park(Store *store) {
  wrt_extern tag;
  PyObject *values, *exception = exception_to_throw(store, &tag, &values);
  if (LIKELY(exception == NULL)) return park(store);
  int result = exception_send(store, &tag, values, exception);
  if (result == WRT_HOST) {
    exception_refuse(values);
    park(store);
  }
  Py_DECREF(values); /* both are in the ring; or it failed, and that exception is parked already */
  Py_DECREF(exception);
  return result;
}

/* ---- out of a guest ---- */

/* The values of the exception that ended the call, as a tuple; NULL with an exception set. */
static PyObject *read_values(Store *store, const wrt_extern_type *type) {
  size_t count = type->param_count, step = store->ops->slot_words;
  wrt_slot *slots = PyMem_Calloc(count * step + 1, sizeof *slots);
  if (slots == NULL) return PyErr_NoMemory();
  wrt_failure failure;
  PyObject *tuple = NULL;
  int result = store->ops->exception_values(store->native, slots, &failure);
  if (result == WRT_OK) {
    take_refs(store, type->types, count, slots);
    tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple != NULL && i < count; i++) {
      PyObject *value = decode(store, type->types[i], slots + i * step);
      if (value == NULL)
        Py_CLEAR(tuple);
      else
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, value);
    }
    if (tuple == NULL) drop_refs(store, type->types, count, slots);
  } else {
    raise_failure(store, result, &failure);
  }
  PyMem_Free(slots);
  return tuple;
}

/* What the adapter makes a new WasmException of: (store, handle of the tag, its type, values); NULL with an exception set. */
static PyObject *describe_exception(Store *store, const wrt_extern *tag) {
  wrt_extern_type type;
  wrt_failure failure;
  int result = store->ops->extern_type(store->native, tag, &type, &failure);
  if (result != WRT_OK) return raise_failure(store, result, &failure);
  PyObject *values = read_values(store, &type);
  PyObject *signature = values == NULL ? NULL
                                       : PyObject_CallFunction(store->state->make_function_type, "y#y#", type.types,
                                                               (Py_ssize_t)type.param_count, "", (Py_ssize_t)0);
  store->ops->type_clear(&type);
  PyObject *described = NULL;
  if (signature != NULL)
    described = Py_BuildValue("Oy#OO", store, (const char *)tag, (Py_ssize_t)sizeof *tag, signature, values);
  Py_XDECREF(signature);
  Py_XDECREF(values);
  return described;
}

PyObject *exception_value(Store *store) {
  wrt_extern tag = {{0}};
  if (!store->ops->exception_tag(store->native, &tag)) {
    PyErr_SetString(store->state->wasm_error, "the engine does not tell the tag of this exception");
    return NULL;
  }
  PyObject *thrown = find_thrown(store);
  if (thrown != NULL) return Py_NewRef(thrown);
  PyObject *told = describe_exception(store, &tag);
  if (told == NULL) return NULL;
  wrt_failure failure = {.trap = WRT_TRAP_UNCAUGHT_EXCEPTION};
  raise_told(store->ops, store->fail, WRT_TRAP, &failure, told);
  Py_DECREF(told);
  if (!PyErr_ExceptionMatches(store->state->wasm_exception)) return NULL;
  PyObject *type, *value, *traceback; /* it is a value here, and was not raised */
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  PyException_SetTraceback(value, Py_None);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
}

bool raise_exception(Store *store, wrt_failure *failure) {
  wrt_extern tag = {{0}};
  if (store->ops->exception_tag == NULL || !store->ops->exception_tag(store->native, &tag)) return false;
  PyObject *exception = Py_XNewRef(find_thrown(store));
  PyObject *traceback = exception == NULL ? NULL : PyException_GetTraceback(exception);
  PyObject *told = exception != NULL ? Py_NewRef(exception) : describe_exception(store, &tag);
  if (told == NULL) {
    store->ops->failure_clear(failure);
    return true;
  }
  raise_told(store->ops, store->fail, WRT_TRAP, failure, told);
  Py_DECREF(told);
  if (exception != NULL && PyErr_ExceptionMatches((PyObject *)Py_TYPE(exception))) { /* without the adapter's frame */
    PyObject *type, *value, *of_adapter;
    PyErr_Fetch(&type, &value, &of_adapter);
    PyErr_NormalizeException(&type, &value, &of_adapter);
    if (value == exception) {
      Py_XSETREF(of_adapter, Py_XNewRef(traceback));
      PyException_SetTraceback(value, traceback == NULL ? Py_None : traceback);
    }
    PyErr_Restore(type, value, of_adapter);
  }
  Py_XDECREF(exception);
  Py_XDECREF(traceback);
  return true;
}

/* ---- what the host makes ---- */

/* tag(type codes of the values) -> handle */
PyObject *store_tag(PyObject *object, PyObject *codes) {
  Store *self = (Store *)object;
  wrt_extern out = {{0}};
  wrt_failure failure;
  if (!PyBytes_Check(codes)) return PyErr_Format(PyExc_TypeError, "type codes come as bytes");
  if (store_enter(self) < 0) return NULL;
  int result = self->ops->tag_new(self->native, (const uint8_t *)PyBytes_AS_STRING(codes), (size_t)PyBytes_GET_SIZE(codes),
                                  &out, &failure);
  PyObject *handle = result == WRT_OK ? PyBytes_FromStringAndSize((const char *)&out, sizeof out)
                                      : raise_failure(self, result, &failure);
  store_leave(self);
  return handle;
}
