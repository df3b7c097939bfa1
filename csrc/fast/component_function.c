/* component_function.c: an exported function of a component as a Python callable.
 *
 *   vectorcall -> lower each argument into the arena -> ops->call -> lift the result -> value_clear
 *
 * A function whose result is a result<…> returns what is in ok, and raises what is in err as a ComponentError.
 */
#include "component.h"
#include "values.h"

enum { STACK_VALUES = 8, STACK_ARENA = 1024 };

PyObject *component_refuse(ComponentFunction *self, PyObject *const *args, Py_ssize_t count) {
  if (PyErr_Occurred()) return NULL;
  PyObject *tuple = PyTuple_New(count);
  if (tuple == NULL) return NULL;
  for (Py_ssize_t i = 0; i < count; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
  PyObject *never = PyObject_CallMethod(self->signature, "refuse_arguments", "OO", self->name, tuple);
  Py_XDECREF(never);
  Py_DECREF(tuple);
  return NULL;
}

/* The result of a function that may fail. */
static PyObject *lift_fallible(ComponentFunction *self, Lifting *lifting, const wrt_value *value) {
  bool is_ok = value->of.result.is_ok;
  Plan *plan = self->result->children[is_ok ? 0 : 1];
  PyObject *payload =
      plan == NULL ? Py_NewRef(Py_None) : lift(lifting, plan, value->of.result.payload);
  if (is_ok || payload == NULL) return payload;
  PyObject *error = PyObject_CallOneArg(self->store->state->component_error, payload);
  Py_DECREF(payload);
  if (error != NULL) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
  Py_XDECREF(error);
  return NULL;
}

PyObject *component_take_result(ComponentFunction *self, wrt_value *result) {
  if (self->result == NULL) return Py_NewRef(Py_None);
  if (LIKELY(result->kind == WRT_VALUE_U32) && LIKELY(self->result->kind == WRT_VALUE_U32))
    return PyLong_FromUnsignedLong(result->of.u32);
  if (result->kind == WRT_VALUE_STRING && self->result->kind == WRT_VALUE_STRING) {
    PyObject *text = PyUnicode_DecodeUTF8(result->of.text.data, (Py_ssize_t)result->of.text.size, NULL);
    self->ops->value_clear(result);
    return text;
  }
  Lifting lifting = {self->store, self->ops, false, NULL};
  PyObject *value = UNLIKELY(self->fallible) ? lift_fallible(self, &lifting, result) : lift(&lifting, self->result, result);
  if (result->kind >= WRT_VALUE_STRING) self->ops->value_clear(result); /* values of smaller kinds own nothing */
  return value;
}

/* Runs the function inside the store; a new reference, or NULL with an exception set. */
static PyObject *run(ComponentFunction *self, const wrt_value *values) {
  Store *store = self->store;
  wrt_value result = {0};
  wrt_failure failure;
  size_t results = self->result != NULL;
  guest_begin(store);
  int ended = self->ops->call(store->native, &self->handle, values, self->param_count, &result, results, &failure);
  guest_end(store);
  if (UNLIKELY(ended != WRT_OK)) return raise_failure(store, ended, &failure);
  return component_take_result(self, &result);
}

/* A host function called the component that called it. Not every engine checks that. */
PyObject *component_refuse_reentrance(ComponentFunction *self) {
  PyErr_Format(self->store->state->busy_error,
               "%U() cannot be called now: its component is running, and the component model does not let a host function "
               "call back into the component that called it",
               self->name);
  return NULL;
}

static PyObject *call(ComponentFunction *self, PyObject *const *args) {
  Store *store = self->store;
  if (UNLIKELY(store->depth != 0 && store->owner == this_thread())) return component_refuse_reentrance(self);
  if (UNLIKELY(store_enter(store) < 0)) return NULL;
  if (UNLIKELY(store->components->forgotten_count != 0)) drop_forgotten(store);
  PyObject *value = NULL;
  char memory[STACK_ARENA] __attribute__((aligned(8)));
  wrt_value few[STACK_VALUES], *values = few;
  size_t count = self->param_count, i = 0;
  Arena arena;
  arena_open(&arena, memory, sizeof memory);
  Lowering lowering = {store, self->ops, &arena};
  if (count > STACK_VALUES && (values = PyMem_Malloc(count * sizeof *values)) == NULL) {
    PyErr_NoMemory();
  } else {
    for (; i < count; i++)
      if (UNLIKELY(lower_argument(&lowering, self->params[i], args[i], &values[i]) < 0)) break;
    if (LIKELY(i == count)) value = run(self, values);
  }
  if (UNLIKELY(arena.held != NULL || arena.blocks != NULL)) {
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    arena_close(&arena, store, i == count);
    PyErr_Restore(type, error, traceback);
  }
  if (values != few) PyMem_Free(values);
  if (UNLIKELY(i < count)) component_refuse(self, args, (Py_ssize_t)count);
  if (UNLIKELY(store->components->has_streams) && component_output_waits(store) && component_drain(store) < 0)
    Py_CLEAR(value);
  store_leave(store);
  return value;
}

/* Puts the arguments in the order of the parameters, by the Python half: a tuple, or NULL with an exception set. */
static PyObject *arrange(ComponentFunction *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
  PyObject *positional = PyTuple_New(count);
  for (Py_ssize_t i = 0; positional != NULL && i < count; i++) PyTuple_SET_ITEM(positional, i, Py_NewRef(args[i]));
  Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
  if (named == 0 && (size_t)count == self->param_count) return positional;
  PyObject *keywords = PyDict_New(), *all = NULL;
  bool filled = positional != NULL && keywords != NULL;
  for (Py_ssize_t i = 0; filled && i < named; i++)
    filled = PyDict_SetItem(keywords, PyTuple_GET_ITEM(names, i), args[count + i]) == 0;
  if (filled) all = PyObject_CallMethod(self->signature, "arrange", "OOO", self->name, positional, keywords);
  if (all != NULL && (!PyTuple_Check(all) || (size_t)PyTuple_GET_SIZE(all) != self->param_count)) {
    PyErr_SetString(PyExc_RuntimeError, "the arguments were arranged wrongly");
    Py_CLEAR(all);
  }
  Py_XDECREF(positional);
  Py_XDECREF(keywords);
  return all;
}

PyObject *component_refuse_closed(ComponentFunction *self) {
  PyErr_SetString(self->store->state->closed_error, "the instance that this function belongs to was closed");
  return NULL;
}

static PyObject *Function_vectorcall(PyObject *object, PyObject *const *args, size_t flags, PyObject *names) {
  ComponentFunction *self = (ComponentFunction *)object;
  Py_ssize_t count = PyVectorcall_NARGS(flags);
  if (UNLIKELY(self->closed)) return component_refuse_closed(self);
  if (LIKELY((size_t)count == self->param_count && (names == NULL || PyTuple_GET_SIZE(names) == 0))) return call(self, args);
  PyObject *all = arrange(self, args, count, names);
  PyObject *value = all == NULL ? NULL : call(self, &PyTuple_GET_ITEM(all, 0));
  Py_XDECREF(all);
  return value;
}

/* In place of the call in an asynchronous store. */
static PyObject *Function_asynchronous(PyObject *object, PyObject *const *args, size_t flags, PyObject *names) {
  (void)args, (void)flags, (void)names;
  ComponentFunction *self = (ComponentFunction *)object;
  if (self->closed || self->store->closed) return component_refuse_closed(self);
  PyObject *never = PyObject_CallOneArg(self->store->state->raise_asynchronous, self->name);
  Py_XDECREF(never);
  return NULL;
}

/* call_async(*args, **keywords): a Task where guests can be suspended, else the coroutine of pywasmrt/_shim/asynchronous.py */
static PyObject *Function_call_async(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names) {
  ComponentFunction *self = (ComponentFunction *)object;
  PyObject *all = arrange(self, args, count, names);
  if (all == NULL) return NULL;
  PyObject *awaitable = self->store->suspends
                            ? task_of_component_call(self, all)
                            : coroutine_of_call(self->store->state, object, &PyTuple_GET_ITEM(all, 0), PyTuple_GET_SIZE(all));
  Py_DECREF(all);
  return awaitable;
}

/* _run(*args): the call itself, in an asynchronous store whose guests cannot be suspended; for the workers */
static PyObject *Function_run(PyObject *object, PyObject *const *args, Py_ssize_t count) {
  return Function_vectorcall(object, args, (size_t)count, NULL);
}

/* component_function(store, instance, handle of the instance, interface or None, name, shown name, plans, result plan or None,
 * fallible, signature) -> the function, or None where the instance exports none of that name */
PyObject *store_component_function(PyObject *object, PyObject *args) {
  Store *store = (Store *)object;
  PyObject *instance, *bytes, *interface, *name, *shown, *plans, *result, *signature;
  int fallible;
  wrt_component_instance handle;
  State *state = store->state;
  if (!PyArg_ParseTuple(args, "OSOUUO!OpO", &instance, &bytes, &interface, &name, &shown, &PyTuple_Type, &plans, &result,
                        &fallible, &signature) ||
      !read_handle(bytes, &handle, sizeof handle))
    return NULL;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(plans); i++)
    if (!Py_IS_TYPE(PyTuple_GET_ITEM(plans, i), state->plan_type)) return PyErr_Format(PyExc_TypeError, "plans are Plan");
  if (result != Py_None && !Py_IS_TYPE(result, state->plan_type)) return PyErr_Format(PyExc_TypeError, "plans are Plan");
  Py_ssize_t name_size, interface_size = 0;
  const char *name_text = PyUnicode_AsUTF8AndSize(name, &name_size), *interface_text = NULL;
  if (name_text == NULL) return NULL;
  if (interface != Py_None && (interface_text = PyUnicode_AsUTF8AndSize(interface, &interface_size)) == NULL) return NULL;
  if (store_check(store) < 0 || component_state(store) == NULL || store_enter(store) < 0) return NULL;
  wrt_component_function found = {{0}};
  bool there = store->engine->component_ops->instance_function(store->native, &handle, interface_text,
                                                               (size_t)interface_size, name_text, (size_t)name_size, &found);
  store_leave(store);
  if (!there) Py_RETURN_NONE;
  ComponentFunction *self = (ComponentFunction *)state->component_function_type->tp_alloc(state->component_function_type, 0);
  if (self == NULL) return NULL;
  self->vectorcall = store->asynchronous ? Function_asynchronous : Function_vectorcall;
  self->store = (Store *)Py_NewRef(store);
  self->ops = store->engine->component_ops;
  self->handle = found;
  self->fallible = fallible != 0;
  self->name = Py_NewRef(shown);
  self->signature = Py_NewRef(signature);
  self->instance = Py_NewRef(instance);
  self->result = result == Py_None ? NULL : (Plan *)Py_NewRef(result);
  self->params = PyMem_Calloc((size_t)PyTuple_GET_SIZE(plans) + 1, sizeof *self->params);
  if (self->params == NULL) {
    Py_DECREF(self);
    return PyErr_NoMemory();
  }
  self->param_count = (size_t)PyTuple_GET_SIZE(plans);
  for (size_t i = 0; i < self->param_count; i++)
    self->params[i] = (Plan *)Py_NewRef(PyTuple_GET_ITEM(plans, (Py_ssize_t)i));
  return (PyObject *)self;
}

static PyObject *Function_close(PyObject *object, PyObject *unused) {
  (void)unused;
  ((ComponentFunction *)object)->closed = true;
  Py_RETURN_NONE;
}

static PyObject *Function_get_type(PyObject *object, void *unused) {
  (void)unused;
  return PyObject_GetAttrString(((ComponentFunction *)object)->signature, "type");
}

static PyObject *Function_get_signature(PyObject *object, void *unused) {
  (void)unused;
  return PyObject_GetAttrString(((ComponentFunction *)object)->signature, "__signature__");
}

static PyObject *Function_repr(PyObject *object) {
  ComponentFunction *self = (ComponentFunction *)object;
  PyObject *type = Function_get_type(object, NULL);
  if (type == NULL) return NULL;
  bool closed = self->closed || self->store->closed;
  PyObject *text = PyUnicode_FromFormat("<ComponentFunction %U: %S%s>", self->name, type, closed ? " (closed)" : "");
  Py_DECREF(type);
  return text;
}

static int Function_traverse(PyObject *object, visitproc visit, void *arg) {
  ComponentFunction *self = (ComponentFunction *)object;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->store);
  Py_VISIT(self->signature);
  Py_VISIT(self->instance);
  Py_VISIT(self->result);
  for (size_t i = 0; i < self->param_count; i++) Py_VISIT(self->params[i]);
  return 0;
}

static void Function_dealloc(PyObject *object) {
  ComponentFunction *self = (ComponentFunction *)object;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  for (size_t i = 0; i < self->param_count; i++) Py_DECREF(self->params[i]);
  PyMem_Free(self->params);
  Py_XDECREF(self->result);
  Py_XDECREF(self->name);
  Py_XDECREF(self->signature);
  Py_XDECREF(self->instance);
  Py_XDECREF(self->store);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyMethodDef function_methods[] = {
    {"call_async", (PyCFunction)(void (*)(void))Function_call_async, METH_FASTCALL | METH_KEYWORDS,
     "call_async($self, /, *args, **keywords)\n--\n\nAwait the call; cancelling stops the guest."},
    {"_run", (PyCFunction)(void (*)(void))Function_run, METH_FASTCALL, NULL},
    {"_close", Function_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef function_getset[] = {
    {"type", Function_get_type, NULL, "The function's signature, a ComponentFunctionType.", NULL},
    {"__signature__", Function_get_signature, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(ComponentFunction, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ComponentFunction, weakrefs), READONLY, NULL},
    {"__name__", T_OBJECT_EX, offsetof(ComponentFunction, name), READONLY, "The name it was found under."},
    {"_store", T_OBJECT_EX, offsetof(ComponentFunction, store), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot function_slots[] = {
    {Py_tp_doc, "A function of a component: call it with Python values, by position or by name."},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_methods, function_methods},
    {Py_tp_getset, function_getset},
    {Py_tp_members, function_members},
    {Py_tp_repr, Function_repr},
    {Py_tp_traverse, Function_traverse},
    {Py_tp_dealloc, Function_dealloc},
    {0, NULL},
};

PyType_Spec component_function_spec = {
    .name = "pywasmrt._shim._fastcall.ComponentFunction",
    .basicsize = sizeof(ComponentFunction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = function_slots,
};
