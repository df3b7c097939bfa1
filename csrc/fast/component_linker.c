/* component_linker.c: what a component imports: Python callables as host functions, and types of the host's resources.
 *
 * The round trip of a host function is that of fast/host.c, with values in place of slots. A linker serves any number of
 * stores; each call says which store it comes from. Each store keeps the linkers that instantiated in it.
 */
#include "component.h"
#include "values.h"

enum { FEW_ARGUMENTS = 8 };

/* ---- the call ---- */

/* What was lent to the host function comes back; an object that was kept is dead from here on. */
void end_loans(Store *store, PyObject *lent) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(lent); i++) {
    Resource *resource = (Resource *)PyList_GET_ITEM(lent, i);
    wrt_resource *native = resource->native;
    resource->native = NULL;
    wrt_failure failure;
    if (native == NULL) continue;
    if (store->engine->component_ops->resource_drop(store->native, native, &failure) != WRT_OK)
      store->ops->failure_clear(&failure);
    resource->ops->resource_delete(native);
  }
  Py_DECREF(lent);
}

/* The host function returned a value that does not fit. Always -1, with an exception set. */
static int refuse_result(HostEntry *entry, PyObject *value) {
  if (!PyErr_Occurred()) {
    PyObject *never = PyObject_CallMethod(entry->signature, "refuse_result", "O", value);
    Py_XDECREF(never);
  }
  return -1;
}

/* Puts a payload into a result<…>; -1 as lower. */
static int put_outcome(Lowering *lowering, HostEntry *entry, bool is_ok, PyObject *payload, wrt_value *out) {
  Plan *plan = entry->result->children[is_ok ? 0 : 1];
  out->of.result = (wrt_outcome){is_ok, NULL};
  out->kind = WRT_VALUE_RESULT;
  if (plan == NULL) return payload == Py_None ? 0 : -1;
  wrt_value zeros = {0};
  out->of.result.payload = lowering->ops->box_new(&zeros);
  return lower(lowering, plan, payload, out->of.result.payload);
}

/* The host function raised: a ComponentError is the error of a result<…>, anything else goes on. */
int put_error(Lowering *lowering, HostEntry *entry, wrt_value *results) {
  State *state = lowering->store->state;
  if (!entry->fallible || !PyErr_ExceptionMatches(state->component_error)) return -1;
  PyObject *type, *error, *traceback;
  PyErr_Fetch(&type, &error, &traceback);
  PyErr_NormalizeException(&type, &error, &traceback);
  PyObject *payload = PyObject_GetAttr(error, state->payload_name);
  int result = payload == NULL ? -1 : put_outcome(lowering, entry, false, payload, &results[0]);
  if (result < 0 && payload != NULL && !PyErr_Occurred()) {
    PyObject *never = PyObject_CallMethod(entry->signature, "refuse_error", "O", payload);
    Py_XDECREF(never);
  }
  Py_XDECREF(payload);
  Py_XDECREF(type);
  Py_XDECREF(error);
  Py_XDECREF(traceback);
  return result;
}

int put_result(Lowering *lowering, HostEntry *entry, PyObject *value, wrt_value *results) {
  int result;
  if (entry->result == NULL)
    result = value == Py_None ? 0 : -1;
  else if (UNLIKELY(entry->fallible))
    result = put_outcome(lowering, entry, true, value, &results[0]);
  else
    result = lower(lowering, entry->result, value, &results[0]);
  return LIKELY(result == 0) ? 0 : refuse_result(entry, value);
}

/* Has the event loop's thread call the host function, for a guest that runs on a worker thread. */
static PyObject *ask_in_turn(Store *store, HostEntry *entry, PyObject *const *args) {
  PyObject *tuple = PyTuple_New((Py_ssize_t)entry->count);
  if (tuple == NULL) return NULL;
  for (uint32_t i = 0; i < entry->count; i++) PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, Py_NewRef(args[i]));
  PyObject *value =
      PyObject_CallMethod(store->turns, "ask", "ONO", entry->callable, tuple, entry->awaits ? Py_True : Py_False);
  return value;
}

/* `args` has room for one more item in front, which vectorcall may use. */
static int call_with(Store *store, HostEntry *entry, PyObject **args, const wrt_value *values, wrt_value *results) {
  Lifting lifting = {store, store->engine->component_ops, true, NULL};
  size_t count = entry->count, lifted = 0;
  if (UNLIKELY(component_output_waits(store)) && component_drain(store) < 0) return -1;
  for (; lifted < count; lifted++) {
    args[lifted] = lift(&lifting, entry->params[lifted], &values[lifted]);
    if (UNLIKELY(args[lifted] == NULL)) break;
  }
  if (UNLIKELY(store->garbage != NULL)) release_garbage(store);
  PyObject *value = NULL;
  if (UNLIKELY(lifted != count))
    ;
  else if (LIKELY(store->turns == NULL))
    value = PyObject_Vectorcall(entry->callable, args, count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
  else
    value = ask_in_turn(store, entry, args);
  int result = 0;
  Lowering lowering = {store, store->engine->component_ops, NULL};
  if (value == NULL)
    result = lifted == count ? put_error(&lowering, entry, results) : -1;
  else if (UNLIKELY(store->closed || store->stopped || store->deadline != 0))
    result = check_stopped(store);
  if (value != NULL && result == 0) result = put_result(&lowering, entry, value, results);
  PyObject *type, *error, *traceback;
  if (UNLIKELY(result < 0)) PyErr_Fetch(&type, &error, &traceback);
  if (UNLIKELY(lifting.lent != NULL)) end_loans(store, lifting.lent);
  for (size_t i = 0; i < lifted; i++) Py_DECREF(args[i]);
  Py_XDECREF(value);
  if (UNLIKELY(result < 0)) PyErr_Restore(type, error, traceback);
  return result;
}

int call_component_host(void *env, void *host, wrt_value *values, size_t arg_count, wrt_value *results,
                        size_t result_count) {
  HostEntry *entry = env;
  Store *store = host;
  EXIT_GUARD(guard);
  guest_end(store);
  HostFrame frame;
  host_begin(&frame, store);
  PyObject *few[1 + FEW_ARGUMENTS], **args = few;
  int result = -1;
  if (arg_count != entry->count || result_count != (entry->result != NULL))
    PyErr_SetString(PyExc_RuntimeError, "the engine calls a host function of another type");
  else if (UNLIKELY(host_lacks_stack()))
    refuse_host_call(store, entry->label);
  else if (entry->count > FEW_ARGUMENTS && (args = PyMem_Malloc((1 + entry->count) * sizeof *args)) == NULL)
    PyErr_NoMemory();
  else
    result = call_with(store, entry, args + 1, values, results);
  if (args != few) PyMem_Free(args);
  host_end(&frame);
  guard.armed = false;
  if (UNLIKELY(result < 0)) return park(store);
  if (UNLIKELY(__atomic_load_n(&ticker_asleep, __ATOMIC_RELAXED))) ticker_wake(); /* it forked, as in call_python */
  guest_begin(store);
  return WRT_OK;
}

/* ---- the object ---- */

static PyObject *raise_linker_failure(Linker *self, wrt_failure *failure) {
  PyErr_Format(PyExc_RuntimeError, "the engine refused a definition: %s",
               failure->message == NULL ? "it gave no reason" : failure->message);
  self->engine->ops->failure_clear(failure);
  return NULL;
}

/* Linker(engine, whether its host functions may wait) */
static PyObject *Linker_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *engine;
  int waits;
  (void)keywords;
  State *state = PyType_GetModuleState(type);
  if (state == NULL || !PyArg_ParseTuple(args, "O!p", state->engine_type, &engine, &waits)) return NULL;
  if (((Engine *)engine)->component_ops == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "this engine runs no components");
    return NULL;
  }
  Linker *self = (Linker *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  self->engine = (Engine *)Py_NewRef(engine);
  self->state = state;
  self->waits = waits != 0;
  self->module = Py_NewRef(PyType_GetModule(type));
  wrt_failure failure;
  if (self->engine->component_ops->linker_new(self->engine->native, &self->native, &failure) != WRT_OK) {
    raise_linker_failure(self, &failure);
    Py_DECREF(self);
    return NULL;
  }
  return (PyObject *)self;
}

static void entry_free(HostEntry *entry) {
  for (uint32_t i = 0; i < entry->count; i++) Py_DECREF(entry->params[i]);
  Py_XDECREF(entry->callable);
  Py_XDECREF(entry->signature);
  Py_XDECREF(entry->result);
  Py_XDECREF(entry->label);
  PyMem_Free(entry);
}

/* Makes a host function, which the linker keeps, of (name, callable, plans, result plan or None, fallible, signature, whether
 * it is awaited, label). */
static HostEntry *entry_new(Linker *self, PyObject *item) {
  PyObject *name, *callable, *plans, *result, *signature, *label;
  int fallible, awaits;
  if (!PyArg_ParseTuple(item, "UOO!OpOpU", &name, &callable, &PyTuple_Type, &plans, &result, &fallible, &signature, &awaits,
                        &label))
    return NULL;
  Py_ssize_t count = PyTuple_GET_SIZE(plans);
  HostEntry **entries = PyMem_Realloc(self->entries, (self->count + 1) * sizeof *entries);
  if (entries == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  self->entries = entries;
  HostEntry *entry = PyMem_Calloc(1, sizeof *entry + (size_t)count * sizeof *entry->params);
  if (entry == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  entry->callable = Py_NewRef(callable);
  entry->signature = Py_NewRef(signature);
  entry->result = result == Py_None ? NULL : (Plan *)Py_NewRef(result);
  entry->fallible = fallible != 0;
  entry->awaits = awaits != 0;
  entry->label = Py_NewRef(label);
  for (Py_ssize_t i = 0; i < count; i++) {
    if (!Py_IS_TYPE(PyTuple_GET_ITEM(plans, i), self->state->plan_type)) {
      PyErr_SetString(PyExc_TypeError, "plans are Plan");
      entry_free(entry);
      return NULL;
    }
    entry->params[entry->count++] = (Plan *)Py_NewRef(PyTuple_GET_ITEM(plans, i));
  }
  self->entries[self->count++] = entry;
  return entry;
}

/* One item of an interface: (name, callable, …) a function, (name, number) a type of resources. */
static bool define(Linker *self, wrt_linker_scope *scope, PyObject *item) {
  const wrt_component_ops *ops = self->engine->component_ops;
  wrt_failure failure;
  Py_ssize_t size;
  if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) < 2) {
    PyErr_SetString(PyExc_TypeError, "a definition is a tuple");
    return false;
  }
  const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(item, 0), &size);
  if (name == NULL) return false;
  int result;
  if (PyTuple_GET_SIZE(item) == 2) {
    unsigned long type = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(item, 1));
    if (PyErr_Occurred()) return false;
    result = ops->define_resource(scope, name, (size_t)size, (uint32_t)type, host_resource_drop, NULL, &failure);
  } else {
    HostEntry *entry = entry_new(self, item);
    if (entry == NULL) return false;
    result = self->waits ? ops->define_waiting(scope, name, (size_t)size, call_component_waiting, entry, &failure)
                         : ops->define_function(scope, name, (size_t)size, call_component_host, entry, &failure);
  }
  if (result != WRT_OK) raise_linker_failure(self, &failure);
  return result == WRT_OK;
}

/* interface(name or None, items): defines an interface, or the items that belong to none; each once */
static PyObject *Linker_interface(PyObject *object, PyObject *args) {
  Linker *self = (Linker *)object;
  const char *name;
  Py_ssize_t size;
  PyObject *items;
  if (!PyArg_ParseTuple(args, "z#O!", &name, &size, &PyList_Type, &items)) return NULL;
  if (self->used) {
    PyErr_SetString(PyExc_RuntimeError, "the linker is in use, and takes nothing more");
    return NULL;
  }
  wrt_linker_scope *scope;
  wrt_failure failure;
  if (self->engine->component_ops->scope_new(self->native, name, (size_t)size, &scope, &failure) != WRT_OK)
    return raise_linker_failure(self, &failure);
  bool defined = true;
  for (Py_ssize_t i = 0; defined && i < PyList_GET_SIZE(items); i++)
    defined = define(self, scope, PyList_GET_ITEM(items, i));
  self->engine->component_ops->scope_delete(scope);
  return defined ? Py_NewRef(Py_None) : NULL;
}

/* wasi(http): defines the interfaces of WASI 0.2 */
static PyObject *Linker_wasi(PyObject *object, PyObject *http) {
  Linker *self = (Linker *)object;
  wrt_failure failure;
  int with_http = PyObject_IsTrue(http);
  if (with_http < 0) return NULL;
  if (self->engine->component_ops->define_wasi(self->native, with_http != 0, &failure) != WRT_OK)
    return raise_linker_failure(self, &failure);
  Py_RETURN_NONE;
}

static int Linker_traverse(PyObject *object, visitproc visit, void *arg) {
  Linker *self = (Linker *)object;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->module);
  for (size_t i = 0; i < self->count; i++) {
    Py_VISIT(self->entries[i]->callable);
    Py_VISIT(self->entries[i]->signature);
    Py_VISIT(self->entries[i]->result);
    for (uint32_t j = 0; j < self->entries[i]->count; j++) Py_VISIT(self->entries[i]->params[j]);
  }
  return 0;
}

static void Linker_dealloc(PyObject *object) {
  Linker *self = (Linker *)object;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (self->native != NULL) self->engine->component_ops->linker_delete(self->native);
  for (size_t i = 0; i < self->count; i++) entry_free(self->entries[i]);
  PyMem_Free(self->entries);
  Py_XDECREF(self->engine);
  Py_XDECREF(self->module);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyMethodDef linker_methods[] = {
    {"interface", Linker_interface, METH_VARARGS, NULL},
    {"wasi", Linker_wasi, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot linker_slots[] = {
    {Py_tp_doc, "What components are linked to; for the runtimes."},
    {Py_tp_new, Linker_new},
    {Py_tp_methods, linker_methods},
    {Py_tp_traverse, Linker_traverse},
    {Py_tp_dealloc, Linker_dealloc},
    {0, NULL},
};

PyType_Spec linker_spec = {
    .name = "pywasmrt._shim._fastcall.Linker",
    .basicsize = sizeof(Linker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = linker_slots,
};
