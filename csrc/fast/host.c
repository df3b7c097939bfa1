/* host.c: Python callables that guests call, and the Caller that a callable may ask for.
 *
 * The round trip of a host function:
 *   1. a guest calls its import; the engine calls call_python with the arguments in slots;
 *   2. the slots become Python objects, and the callable is called by vectorcall;
 *   3. what it returns is checked against the signature and goes into the same slots;
 *   4. what it raises, any BaseException, is parked on the store and the engine is told to unwind the guest (WRT_HOST); but a
 *      WasmException with a tag of the store goes to the guest, which may catch it (exception.c);
 *   5. the innermost call or instantiation of the store that ran this guest code takes the exception from the store and raises
 *      it, unchanged (raise_failure).
 * One parking place a store is enough: between 4 and 5 no Python code runs.
 */
#include "host.h"

/* ---- Caller ---- */

/* Whether the caller may be asked: 0, or -1 with an exception set. */
static int caller_check(Caller *self) {
  if (self->native != NULL) return store_check(self->store);
  PyErr_SetString(self->store->state->closed_error,
                  "the caller is gone: a Caller serves only until its host function returns");
  return -1;
}

static PyObject *Caller_check(PyObject *object, PyObject *unused) {
  (void)unused;
  return caller_check((Caller *)object) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *Caller_lookup(PyObject *object, PyObject *name) {
  Caller *self = (Caller *)object;
  if (caller_check(self) < 0) return NULL;
  Py_ssize_t size;
  const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &size) : NULL;
  if (text == NULL) { /* nothing has such a name */
    PyErr_Clear();
    Py_RETURN_NONE;
  }
  wrt_extern handle = {{0}};
  if (!self->store->ops->caller_export(self->store->native, self->native, text, (size_t)size, &handle))
    Py_RETURN_NONE;
  return PyBytes_FromStringAndSize((const char *)&handle, sizeof handle);
}

static PyObject *Caller_get_context(PyObject *object, void *unused) {
  (void)unused;
  return Py_NewRef(((Caller *)object)->context);
}

static PyObject *Caller_get_store(PyObject *object, void *unused) {
  (void)unused;
  return Py_NewRef(((Caller *)object)->store);
}

static int Caller_traverse(PyObject *object, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(((Caller *)object)->store);
  Py_VISIT(((Caller *)object)->context);
  return 0;
}

static void Caller_dealloc(PyObject *object) {
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  Py_XDECREF(((Caller *)object)->store);
  Py_XDECREF(((Caller *)object)->context);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyMethodDef caller_methods[] = {
    {"_check", Caller_check, METH_NOARGS, NULL},
    {"_lookup", Caller_lookup, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef caller_getset[] = {
    {"_store", Caller_get_store, NULL, NULL, NULL},
    {"_context", Caller_get_context, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot caller_slots[] = {
    {Py_tp_doc, "The instance that is calling a host function."},
    {Py_tp_methods, caller_methods},
    {Py_tp_getset, caller_getset},
    {Py_tp_traverse, Caller_traverse},
    {Py_tp_dealloc, Caller_dealloc},
    {0, NULL},
};

PyType_Spec caller_spec = {
    .name = "pywasmrt._shim._fastcall.Caller",
    .basicsize = sizeof(Caller),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = caller_slots,
};

PyObject *caller_new(HostCallable *self, wrt_caller *native) {
  Caller *caller = (Caller *)self->import->caller_class->tp_alloc(self->import->caller_class, 0);
  if (caller == NULL) return NULL;
  caller->store = (Store *)Py_NewRef(self->store);
  caller->context = Py_NewRef(self->context);
  caller->native = native;
  return (PyObject *)caller;
}

/* ---- the call ---- */

PyObject *converted_result(HostCallable *self, PyObject *value) {
  PyObject *numbers = PyObject_CallFunctionObjArgs(self->store->state->convert_result, self->import->type, value, NULL);
  Py_DECREF(value);
  if (numbers == NULL || !(self->store->closed || self->store->stopped || self->store->deadline != 0)) return numbers;
  if (check_stopped(self->store) < 0) Py_CLEAR(numbers);
  return numbers;
}

bool has_odd_number(HostCallable *self, PyObject *value) {
  const uint8_t *types = self->import->types + self->import->param_count;
  size_t count = self->import->result_count;
  if (count == 1) return is_odd_number(types[0], value);
  if (!PyTuple_Check(value) || (size_t)PyTuple_GET_SIZE(value) != count) return false;
  for (size_t i = 0; i < count; i++) {
    if (is_odd_number(types[i], PyTuple_GET_ITEM(value, (Py_ssize_t)i))) return true;
  }
  return false;
}

int refuse_result(HostCallable *self, PyObject *value) {
  if (!PyErr_Occurred()) {
    State *state = self->store->state;
    PyObject *never = PyObject_CallFunctionObjArgs(state->raise_result_error, self->import->label, self->import->type, value,
                                                   (PyObject *)state->function_type, NULL);
    Py_XDECREF(never);
  }
  return -1;
}

/* `args` has room for one more item in front, which vectorcall may use, and for the Caller. Python code runs only until the
 * results go into their slots, not after: a raw reference in a slot is safe only until something else is made. */
static inline int call_with(HostCallable *self, wrt_caller *native, PyObject **args, wrt_slot *slots) {
  Store *store = self->store;
  Caller *caller = NULL;
  size_t first = self->import->caller_class != NULL ? 1 : 0, count = first + self->import->param_count;
  if (UNLIKELY(self->import->has_refs)) take_refs(store, self->import->types, self->import->param_count, slots);
  if (!decode_arguments(self, args + first, slots)) return -1;
  if (UNLIKELY(store->garbage != NULL)) release_garbage(store);
  if (first != 0) {
    caller = (Caller *)caller_new(self, native);
    args[0] = (PyObject *)caller;
  }
  PyObject *value = NULL;
  if (LIKELY(first == 0 || caller != NULL))
    value = PyObject_Vectorcall(self->callable, args, count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
  if (caller != NULL) caller->native = NULL; /* a Caller that was kept is dead from here on */
  for (size_t i = caller == NULL ? first : 0; i < count; i++) Py_DECREF(args[i]);
  if (value == NULL) return -1;
  if (UNLIKELY(store->closed || store->stopped || store->deadline != 0) && check_stopped(store) < 0) {
    Py_DECREF(value);
    return -1;
  }
  if (LIKELY(!self->import->has_refs)) {
    int result = encode_results(self, value, slots);
    if (UNLIKELY(result < 0) && !PyErr_Occurred()) {
      value = converted_result(self, value);
      if (value == NULL) return -1;
      result = encode_results(self, value, slots) == 0 ? 0 : refuse_result(self, value);
    }
    Py_DECREF(value);
    return result;
  }
  if (self->import->result_count > 1 && holds_results(value))
    Py_SETREF(value, PySequence_Tuple(value)); /* what it holds is held with it; iterating may run Python code */
  if (value != NULL && UNLIKELY(has_odd_number(self, value))) value = converted_result(self, value);
  HostRef *kept = value == NULL ? NULL : host_ref_new(store, value); /* to release it while a slot holds a raw reference */
  Py_XDECREF(value);                                                 /* could run Python code */
  if (kept == NULL) return -1;
  int result = encode_results(self, value, slots) == 0 ? 0 : refuse_result(self, kept->object);
  host_ref_finalize(kept);
  return result;
}

int call_python(void *env, wrt_caller *caller, wrt_slot *slots) {
  HostCallable *self = env;
  EXIT_GUARD(guard);
  guest_end(self->store);
  HostFrame frame;
  host_begin(&frame, self->store);
  PyObject *few[2 + 8], **args = few;
  int result = -1;
  if (UNLIKELY(host_lacks_stack()))
    refuse_host_call(self->store, self->import->label);
  else if (UNLIKELY(self->import->param_count > 8) &&
           (args = PyMem_Malloc((2 + self->import->param_count) * sizeof *args)) == NULL)
    PyErr_NoMemory();
  else
    result = call_with(self, caller, args + 1, slots);
  if (args != few) PyMem_Free(args);
  host_end(&frame);
  guard.armed = false;
  if (UNLIKELY(result < 0)) return throw_or_park(self->store);
  /* The ticker sleeps though this call runs: the host function forked, and this is the child. */
  if (UNLIKELY(__atomic_load_n(&ticker_asleep, __ATOMIC_RELAXED))) ticker_wake();
  guest_begin(self->store);
  return WRT_OK;
}
