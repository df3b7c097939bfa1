/* function.c: a guest's function as a Python callable. The shortest way from Python into the guest runs through here:
 *
 *   Function_vectorcall -> encode each argument into its slot -> ops->call -> decode the results
 *
 * Errors leave this path for Python (pywasmrt/_shim/bridge.py), which words them.
 */
#include "values.h"

/* ---- failures ---- */

/* An argument was refused: a wrong number of them, or one that did not fit. Always NULL. */
static PyObject *refuse_arguments(Function *self, PyObject *const *args, Py_ssize_t count, bool raw) {
  if (PyErr_Occurred()) return NULL; /* refused, and the error is set already */
  State *state = self->store->state;
  PyObject *tuple = PyTuple_New(count);
  if (tuple == NULL) return NULL;
  for (Py_ssize_t i = 0; i < count; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
  PyObject *functions = raw ? NULL : (PyObject *)state->function_type; /* the end of the arguments, or one more */
  PyObject *never = PyObject_CallFunctionObjArgs(raw ? state->raise_slots_error : state->raise_argument_error,
                                                 self->name, self->type, tuple, functions, NULL);
  Py_XDECREF(never);
  Py_DECREF(tuple);
  return NULL;
}

static PyObject *refuse_keywords(Function *self) {
  PyErr_Format(PyExc_TypeError, "%U() takes no keyword arguments", self->name);
  return NULL;
}

/* ---- the typed call ---- */

/* The results in their slots as one value, a tuple of them, or None. */
static inline PyObject *decode_results(Function *self, wrt_slot *slots) {
  const uint8_t *types = self->types + self->param_count;
  size_t count = self->result_count, step = self->step;
  if (LIKELY(count == 1)) {
    if (LIKELY(types[0] < WRT_EXTERNREF)) return decode(self->store, types[0], slots);
    take_refs(self->store, types, 1, slots);
    PyObject *value = decode(self->store, types[0], slots);
    if (value == NULL) drop_refs(self->store, types, 1, slots);
    return value;
  }
  if (count == 0) return Py_NewRef(Py_None);
  if (self->has_refs) take_refs(self->store, types, count, slots);
  PyObject *tuple = PyTuple_New((Py_ssize_t)count);
  for (size_t i = 0; tuple != NULL && i < count; i++) {
    PyObject *value = decode(self->store, types[i], slots + i * step);
    if (value == NULL)
      Py_CLEAR(tuple);
    else
      PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, value);
  }
  if (tuple == NULL && self->has_refs) drop_refs(self->store, types, count, slots);
  return tuple;
}

/* Runs the function on slots that are filled, inside the store; a new reference, or NULL with an exception set. */
static inline PyObject *run(Function *self, wrt_slot *slots) {
  Store *store = self->store;
  wrt_failure failure;
  function_begin(self);
  int result = self->engine_call(store->native, &self->handle, slots, self->words, &failure);
  guest_end(store);
  if (LIKELY(result == WRT_OK)) return decode_results(self, slots);
  return raise_failure(store, result, &failure);
}

/* NULL without an exception where the arguments were refused: then the guest was not entered. */
static inline PyObject *call_typed(Function *self, PyObject *const *args, wrt_slot *slots) {
  Store *store = self->store;
  if (UNLIKELY(store_enter(store) < 0)) return NULL;
  PyObject *value;
  size_t step = self->step, i = 0;
  if (LIKELY(!self->has_refs)) {
    wrt_slot *slot = slots;
    for (; i < self->param_count; i++, slot += step) {
      if (UNLIKELY(encode(store, self->types[i], args[i], slot) < 0)) break;
    }
  } else if (encode_refs(store, self->types, args, self->param_count, slots) == 0) {
    i = self->param_count;
  }
  if (LIKELY(i == self->param_count))
    value = run(self, slots);
  else
    value = NULL;
  store_leave(store);
  return value;
}

/* Calls with a slot array of its own, for signatures too long for the stack. */
static PyObject *call_long(Function *self, PyObject *const *args) {
  wrt_slot *slots = PyMem_Malloc(self->words * sizeof *slots);
  if (slots == NULL) return PyErr_NoMemory();
  PyObject *value = call_typed(self, args, slots);
  PyMem_Free(slots);
  return value;
}

/* Calls again, with numbers of other kinds turned into ints and floats; their own code runs here, outside of the store. */
static PyObject *call_converted(Function *self, PyObject *const *args) {
  Py_ssize_t count = (Py_ssize_t)self->param_count;
  PyObject *given = PyTuple_New(count);
  if (given == NULL) return NULL;
  for (Py_ssize_t i = 0; i < count; i++) PyTuple_SET_ITEM(given, i, Py_NewRef(args[i]));
  PyObject *numbers = PyObject_CallFunctionObjArgs(self->store->state->convert_arguments, self->type, given, NULL);
  Py_DECREF(given);
  if (numbers == NULL) return NULL;
  PyObject *value = NULL;
  if (UNLIKELY(self->closed)) /* meanwhile */
    function_refuse_closed(self);
  else
    value = call_long(self, &PyTuple_GET_ITEM(numbers, 0));
  if (value == NULL && !PyErr_Occurred()) refuse_arguments(self, &PyTuple_GET_ITEM(numbers, 0), count, false);
  Py_DECREF(numbers);
  return value;
}

static PyObject *Function_vectorcall(PyObject *object, PyObject *const *args, size_t flags, PyObject *keywords) {
  Function *self = (Function *)object;
  if (UNLIKELY(keywords != NULL && PyTuple_GET_SIZE(keywords) > 0)) return refuse_keywords(self);
  Py_ssize_t count = PyVectorcall_NARGS(flags);
  if (UNLIKELY((size_t)count != self->param_count)) return refuse_arguments(self, args, count, false);
  PyObject *value;
  if (UNLIKELY(self->words > STACK_WORDS)) {
    value = call_long(self, args);
  } else {
    wrt_slot slots[STACK_WORDS];
    value = call_typed(self, args, slots);
  }
  if (UNLIKELY(value == NULL) && !PyErr_Occurred()) return call_converted(self, args);
  return value;
}

int function_encode(Function *function, PyObject *const *args, wrt_slot *slots) {
  if (function->has_refs) return encode_refs(function->store, function->types, args, function->param_count, slots);
  for (size_t i = 0; i < function->param_count; i++) {
    if (encode(function->store, function->types[i], args[i], slots + i * function->step) < 0) return -1;
  }
  return 0;
}

PyObject *function_refuse(Function *function, PyObject *const *args, Py_ssize_t count) {
  return refuse_arguments(function, args, count, false);
}

PyObject *function_decode(Function *function, wrt_slot *slots) { return decode_results(function, slots); }

/* In place of the call in an asynchronous store. */
static PyObject *Function_asynchronous(PyObject *object, PyObject *const *args, size_t flags, PyObject *keywords) {
  (void)args, (void)flags, (void)keywords;
  Function *self = (Function *)object;
  PyObject *never = PyObject_CallOneArg(self->store->state->raise_asynchronous, self->name);
  Py_XDECREF(never);
  return NULL;
}

static PyObject *raise_uncallable(Function *self) {
  PyObject *never = PyObject_CallFunctionObjArgs(self->store->state->raise_uncallable, self->name, self->type, NULL);
  Py_XDECREF(never);
  return NULL;
}

/* In place of the call where the signature has a type that cannot cross. */
static PyObject *Function_refuse(PyObject *object, PyObject *const *args, size_t flags, PyObject *keywords) {
  (void)args, (void)flags, (void)keywords;
  return raise_uncallable((Function *)object);
}

int function_refuse_closed(Function *function) {
  PyErr_SetString(function->store->state->closed_error, "the instance that this function belongs to was closed");
  return -1;
}

/* In place of the call once the instance was closed. */
static PyObject *Function_closed(PyObject *object, PyObject *const *args, size_t flags, PyObject *keywords) {
  (void)args, (void)flags, (void)keywords;
  function_refuse_closed((Function *)object);
  return NULL;
}

/* Calls at_return after a call that has returned `value`, which is taken over: the same, or NULL with an exception set. */
static PyObject *after_return(Function *self, PyObject *value) {
  PyObject *done = value == NULL ? NULL : PyObject_CallNoArgs(self->at_return);
  if (done == NULL) Py_CLEAR(value);
  Py_XDECREF(done);
  return value;
}

/* In place of the call where there is an at_return. */
static PyObject *Function_returning(PyObject *object, PyObject *const *args, size_t flags, PyObject *keywords) {
  return after_return((Function *)object, Function_vectorcall(object, args, flags, keywords));
}

/* ---- the raw call ---- */

/* Words of the caller's list that a value takes: two for a v128. */
static inline size_t raw_words(uint8_t type) { return type == WRT_V128 ? 2 : 1; }

static size_t raw_count(const uint8_t *types, size_t count) {
  size_t words = 0;
  for (size_t i = 0; i < count; i++) words += raw_words(types[i]);
  return words;
}

/* Reads one unsigned word; false if it is not an int, or exceeds 64 bits or `limit`. */
static inline bool read_word(PyObject *object, uint64_t limit, uint64_t *out) {
  if (!PyLong_Check(object)) return false;
  *out = PyLong_AsUnsignedLongLong(object);
  if (UNLIKELY(*out == UINT64_MAX && PyErr_Occurred())) {
    PyErr_Clear();
    return false;
  }
  return *out <= limit;
}

static bool encode_raw(Function *self, PyObject *const *args, wrt_slot *slots) {
  size_t step = self->step;
  for (size_t i = 0; i < self->param_count; i++) {
    uint8_t type = self->types[i];
    uint64_t limit = type == WRT_I32 || type == WRT_F32 ? UINT32_MAX : UINT64_MAX;
    for (size_t word = 0; word < raw_words(type); word++) {
      if (!read_word(*args++, limit, &slots[i * step + word].u64)) return false;
    }
  }
  return true;
}

static PyObject *decode_raw(Function *self, const wrt_slot *slots) {
  const uint8_t *types = self->types + self->param_count;
  size_t step = self->step;
  PyObject *list = PyList_New((Py_ssize_t)raw_count(types, self->result_count));
  Py_ssize_t next = 0;
  for (size_t i = 0; list != NULL && i < self->result_count; i++) {
    bool narrow = types[i] == WRT_I32 || types[i] == WRT_F32;
    for (size_t word = 0; list != NULL && word < raw_words(types[i]); word++) {
      const wrt_slot *slot = &slots[i * step + word];
      PyObject *number = PyLong_FromUnsignedLongLong(narrow ? slot->u32 : slot->u64);
      if (number == NULL)
        Py_CLEAR(list);
      else
        PyList_SET_ITEM(list, next++, number);
    }
  }
  return list;
}

static PyObject *call_raw(Function *self, PyObject *const *args, Py_ssize_t count, wrt_slot *slots) {
  Store *store = self->store;
  if (!encode_raw(self, args, slots)) return refuse_arguments(self, args, count, true);
  if (store_enter(store) < 0) return NULL;
  wrt_failure failure;
  function_begin(self);
  int result = self->engine_call(store->native, &self->handle, slots, self->words, &failure);
  guest_end(store);
  PyObject *value = LIKELY(result == WRT_OK) ? decode_raw(self, slots) : raise_failure(store, result, &failure);
  store_leave(store);
  return value;
}

static inline PyObject *call_words(Function *self, PyObject *const *args, Py_ssize_t count) {
  if (UNLIKELY(self->has_refs || (size_t)count != raw_count(self->types, self->param_count)))
    return refuse_arguments(self, args, count, true);
  wrt_slot few[STACK_WORDS], *slots = few;
  if (self->words > STACK_WORDS && (slots = PyMem_Malloc(self->words * sizeof *slots)) == NULL)
    return PyErr_NoMemory();
  PyObject *value = call_raw(self, args, count, slots);
  if (slots != few) PyMem_Free(slots);
  return value;
}

static PyObject *Function_call(PyObject *object, PyObject *const *args, Py_ssize_t count) {
  Function *self = (Function *)object;
  if (LIKELY(!self->barred)) return call_words(self, args, count);
  if (self->closed) return Function_closed(object, args, 0, NULL);
  if (self->at_return != NULL) return after_return(self, call_words(self, args, count));
  return Function_asynchronous(object, args, 0, NULL);
}

/* ---- the object ---- */

PyObject *function_new(Store *store, const wrt_extern *handle, PyObject *name) {
  wrt_extern_type type;
  wrt_failure failure;
  int result = store->ops->extern_type(store->native, handle, &type, &failure);
  if (result != WRT_OK) return raise_failure(store, result, &failure);
  State *state = store->state;
  size_t count = type.param_count + type.result_count;
  Function *self = PyObject_GC_New(Function, state->function_type);
  if (self == NULL) {
    store->ops->type_clear(&type);
    return NULL;
  }
  self->vectorcall = store->asynchronous ? Function_asynchronous : Function_vectorcall;
  self->store = (Store *)Py_NewRef(store);
  self->handle = *handle;
  self->param_count = type.param_count;
  self->result_count = type.result_count;
  size_t longer = type.param_count > type.result_count ? type.param_count : type.result_count;
  self->step = store->ops->slot_words;
  self->words = longer * self->step;
  self->engine_call = store->ops->call;
  self->is_short = store->eager && store->ops->call_is_short != NULL && store->ops->call_is_short(store->native, handle);
  self->has_refs = self->closed = false;
  self->barred = store->asynchronous;
  self->name = self->type = self->at_return = self->weakrefs = NULL;
  self->types = PyMem_Malloc(count + 1);
  if (self->types == NULL) {
    PyErr_NoMemory();
  } else {
    memcpy(self->types, type.types, count);
    bool objects = false, refused = false;
    for (size_t i = 0; i < count; i++) {
      if (type.types[i] >= WRT_FUNCREF) self->has_refs = true;
      if (type.types[i] > WRT_REF && store->ops->call_checked != NULL) objects = true;
      if (type.types[i] == WRT_REF || (type.types[i] > WRT_REF && store->ops->call_checked == NULL)) refused = true;
    }
    if (objects && !store->asynchronous) self->vectorcall = Function_vectorcall_checked;
    if (refused) self->vectorcall = Function_refuse;
    self->name = name != NULL ? Py_NewRef(name) : PyUnicode_FromString("function");
    if (self->name != NULL) /* Python is not called with an exception set */
      self->type = PyObject_CallFunction(state->make_function_type, "y#y#", type.types, (Py_ssize_t)type.param_count,
                                         type.types + type.param_count, (Py_ssize_t)type.result_count);
  }
  store->ops->type_clear(&type);
  if (self->types == NULL || self->name == NULL || self->type == NULL) {
    Py_DECREF(self);
    return NULL;
  }
  PyObject_GC_Track(self); /* only now is it fit to be seen, through gc.get_objects() */
  return (PyObject *)self;
}

/* call_async(*args): a Task in an asynchronous store, else the coroutine of pywasmrt/_shim/asynchronous.py */
static PyObject *Function_call_async(PyObject *object, PyObject *const *args, Py_ssize_t count) {
  Function *self = (Function *)object;
  if (self->store->asynchronous && self->has_refs) {
    for (size_t i = 0; i < self->param_count + self->result_count; i++)
      if (self->types[i] == WRT_REF || (self->types[i] > WRT_REF && self->store->ops->call_checked == NULL))
        return raise_uncallable(self);
  }
  return self->store->suspends ? task_of_call(self, args, count) : coroutine_of_call(self->store->state, object, args, count);
}

PyObject *coroutine_of_call(State *state, PyObject *callee, PyObject *const *args, Py_ssize_t count) {
  PyObject **all = PyMem_Malloc((size_t)(count + 1) * sizeof *all);
  PyObject *coroutine = NULL;
  if (all == NULL) {
    PyErr_NoMemory();
  } else {
    all[0] = callee; /* borrowed, as are the arguments: the coroutine takes its own references */
    for (Py_ssize_t i = 0; i < count; i++) all[i + 1] = args[i];
    coroutine = PyObject_Vectorcall(state->call_async, all, (size_t)count + 1, NULL);
  }
  PyMem_Free(all);
  return coroutine;
}

/* _run(*args): the call itself, in an asynchronous store whose guests cannot be suspended; for the workers */
static PyObject *Function_run(PyObject *object, PyObject *const *args, Py_ssize_t count) {
  if (((Function *)object)->closed) return Function_closed(object, args, 0, NULL);
  return Function_vectorcall(object, args, (size_t)count, NULL);
}

/* map(*columns, out=None, on_error="raise"): pywasmrt/_shim/batch.py, which calls back into C by _map */
static PyObject *Function_map(PyObject *object, PyObject *args, PyObject *keywords) {
  PyObject *all = PyTuple_New(PyTuple_GET_SIZE(args) + 1), *value = NULL;
  if (all != NULL) {
    PyTuple_SET_ITEM(all, 0, Py_NewRef(object));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); i++)
      PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    value = PyObject_Call(((Function *)object)->store->state->map_native, all, keywords);
  }
  Py_XDECREF(all);
  return value;
}

static PyObject *Function_close(PyObject *object, PyObject *unused) {
  (void)unused;
  Function *self = (Function *)object;
  self->closed = self->barred = true;
  self->vectorcall = Function_closed;
  Py_RETURN_NONE;
}

/* _at_return(callable): from now on it is called with nothing after each call that has returned; map() does not look */
static PyObject *Function_at_return(PyObject *object, PyObject *callable) {
  Function *self = (Function *)object;
  if (self->vectorcall != Function_vectorcall) Py_RETURN_NONE; /* none is made */
  self->at_return = Py_NewRef(callable);
  self->barred = true;
  self->vectorcall = Function_returning;
  Py_RETURN_NONE;
}

static PyObject *Function_get_type(PyObject *object, void *unused) {
  (void)unused;
  return Py_NewRef(((Function *)object)->type);
}

static PyObject *Function_get_store(PyObject *object, void *unused) {
  (void)unused;
  return Py_NewRef(((Function *)object)->store);
}

static PyObject *Function_get_handle(PyObject *object, void *unused) {
  (void)unused;
  if (((Function *)object)->closed) return Function_closed(object, NULL, 0, NULL);
  return PyBytes_FromStringAndSize((const char *)&((Function *)object)->handle, sizeof(wrt_extern));
}

static PyObject *Function_repr(PyObject *object) {
  Function *self = (Function *)object;
  bool closed = self->closed || self->store->closed;
  return PyUnicode_FromFormat("<Function %U %S%s>", self->name, self->type, closed ? " (closed)" : "");
}

/* Two objects for one function of the guest are equal, as a funcref becomes a new object each time it comes out to Python. */
static PyObject *Function_compare(PyObject *left, PyObject *right, int op) {
  if ((op != Py_EQ && op != Py_NE) || !Py_IS_TYPE(right, Py_TYPE(left))) Py_RETURN_NOTIMPLEMENTED;
  Function *a = (Function *)left, *b = (Function *)right;
  bool equal = a->store == b->store && memcmp(&a->handle, &b->handle, sizeof a->handle) == 0;
  return PyBool_FromLong(equal == (op == Py_EQ));
}

static Py_hash_t Function_hash(PyObject *object) {
  Function *self = (Function *)object;
  uint64_t hash = 0;
  for (size_t i = 0; i < 4; i++) hash = hash * 1000003 + self->handle.opaque[i];
  return (Py_hash_t)(hash >> 1); /* never -1, which would mean an error */
}

static int Function_traverse(PyObject *object, visitproc visit, void *arg) {
  Function *self = (Function *)object;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->store);
  Py_VISIT(self->type);
  Py_VISIT(self->at_return);
  return 0;
}

static void Function_dealloc(PyObject *object) {
  Function *self = (Function *)object;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  PyMem_Free(self->types);
  Py_XDECREF(self->name);
  Py_XDECREF(self->type);
  Py_XDECREF(self->at_return);
  Py_DECREF(self->store);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyMethodDef function_methods[] = {
    {"call", (PyCFunction)(void (*)(void))Function_call, METH_FASTCALL,
     "call($self, /, *slots)\n--\n\nCall with raw slots: unsigned 64-bit integers in, a list of them out."},
    {"call_async", (PyCFunction)(void (*)(void))Function_call_async, METH_FASTCALL,
     "call_async($self, /, *args)\n--\n\nAwait the call; cancelling stops the guest."},
    {"map", (PyCFunction)(void (*)(void))Function_map, METH_VARARGS | METH_KEYWORDS,
     "map($self, /, *columns, out=None, on_error='raise')\n--\n\nCall once for each row of columns; columns come back."},
    {"_map", function_map, METH_VARARGS, NULL},
    {"_map_bytes", function_map_bytes, METH_VARARGS, NULL},
    {"_run", (PyCFunction)(void (*)(void))Function_run, METH_FASTCALL, NULL},
    {"_close", Function_close, METH_NOARGS, NULL},
    {"_at_return", Function_at_return, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef function_getset[] = {
    {"type", Function_get_type, NULL, "The function's signature, a FunctionType.", NULL},
    {"_store", Function_get_store, NULL, NULL, NULL},
    {"_handle", Function_get_handle, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Function, weakrefs), READONLY, NULL},
    {"__name__", T_OBJECT_EX, offsetof(Function, name), READONLY, "The name it was found under."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot function_slots[] = {
    {Py_tp_doc, "A function of a guest: call it with Python values, or with raw slots by call()."},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_methods, function_methods},
    {Py_tp_getset, function_getset},
    {Py_tp_members, function_members},
    {Py_tp_repr, Function_repr},
    {Py_tp_richcompare, Function_compare},
    {Py_tp_hash, Function_hash},
    {Py_tp_traverse, Function_traverse},
    {Py_tp_dealloc, Function_dealloc},
    {0, NULL},
};

PyType_Spec function_spec = {
    .name = "pywasmrt._shim._fastcall.Function",
    .basicsize = sizeof(Function),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = function_slots,
};
