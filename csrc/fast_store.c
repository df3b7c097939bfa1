/* fast_store.c: a store: what guests live in, and everything the host makes, reads and links in it.
 *
 * Handles pass between Python and C as bytes objects holding the plain struct; they come from this file only, and the
 * adapter sees to it that a handle is used with the store it came from.
 */
#include "fast_values.h"
#include "wrt_stack.h"

/* ---- failures ---- */

static PyObject *frame_tuple(const wrt_frame *frame) {
  return Py_BuildValue("IKKzz", frame->func_index, (unsigned long long)frame->func_offset,
                       (unsigned long long)frame->module_offset, frame->func_name, frame->module_name);
}

static PyObject *frame_list(const wrt_failure *failure) {
  PyObject *list = PyList_New(0);
  for (size_t i = 0; list != NULL && i < failure->frame_count; i++) {
    PyObject *frame = frame_tuple(&failure->frames[i]);
    if (frame == NULL || PyList_Append(list, frame) < 0) Py_CLEAR(list);
    Py_XDECREF(frame);
  }
  return list;
}

PyObject *raise_failure(Store *store, int result, wrt_failure *failure) {
  if (result == WRT_HOST && store->parked[0] != NULL) {
    PyErr_Restore(store->parked[0], store->parked[1], store->parked[2]);
    store->parked[0] = store->parked[1] = store->parked[2] = NULL;
  } else {
    PyObject *frames = frame_list(failure);
    if (frames != NULL) {
      PyObject *never = PyObject_CallFunction(store->fail, "iizN", result, (int)failure->trap,
                                              failure->message, frames);
      Py_XDECREF(never);
    }
  }
  store->ops->failure_clear(failure);
  return NULL;
}

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

/* ---- entering ---- */

PER_THREAD uintptr_t stack_bottom = UINTPTR_MAX;

int store_enter_slowly(Store *store, uintptr_t thread) {
  if (store->closed) {
    PyErr_SetString(store->state->closed_error, "the store is closed, and with it everything in it");
    return -1;
  }
  if (store->depth != 0) {
    if (store->owner == thread) return 0;
    PyErr_SetString(store->state->busy_error,
                    "the store is running a call on another thread; give each thread a store of its own");
    return -1;
  }
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  if (stack_bottom == UINTPTR_MAX) stack_bottom = find_stack_bottom();
  if (here - store->stack_needed >= stack_bottom) return 0;
  PyObject *never = PyObject_CallFunction(store->state->raise_no_stack, "nn", (Py_ssize_t)(here - stack_bottom),
                                          (Py_ssize_t)store->stack_needed);
  Py_XDECREF(never);
  return -1;
}

/* ---- releasing ---- */

void release_garbage(Store *store) {
  if (store->releasing) return; /* a destructor has come here: the loop that runs it goes on, and nothing gets deeper */
  store->releasing = true;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback); /* a destructor must not see, nor lose, an exception on its way */
  /* A destructor lets other threads run. To one that has entered meanwhile the list belongs, which its guest adds to without
   * the GIL; it releases what it finds at its end, or leaves that to the loop that still runs. */
  while (store->garbage != NULL && (store->depth == 0 || store->owner == this_thread())) {
    HostRef *ref = store->garbage;
    PyObject *object = ref->object;
    store->garbage = ref->next_dead;
    *ref->link = ref->next;
    if (ref->next != NULL) ref->next->link = ref->link;
    PyMem_Free(ref);
    Py_DECREF(object); /* may run Python code, which finds the lists in order */
  }
  store->releasing = false;
  PyErr_Restore(type, value, traceback);
}

static void free_native(Store *store) {
  wrt_store *native = store->native;
  HostCallable *callables = store->callables;
  store->native = NULL; /* first, so that Python code run below finds it gone */
  store->callables = NULL;
  if (native != NULL) store->ops->store_delete(native); /* moves every reference to the garbage */
  while (callables != NULL) {
    HostCallable *next = callables->next;
    Py_DECREF(callables->callable);
    Py_DECREF(callables->name);
    Py_DECREF(callables->type);
    Py_XDECREF(callables->caller_class);
    Py_DECREF(callables->context);
    PyMem_Free(callables);
    callables = next;
  }
  for (HostRef *ref = store->refs; ref != NULL; ref = ref->next) host_ref_finalize(ref); /* should the engine forget one */
  Py_CLEAR(store->engine);
}

void store_settle(Store *store) {
  if (store->depth != 0) return;
  Py_INCREF(store); /* releasing may drop the last reference to it */
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (store->closed && store->views == 0) free_native(store);
  release_garbage(store);
  PyErr_Restore(type, value, traceback);
  Py_DECREF(store);
}

/* A call that runs on another thread, without the GIL, looks at it when it polls. */
static void set_closed(Store *store) { __atomic_store_n(&store->closed, true, __ATOMIC_RELAXED); }

/* mark(): from now on everything in it is closed, and a call that runs ends; close() frees. */
static PyObject *Store_mark(PyObject *object, PyObject *unused) {
  (void)unused;
  Store *self = (Store *)object;
  set_closed(self);
  if (self->depth != 0) self->ops->engine_tick(self->engine->native);
  Py_RETURN_NONE;
}

static PyObject *Store_close(PyObject *object, PyObject *unused) {
  (void)unused;
  Store *self = (Store *)object;
  set_closed(self);
  store_settle(self);
  Py_RETURN_NONE;
}

/* ---- what the host makes ---- */

static bool read_types(PyObject *bytes, const uint8_t **types, size_t *count) {
  if (!PyBytes_Check(bytes)) {
    PyErr_SetString(PyExc_TypeError, "value types come as bytes");
    return false;
  }
  *types = (const uint8_t *)PyBytes_AS_STRING(bytes);
  *count = (size_t)PyBytes_GET_SIZE(bytes);
  return true;
}

/* host_function(callable, name, FunctionType, params, results, caller class or None, context) -> handle */
static PyObject *Store_host_function(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *callable, *name, *type, *params, *results, *caller_class, *context;
  const uint8_t *param_types, *result_types;
  size_t param_count, result_count;
  if (!PyArg_ParseTuple(args, "OUOSSOO", &callable, &name, &type, &params, &results, &caller_class, &context) ||
      !read_types(params, &param_types, &param_count) || !read_types(results, &result_types, &result_count))
    return NULL;
  if (store_enter(self) < 0) return NULL;
  PyObject *handle = NULL;
  HostCallable *record = PyMem_Calloc(1, sizeof *record + param_count + result_count);
  if (record == NULL) {
    PyErr_NoMemory();
  } else {
    record->store = self;
    record->callable = Py_NewRef(callable);
    record->name = Py_NewRef(name);
    record->type = Py_NewRef(type);
    record->caller_class = caller_class == Py_None ? NULL : (PyTypeObject *)Py_NewRef(caller_class);
    record->context = Py_NewRef(context);
    record->param_count = param_count;
    record->result_count = result_count;
    memcpy(record->types, param_types, param_count);
    memcpy(record->types + param_count, result_types, result_count);
    for (size_t i = 0; i < param_count + result_count; i++) record->has_refs |= record->types[i] >= WRT_FUNCREF;
    record->next = self->callables;
    self->callables = record; /* from here the store releases it */
    wrt_extern out;
    wrt_failure failure;
    int result = self->ops->function_new(self->native, record->types, param_count, result_count, call_python, record,
                                         &out, &failure);
    handle = result == WRT_OK ? handle_bytes(&out) : raise_failure(self, result, &failure);
  }
  store_leave(self);
  return handle;
}

/* memory(minimum, maximum or None, is_64, shared) -> handle */
static PyObject *Store_memory(PyObject *object, PyObject *args) {
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
 * only a function of another store or a lack of memory is left to refuse. */
static int encode_one(Store *store, wrt_type type, PyObject *value, wrt_slot *slot) {
  uint8_t code = (uint8_t)type;
  slot[0].u64 = slot[1].u64 = 0;
  if (encode_refs(store, &code, &value, 1, slot) == 0) return 0;
  if (!PyErr_Occurred()) PyErr_Format(PyExc_TypeError, "%R does not fit", value);
  return -1;
}

static PyObject *decode_one(Store *store, wrt_type type, wrt_slot *slot) {
  uint8_t code = (uint8_t)type;
  if (type == WRT_REF) {
    PyErr_SetString(PyExc_TypeError, "a reference of this type cannot cross into Python");
    return NULL;
  }
  take_refs(store, &code, 1, slot);
  return decode(store, code, slot);
}

/* table(minimum, maximum or None, element, init) -> handle */
static PyObject *Store_table(PyObject *object, PyObject *args) {
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
static PyObject *Store_global(PyObject *object, PyObject *args) {
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

/* instantiate(module address, [handle, ...]) -> instance handle. The adapter keeps the module alive meanwhile. */
static PyObject *Store_instantiate(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *address, *list;
  if (!PyArg_ParseTuple(args, "O!O!", &PyLong_Type, &address, &PyList_Type, &list)) return NULL;
  wrt_module *module = PyLong_AsVoidPtr(address);
  if (module == NULL) return NULL;
  size_t count = (size_t)PyList_GET_SIZE(list);
  wrt_extern *imports = PyMem_Calloc(count + 1, sizeof *imports);
  if (imports == NULL) return PyErr_NoMemory();
  PyObject *handle = NULL;
  for (size_t i = 0; i < count; i++) {
    if (!read_handle(PyList_GET_ITEM(list, (Py_ssize_t)i), &imports[i], sizeof *imports)) goto done;
  }
  if (store_enter(self) < 0) goto done;
  wrt_instance out;
  wrt_failure failure;
  guest_begin(self);
  int result = self->ops->instantiate(self->native, module, imports, count, &out, &failure);
  guest_end(self);
  handle = result == WRT_OK ? PyBytes_FromStringAndSize((const char *)&out, sizeof out)
                            : raise_failure(self, result, &failure);
  store_leave(self);
done:
  PyMem_Free(imports);
  return handle;
}

/* export(instance handle, name) -> handle or None */
static PyObject *Store_export(PyObject *object, PyObject *args) {
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

/* describe(handle) -> (kind, content, mutable, minimum, maximum or None) */
static PyObject *Store_describe(PyObject *object, PyObject *bytes) {
  Store *self = (Store *)object;
  wrt_extern handle;
  wrt_extern_type type;
  wrt_failure failure;
  if (!read_handle(bytes, &handle, sizeof handle) || store_check(self) < 0) return NULL;
  int result = self->ops->extern_type(self->native, &handle, &type, &failure);
  if (result != WRT_OK) return raise_failure(self, result, &failure);
  PyObject *maximum = type.has_maximum ? PyLong_FromUnsignedLongLong(type.maximum) : Py_NewRef(Py_None);
  PyObject *tuple = maximum == NULL ? NULL
                                    : Py_BuildValue("iiOKN", (int)type.kind, (int)type.content,
                                                    type.mutable_ ? Py_True : Py_False,
                                                    (unsigned long long)type.minimum, maximum);
  self->ops->type_clear(&type);
  return tuple;
}

/* function(handle, name) -> Function */
static PyObject *Store_function(PyObject *object, PyObject *args) {
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

/* global_get(handle) -> value */
static PyObject *Store_global_get(PyObject *object, PyObject *bytes) {
  Store *self = (Store *)object;
  wrt_extern handle;
  wrt_slot slot[2];
  if (!read_handle(bytes, &handle, sizeof handle) || store_enter(self) < 0) return NULL;
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
static PyObject *Store_global_set(PyObject *object, PyObject *args) {
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
    done = result == WRT_OK ? Py_NewRef(Py_None) : raise_failure(self, result, &failure);
  }
  store_leave(self);
  return done;
}

/* table_size(handle) -> int */
static PyObject *Store_table_size(PyObject *object, PyObject *bytes) {
  Store *self = (Store *)object;
  wrt_extern handle;
  if (!read_handle(bytes, &handle, sizeof handle) || store_check(self) < 0) return NULL;
  return PyLong_FromUnsignedLongLong(self->ops->table_size(self->native, &handle));
}

/* table_get(handle, index) -> value; IndexError beyond the end */
static PyObject *Store_table_get(PyObject *object, PyObject *args) {
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
static PyObject *Store_table_set(PyObject *object, PyObject *args) {
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
    done = result == WRT_OK ? Py_NewRef(Py_None) : raise_failure(self, result, &failure);
  }
  store_leave(self);
  return done;
}

/* table_grow(handle, delta, value) -> length before, or None where a limit forbids it */
static PyObject *Store_table_grow(PyObject *object, PyObject *args) {
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
      raise_failure(self, result, &failure);
    }
  }
  store_leave(self);
  return done;
}

/* ---- the object ---- */

/* Store(engine, fail, memory bytes, table elements, instances, timeout in ns, stack needed, interruptible) */
static PyObject *Store_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *engine, *fail;
  long long memory_bytes, table_elements, instances, timeout;
  Py_ssize_t stack_needed;
  int interruptible;
  (void)keywords;
  State *state = PyType_GetModuleState(type);
  if (state == NULL || !PyArg_ParseTuple(args, "O!OLLLLnp", state->engine_type, &engine, &fail, &memory_bytes,
                                         &table_elements, &instances, &timeout, &stack_needed, &interruptible))
    return NULL;
  Store *self = (Store *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  self->engine = (Engine *)Py_NewRef(engine);
  self->ops = self->engine->ops;
  self->state = state;
  self->module = Py_NewRef(PyType_GetModule(type));
  self->fail = Py_NewRef(fail);
  self->stack_needed = (size_t)stack_needed;
  self->timeout = timeout;
  self->timed = timeout != 0;
  self->eager = !interruptible;
  self->interruptible = interruptible != 0;
  self->closed = true; /* to whoever finds it through gc.get_objects(), until there is something to use */
  wrt_failure failure;
  int result = self->ops->store_new(self->engine->native, memory_bytes, table_elements, instances, &self->native, &failure);
  if (result != WRT_OK) {
    raise_failure(self, result, &failure);
    Py_DECREF(self);
    return NULL;
  }
  if (interruptible) self->ops->store_poll(self->native, poll_python, self);
  self->closed = false;
  ticker_enlist(self);
  return (PyObject *)self;
}

/* interrupt(thread=0): stops the call that runs, if one does, on that thread unless 0 -> whether one did */
static PyObject *Store_interrupt(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  unsigned long long thread = 0;
  if (!PyArg_ParseTuple(args, "|K", &thread)) return NULL;
  if (self->depth == 0 || self->native == NULL || (thread != 0 && thread != self->owner)) Py_RETURN_FALSE;
  __atomic_store_n(&self->stopped, true, __ATOMIC_RELAXED);
  self->ops->engine_tick(self->engine->native);
  Py_RETURN_TRUE;
}

/* release_at_once(): from now on every call gives the GIL away from its beginning */
static PyObject *Store_release_at_once(PyObject *object, PyObject *unused) {
  (void)unused;
  ((Store *)object)->eager = true;
  Py_RETURN_NONE;
}

/* swap_deadline(ns of the monotonic clock, or 0) -> what it was: for every call from now on, and the one that runs */
static PyObject *Store_swap_deadline(PyObject *object, PyObject *number) {
  Store *self = (Store *)object;
  int64_t until = PyLong_AsLongLong(number);
  if ((until == -1 && PyErr_Occurred()) || store_check(self) < 0) return NULL;
  return PyLong_FromLongLong(swap_deadline(self, until));
}

/* until() -> ns of the monotonic clock at which the call that runs on this thread has to end, or 0; past if it was stopped */
static PyObject *Store_until(PyObject *object, PyObject *unused) {
  (void)unused;
  return PyLong_FromLongLong(running_until((Store *)object));
}

/* fuel() -> int */
static PyObject *Store_fuel(PyObject *object, PyObject *unused) {
  (void)unused;
  Store *self = (Store *)object;
  uint64_t fuel;
  wrt_failure failure;
  if (store_check(self) < 0) return NULL;
  int result = self->ops->fuel_get(self->native, &fuel, &failure);
  return result == WRT_OK ? PyLong_FromUnsignedLongLong(fuel) : raise_failure(self, result, &failure);
}

/* set_fuel(int) */
static PyObject *Store_set_fuel(PyObject *object, PyObject *number) {
  Store *self = (Store *)object;
  uint64_t fuel = PyLong_AsUnsignedLongLong(number);
  wrt_failure failure;
  if ((fuel == UINT64_MAX && PyErr_Occurred()) || store_check(self) < 0) return NULL;
  int result = self->ops->fuel_set(self->native, fuel, &failure);
  return result == WRT_OK ? Py_NewRef(Py_None) : raise_failure(self, result, &failure);
}

static PyObject *Store_get_interruptible(PyObject *object, void *unused) {
  (void)unused;
  return PyBool_FromLong(((Store *)object)->interruptible);
}

static PyObject *Store_get_closed(PyObject *object, void *unused) {
  (void)unused;
  return PyBool_FromLong(((Store *)object)->closed);
}

static PyObject *Store_get_depth(PyObject *object, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLong(((Store *)object)->depth);
}

static int Store_traverse(PyObject *object, visitproc visit, void *arg) {
  Store *self = (Store *)object;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->engine);
  Py_VISIT(self->fail);
  Py_VISIT(self->module);
  for (HostCallable *each = self->callables; each != NULL; each = each->next) {
    Py_VISIT(each->callable);
    Py_VISIT(each->caller_class);
    Py_VISIT(each->context);
  }
  for (HostRef *ref = self->refs; ref != NULL; ref = ref->next) Py_VISIT(ref->object);
  for (int i = 0; i < 3; i++) Py_VISIT(self->parked[i]);
  return 0;
}

/* The collector found the store in a cycle that nobody outside holds. It cannot be in a call: a call holds a reference. */
static int Store_clear(PyObject *object) {
  Store *self = (Store *)object;
  set_closed(self);
  store_settle(self);
  return 0;
}

static void Store_dealloc(PyObject *object) {
  Store *self = (Store *)object;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_TRASHCAN_BEGIN(self, Store_dealloc) /* an externref may be the last to hold another store, and so on */
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  ticker_dismiss(self);
  self->closed = true;
  PyObject *error_type, *value, *traceback;
  PyErr_Fetch(&error_type, &value, &traceback);
  free_native(self);
  release_garbage(self);
  Py_XDECREF(self->fail);
  Py_XDECREF(self->module);
  PyErr_Restore(error_type, value, traceback);
  type->tp_free(self);
  Py_DECREF(type);
  Py_TRASHCAN_END
}

static PyMethodDef store_methods[] = {
    {"mark", Store_mark, METH_NOARGS, NULL},
    {"close", Store_close, METH_NOARGS, NULL},
    {"interrupt", Store_interrupt, METH_VARARGS, NULL},
    {"release_at_once", Store_release_at_once, METH_NOARGS, NULL},
    {"swap_deadline", Store_swap_deadline, METH_O, NULL},
    {"until", Store_until, METH_NOARGS, NULL},
    {"fuel", Store_fuel, METH_NOARGS, NULL},
    {"set_fuel", Store_set_fuel, METH_O, NULL},
    {"host_function", Store_host_function, METH_VARARGS, NULL},
    {"memory", Store_memory, METH_VARARGS, NULL},
    {"table", Store_table, METH_VARARGS, NULL},
    {"global_", Store_global, METH_VARARGS, NULL},
    {"instantiate", Store_instantiate, METH_VARARGS, NULL},
    {"export", Store_export, METH_VARARGS, NULL},
    {"describe", Store_describe, METH_O, NULL},
    {"function", Store_function, METH_VARARGS, NULL},
    {"global_get", Store_global_get, METH_O, NULL},
    {"global_set", Store_global_set, METH_VARARGS, NULL},
    {"table_size", Store_table_size, METH_O, NULL},
    {"table_get", Store_table_get, METH_VARARGS, NULL},
    {"table_set", Store_table_set, METH_VARARGS, NULL},
    {"table_grow", Store_table_grow, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef store_getset[] = {
    {"closed", Store_get_closed, NULL, NULL, NULL},
    {"interruptible", Store_get_interruptible, NULL, NULL, NULL},
    {"depth", Store_get_depth, NULL, "How many calls are running in it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef store_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Store, weakrefs), READONLY, NULL},
    {"engine", T_OBJECT, offsetof(Store, engine), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot store_slots[] = {
    {Py_tp_doc, "What guests live in; for the adapters."},
    {Py_tp_new, Store_new},
    {Py_tp_methods, store_methods},
    {Py_tp_getset, store_getset},
    {Py_tp_members, store_members},
    {Py_tp_traverse, Store_traverse},
    {Py_tp_clear, Store_clear},
    {Py_tp_dealloc, Store_dealloc},
    {0, NULL},
};

PyType_Spec store_spec = {
    .name = "pywasmrt._shim._fastcall.Store",
    .basicsize = sizeof(Store),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = store_slots,
};
