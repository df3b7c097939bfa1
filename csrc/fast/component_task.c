/* component_task.c: the calls of components that can be suspended (task.c): how values and host functions pass.
 *
 * The arguments of a call lie in an arena of the task's own, and those of a host function are moved to memory of the task's:
 * Python code runs off the guest's stack, when the engine has freed them. The result of a host function is made in place, while
 * the guest is suspended.
 */
#include "component.h"
#include "task.h"

enum { TASK_ARENA = 512 };

typedef struct ComponentCall {
  ComponentFunction *function; /* owned; NULL for an instantiation */
  PyObject *args;              /* owned: a tuple; NULL likewise */
  wrt_value *values;           /* owned: the arguments, in the arena */
  bool lowered;                /* the arena is open */
  bool begun;                  /* the engine has taken the arguments */
  Arena arena;
  wrt_value result;
  /* Of an instantiation: */
  Linker *linker;           /* owned */
  PyObject *keeper;         /* owned: keeps the component */
  wrt_component *component; /* borrowed from it */
  wrt_component_instance instance;
  /* Of the host function that the guest has called: */
  wrt_value *taken; /* owned: its arguments; NULL once they were lifted */
  size_t taken_count;
  wrt_value *results; /* the engine's */
  PyObject *lent;     /* owned: a list of what is lent to it, or NULL */
  char memory[TASK_ARENA] __attribute__((aligned(8)));
} ComponentCall;

/* ---- on the guest's stack: no Python code runs here ---- */

static int begin(Task *self) {
  Store *store = self->store;
  ComponentCall *call = self->component;
  const wrt_component_ops *ops = store->engine->component_ops;
  call->begun = true;
  if (call->function == NULL)
    return ops->instantiate_begin(store->native, call->linker->native, call->component, &call->instance, &self->native,
                                  &self->failure);
  return ops->call_begin(store->native, &call->function->handle, call->values, call->function->param_count, &call->result,
                         call->function->result != NULL, &self->native, &self->failure);
}

/* Moves the arguments to memory of the task's own; false without memory. */
static bool take_arguments(ComponentCall *call, wrt_value *args, size_t count) {
  call->taken = malloc((count + 1) * sizeof *args);
  if (call->taken == NULL) return false;
  if (count != 0) {
    memcpy(call->taken, args, count * sizeof *args);
    memset(args, 0, count * sizeof *args);
  }
  call->taken_count = count;
  return true;
}

int call_component_waiting(void *env, void *host, wrt_value *args, size_t arg_count, wrt_value *results,
                           size_t result_count) {
  HostEntry *entry = env;
  Task *task = ((Store *)host)->polled;
  if (args != NULL) {
    if (arg_count != entry->count || result_count != (entry->result != NULL)) return WRT_HOST;
    if (!take_arguments(task->component, args, arg_count)) return WRT_HOST;
    task->component->results = results;
    task->host = entry;
    task->label = entry->label;
    task->awaits = entry->awaits;
    return WRT_PENDING;
  }
  if (!task->answered) return WRT_PENDING;
  task->answered = false;
  task->host = NULL;
  return WRT_OK;
}

/* ---- off it ---- */

static int prepare(Task *self) {
  ComponentCall *call = self->component;
  ComponentFunction *function = call->function;
  if (self->store->top != NULL && function != NULL) return component_refuse_reentrance(function) == NULL ? -1 : 0;
  if (self->store->top != NULL) {
    PyErr_SetString(self->store->state->busy_error, "the store is running a call");
    return -1;
  }
  if (function == NULL) return 0;
  if (function->closed) return component_refuse_closed(function) == NULL ? -1 : 0;
  Py_ssize_t count = PyTuple_GET_SIZE(call->args);
  call->values = PyMem_Malloc((size_t)(count + 1) * sizeof *call->values);
  if (call->values == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  arena_open(&call->arena, call->memory, sizeof call->memory);
  call->lowered = true;
  Lowering lowering = {self->store, function->ops, &call->arena};
  for (Py_ssize_t i = 0; i < count; i++) {
    if (lower_argument(&lowering, function->params[i], PyTuple_GET_ITEM(call->args, i), &call->values[i]) == 0) continue;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    arena_close(&call->arena, self->store, false);
    call->lowered = false;
    PyErr_Restore(type, value, traceback);
    component_refuse(function, &PyTuple_GET_ITEM(call->args, 0), count);
    return -1;
  }
  return 0;
}

/* Frees the arguments of the host function. */
static void clear_taken(Task *self) {
  ComponentCall *call = self->component;
  wrt_value *taken = call->taken;
  call->taken = NULL;
  if (taken == NULL) return;
  for (size_t i = 0; i < call->taken_count; i++)
    if (taken[i].kind >= WRT_VALUE_STRING) self->store->engine->component_ops->value_clear(&taken[i]);
  free(taken);
}

static PyObject *call_host(Task *self) {
  ComponentCall *call = self->component;
  HostEntry *entry = self->host;
  PyObject *tuple = PyTuple_New((Py_ssize_t)entry->count);
  Lifting lifting = {self->store, self->store->engine->component_ops, true, NULL};
  for (uint32_t i = 0; tuple != NULL && i < entry->count; i++) {
    PyObject *value = lift(&lifting, entry->params[i], &call->taken[i]);
    if (value == NULL)
      Py_CLEAR(tuple);
    else
      PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, value);
  }
  call->lent = lifting.lent;
  clear_taken(self);
  if (tuple == NULL) return NULL;
  PyObject *value = PyObject_Vectorcall(entry->callable, &PyTuple_GET_ITEM(tuple, 0), entry->count, NULL);
  Py_DECREF(tuple);
  return value;
}

static int answer(Task *self, PyObject *value) {
  Lowering lowering = {self->store, self->store->engine->component_ops, NULL};
  return put_result(&lowering, self->host, value, self->component->results);
}

static int answer_error(Task *self) {
  Lowering lowering = {self->store, self->store->engine->component_ops, NULL};
  return self->host == NULL ? -1 : put_error(&lowering, self->host, self->component->results);
}

static void forget_host(Task *self) {
  ComponentCall *call = self->component;
  if (call == NULL) return;
  PyObject *lent = call->lent;
  clear_taken(self);
  call->results = NULL;
  call->lent = NULL;
  if (lent != NULL) end_loans(self->store, lent);
}

static PyObject *result(Task *self) {
  ComponentCall *call = self->component;
  if (call->function != NULL) return component_take_result(call->function, &call->result);
  return PyBytes_FromStringAndSize((const char *)&call->instance, sizeof call->instance);
}

static void release(Task *self) {
  ComponentCall *call = self->component;
  if (call->lowered) {
    call->lowered = false;
    arena_close(&call->arena, self->store, call->begun);
  }
  PyMem_Free(call->values);
  call->values = NULL;
  Py_CLEAR(call->args);
  Py_CLEAR(call->linker);
  Py_CLEAR(call->keeper);
}

static int traverse(Task *self, visitproc visit, void *arg) {
  ComponentCall *call = self->component;
  if (call == NULL) return 0;
  Py_VISIT(call->function);
  Py_VISIT(call->args);
  Py_VISIT(call->linker);
  Py_VISIT(call->keeper);
  Py_VISIT(call->lent);
  return 0;
}

static void free_rest(Task *self) {
  if (self->component == NULL) return;
  release(self);
  ComponentFunction *function = self->component->function;
  PyMem_Free(self->component);
  self->component = NULL;
  Py_XDECREF(function);
}

static const TaskKind kind = {
    .prepare = prepare,
    .begin = begin,
    .call_host = call_host,
    .answer = answer,
    .answer_error = answer_error,
    .forget_host = forget_host,
    .result = result,
    .release = release,
    .traverse = traverse,
    .free = free_rest,
};

/* ---- new tasks ---- */

static Task *new_task(Store *store, PyObject *name) {
  ComponentCall *call = PyMem_Calloc(1, sizeof *call);
  Task *self = call == NULL ? (Task *)PyErr_NoMemory() : task_new(store, &kind, name);
  if (self == NULL)
    PyMem_Free(call);
  else
    self->component = call;
  return self;
}

PyObject *task_of_component_call(ComponentFunction *function, PyObject *args) {
  Task *self = new_task(function->store, function->name);
  if (self == NULL) return NULL;
  self->component->function = (ComponentFunction *)Py_NewRef(function);
  self->component->args = Py_NewRef(args);
  return (PyObject *)self;
}

PyObject *task_of_component(Store *store, Linker *linker, PyObject *keeper, wrt_component *component) {
  Task *self = new_task(store, NULL);
  if (self == NULL) return NULL;
  self->component->linker = (Linker *)Py_NewRef(linker);
  self->component->keeper = Py_NewRef(keeper);
  self->component->component = component;
  return (PyObject *)self;
}
