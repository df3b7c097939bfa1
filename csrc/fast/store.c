/* store.c: a store, which guests live in: who may enter it, how a running call is stopped, and when everything is freed. */
#include "values.h"
#include "stack.h"

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

PyObject *raise_told(const wrt_engine_ops *ops, PyObject *fail, int result, wrt_failure *failure, PyObject *exception) {
  PyObject *frames = frame_list(failure);
  if (frames != NULL) {
    PyObject *never = PyObject_CallFunction(fail, "iizNO", result,
                                            result == WRT_EXIT ? failure->status : (int)failure->trap, failure->message,
                                            frames, exception == NULL ? Py_None : exception);
    Py_XDECREF(never);
  }
  ops->failure_clear(failure);
  return NULL;
}

/* An exception is set that has come up in place of another, which is taken over and becomes its context. */
static void chain_error(PyObject *type, PyObject *value, PyObject *traceback) {
  PyObject *other, *meanwhile, *of_other;
  PyErr_Fetch(&other, &meanwhile, &of_other);
  PyErr_NormalizeException(&other, &meanwhile, &of_other);
  PyException_SetContext(meanwhile, value);
  PyErr_Restore(other, meanwhile, of_other);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
}

/* Has the adapter note the guest's frames on the exception that is set, and releases the failure. */
static void note_frames(Store *store, wrt_failure *failure) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL) PyException_SetTraceback(value, traceback);
  raise_told(store->ops, store->fail, WRT_HOST, failure, value);
  if (PyErr_Occurred()) /* a signal handler's, most likely */
    chain_error(type, value, traceback);
  else
    PyErr_Restore(type, value, traceback);
}

static void set_error(Store *store, int result, wrt_failure *failure) {
  if (result == WRT_TRAP && failure->trap == WRT_TRAP_UNCAUGHT_EXCEPTION && raise_exception(store, failure)) return;
  if (result != WRT_HOST || store->parked[0] == NULL) {
    raise_told(store->ops, store->fail, result, failure, NULL);
    return;
  }
  PyErr_Restore(store->parked[0], store->parked[1], store->parked[2]);
  store->parked[0] = store->parked[1] = store->parked[2] = NULL;
  if (failure->frame_count > 0)
    note_frames(store, failure);
  else
    store->ops->failure_clear(failure);
}

/* Calls each of the watchers with `error`: 0, or -1 with an exception set. */
static int call_watchers(Store *store, PyObject *error) {
  PyObject *watchers = PySequence_List(store->watchers); /* they may take themselves off */
  int result = watchers == NULL ? -1 : 0;
  for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(watchers); i++) {
    PyObject *done = PyObject_CallOneArg(PyList_GET_ITEM(watchers, i), error);
    if (done == NULL) result = -1;
    Py_XDECREF(done);
  }
  Py_XDECREF(watchers);
  return result;
}

void tell_watchers(Store *store) {
  if (store->depth > 1) return; /* the host function that made this call may catch the error */
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL) PyException_SetTraceback(value, traceback);
  if (call_watchers(store, value) == 0)
    PyErr_Restore(type, value, traceback);
  else
    chain_error(type, value, traceback);
}

PyObject *raise_failure(Store *store, int result, wrt_failure *failure) {
  set_error(store, result, failure);
  if (UNLIKELY(store->watchers != NULL) && (result == WRT_TRAP || result == WRT_HOST)) tell_watchers(store);
  return NULL;
}

void set_failure(Store *store, wrt_failure *failure, const char *otherwise) {
  PyErr_SetString(store->state->wasm_error, failure->message == NULL ? otherwise : failure->message);
  store->ops->failure_clear(failure);
}

/* ---- entering ---- */

PER_THREAD uintptr_t stack_bottom = UINTPTR_MAX;
PER_THREAD size_t stack_for_host;

int refuse_host_call(Store *store, PyObject *name) {
  uintptr_t left = (uintptr_t)__builtin_frame_address(0) - stack_bottom;
  PyObject *never = PyObject_CallFunction(store->state->raise_no_host_stack, "Onn", name, (Py_ssize_t)left,
                                          (Py_ssize_t)stack_for_host);
  Py_XDECREF(never);
  return -1;
}

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
  if (stack_bottom == UINTPTR_MAX) {
    uintptr_t bottom = find_stack_bottom();
    stack_for_host = bottom == 0 || bottom > here ? 0 : host_share(here - bottom, 3);
    stack_bottom = bottom;
  }
  if (here - store->stack_needed >= stack_bottom) return 0;
  PyObject *never = PyObject_CallFunction(store->state->raise_no_stack, "nn", (Py_ssize_t)(here - stack_bottom),
                                          (Py_ssize_t)store->stack_needed);
  Py_XDECREF(never);
  return -1;
}

/* ---- releasing ---- */

void release_garbage(Store *store) {
  if (store->releasing) return; /* called from a destructor: the loop that runs it goes on, without recursion */
  store->releasing = true;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback); /* a destructor must not see, nor lose, an exception on its way */
  /* A destructor lets other threads run. If one of them has entered the store meanwhile, the list is that thread's, as its
   * guest adds to it without the GIL. At the end of its call it releases what is there, or leaves that to this loop. */
  while (store->garbage != NULL && (store->depth == 0 || store->owner == this_thread())) {
    HostRef *ref = store->garbage;
    PyObject *object = ref->object;
    store->garbage = ref->next_dead;
    *ref->link = ref->next;
    if (ref->next != NULL) ref->next->link = ref->link;
    PyMem_Free(ref);
    Py_DECREF(object); /* may run Python code; the lists are consistent by now */
  }
  store->releasing = false;
  PyErr_Restore(type, value, traceback);
}

void store_close_instances(Store *store) {
  if (store->depth != 0 || store->views != 0 || store->native == NULL) return;
  while (store->closing_count > 0) store->ops->instance_close(store->native, &store->closing[--store->closing_count]);
  PyMem_Free(store->closing);
  store->closing = NULL;
}

static void free_native(Store *store) {
  PyMem_Free(store->closing);
  store->closing = NULL;
  store->closing_count = 0;
  wrt_store *native = store->native;
  HostBlock *blocks = store->blocks;
  store->native = NULL; /* first, so that Python code that runs below finds no store */
  store->blocks = NULL;
  if (native != NULL) store->ops->store_delete(native); /* moves every reference to the garbage */
  component_state_free(store);
  while (blocks != NULL) {
    HostBlock *next = blocks->next;
    block_free(blocks);
    blocks = next;
  }
  for (HostRef *ref = store->refs; ref != NULL; ref = ref->next) host_ref_finalize(ref); /* in case the engine forgets one */
  Py_CLEAR(store->stop_error); /* its traceback may hold this store */
  Py_CLEAR(store->engine);
}

void store_settle(Store *store) {
  if (store->depth != 0) return;
  Py_INCREF(store); /* releasing may drop the last reference to it */
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (store->first == NULL) thrown_clear(store);
  if (store->closed && store->views == 0 && store->first == NULL) free_native(store);
  release_garbage(store);
  PyErr_Restore(type, value, traceback);
  Py_DECREF(store);
}

/* Atomic, as a call that runs on another thread, without the GIL, reads it when it polls. */
static void set_closed(Store *store) { __atomic_store_n(&store->closed, true, __ATOMIC_RELAXED); }

/* mark(): from now on everything in the store counts as closed, and a running call is stopped; close() frees. */
static PyObject *Store_mark(PyObject *object, PyObject *unused) {
  (void)unused;
  Store *self = (Store *)object;
  set_closed(self);
  if (self->depth != 0) self->ops->engine_tick(self->engine->native);
  if (self->top != NULL) tasks_stopped(self);
  Py_RETURN_NONE;
}

/* belongs_to(store): names the adapter's store, for Engine.stores */
static PyObject *Store_belongs_to(PyObject *object, PyObject *adapter) {
  Store *self = (Store *)object;
  PyObject *reference = PyWeakref_NewRef(adapter, NULL); /* without a callback, which would take longer than all of this */
  if (reference == NULL) return NULL;
  Py_XSETREF(self->adapter, reference);
  Py_RETURN_NONE;
}

static PyObject *Store_close(PyObject *object, PyObject *unused) {
  (void)unused;
  Store *self = (Store *)object;
  set_closed(self);
  store_settle(self);
  Py_RETURN_NONE;
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
  if (UNLIKELY(!greenlets_loaded)) greenlets_look();
  self->closed = true; /* until it can be used: gc.get_objects() may show it to others */
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

/* interrupt(thread=0, error=None): stops the running call, on that thread only unless it is 0 -> whether a call ran. With an
 * exception `error`, that call and every later one raise it. */
static PyObject *Store_interrupt(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  unsigned long long thread = 0;
  PyObject *error = Py_None;
  if (!PyArg_ParseTuple(args, "|KO", &thread, &error)) return NULL;
  if (error != Py_None) {
    if (!PyExceptionInstance_Check(error)) {
      PyErr_SetString(PyExc_TypeError, "what stops a call is an exception");
      return NULL;
    }
    Py_XSETREF(self->stop_error, Py_NewRef(error));
    self->timed = true; /* so that the beginning of a call looks at it */
  }
  if (self->top != NULL && !self->closed && thread == 0) {
    self->stopped = true;
    tasks_stopped(self);
    Py_RETURN_TRUE;
  }
  if (self->depth == 0 || self->native == NULL || (thread != 0 && thread != self->owner)) Py_RETURN_FALSE;
  __atomic_store_n(&self->stopped, true, __ATOMIC_RELAXED);
  self->ops->engine_tick(self->engine->native);
  Py_RETURN_TRUE;
}

/* begin_asynchronous(suspends): from now on it is entered by tasks alone where the engine suspends guests, else by workers;
 * before anything was instantiated */
static PyObject *Store_begin_asynchronous(PyObject *object, PyObject *suspends) {
  Store *self = (Store *)object;
  self->asynchronous = true;
  self->suspends = suspends == Py_True && self->ops->tasks != NULL;
  if (self->suspends) self->eager = false; /* a task never gives the GIL away: its guest yields to the loop instead */
  Py_RETURN_NONE;
}

/* lend(thread): lets that thread use the store while the thread that runs a call in it waits; 0 takes the store back for this
 * thread */
static PyObject *Store_lend(PyObject *object, PyObject *number) {
  Store *self = (Store *)object;
  unsigned long long thread = PyLong_AsUnsignedLongLong(number);
  if (thread == (unsigned long long)-1 && PyErr_Occurred()) return NULL;
  if (self->depth != 0) self->owner = thread == 0 ? this_thread() : (uintptr_t)thread;
  Py_RETURN_NONE;
}

/* release_at_once(): from now on every call releases the GIL from its beginning */
static PyObject *Store_release_at_once(PyObject *object, PyObject *unused) {
  (void)unused;
  ((Store *)object)->eager = true;
  Py_RETURN_NONE;
}

/* set_deadline(ns of the monotonic clock, or 0): for every call from now on, and the one that runs */
static PyObject *Store_set_deadline(PyObject *object, PyObject *number) {
  Store *self = (Store *)object;
  int64_t until = PyLong_AsLongLong(number);
  if ((until == -1 && PyErr_Occurred()) || store_check(self) < 0) return NULL;
  set_deadline(self, until);
  Py_RETURN_NONE;
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
  Py_VISIT(self->turns);
  Py_VISIT(self->module);
  Py_VISIT(self->stop_error);
  Py_VISIT(self->watchers);
  Py_VISIT(self->observer);
  Py_VISIT((PyObject *)self->profile);
  for (HostBlock *block = self->blocks; block != NULL; block = block->next) {
    int stopped = block_traverse(block, visit, arg);
    if (stopped) return stopped;
  }
  for (HostRef *ref = self->refs; ref != NULL; ref = ref->next) Py_VISIT(ref->object);
  int stopped = component_state_traverse(self, visit, arg);
  if (stopped) return stopped;
  for (int i = 0; i < 3; i++) Py_VISIT(self->parked[i]);
  return thrown_traverse(self, visit, arg);
}

/* The collector found the store in a cycle that nobody outside holds. It cannot be in a call: a call holds a reference. */
static int Store_clear(PyObject *object) {
  Store *self = (Store *)object;
  set_closed(self);
  store_settle(self);
  Py_CLEAR(self->stop_error);
  Py_CLEAR(self->watchers);
  Py_CLEAR(self->observer);
  return 0;
}

static void Store_dealloc(PyObject *object) {
  Store *self = (Store *)object;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_TRASHCAN_BEGIN(self, Store_dealloc) /* an externref may hold the last reference to another store, and so on */
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  ticker_dismiss(self);
  self->closed = true;
  PyObject *error_type, *value, *traceback;
  PyErr_Fetch(&error_type, &value, &traceback);
  thrown_clear(self);
  free_native(self);
  release_garbage(self);
  for (int i = 0; i < 3; i++) Py_CLEAR(self->parked[i]);
  Py_XDECREF(self->fail);
  Py_XDECREF(self->turns);
  Py_XDECREF(self->module);
  Py_XDECREF(self->stop_error);
  Py_XDECREF(self->watchers);
  Py_XDECREF(self->observer);
  Py_XDECREF((PyObject *)self->profile);
  Py_XDECREF(self->adapter);
  PyErr_Restore(error_type, value, traceback);
  type->tp_free(self);
  Py_DECREF(type);
  Py_TRASHCAN_END
}

#define METHOD_ROW(name, flags) {#name, store_##name, flags, NULL},
static PyMethodDef store_methods[] = {
    {"mark", Store_mark, METH_NOARGS, NULL},
    {"belongs_to", Store_belongs_to, METH_O, NULL},
    {"close", Store_close, METH_NOARGS, NULL},
    {"interrupt", Store_interrupt, METH_VARARGS, NULL},
    {"release_at_once", Store_release_at_once, METH_NOARGS, NULL},
    {"begin_asynchronous", Store_begin_asynchronous, METH_O, NULL},
    {"lend", Store_lend, METH_O, NULL},
    {"set_deadline", Store_set_deadline, METH_O, NULL},
    {"until", Store_until, METH_NOARGS, NULL},
    {"observe", store_observe, METH_O, NULL},
    {"fuel", Store_fuel, METH_NOARGS, NULL},
    {"set_fuel", Store_set_fuel, METH_O, NULL},
    EXTERN_METHODS(METHOD_ROW)
    COMPONENT_METHODS(METHOD_ROW)
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
    {"asynchronous", T_BOOL, offsetof(Store, asynchronous), READONLY, NULL},
    {"turns", T_OBJECT, offsetof(Store, turns), 0, NULL},
    {"watchers", T_OBJECT, offsetof(Store, watchers), 0, NULL},
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
