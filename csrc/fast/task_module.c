/* task_module.c: the calls of modules that can be suspended (task.c): how arguments and results pass, to guests and to host
 * functions. */
#include "task.h"

/* ---- on the guest's stack: no Python code runs here ---- */

static int begin(Task *self) {
  Store *store = self->store;
  const wrt_task_ops *tasks = store->ops->tasks;
  Function *function = self->function;
  if (function == NULL)
    return tasks->instantiate_begin(store->native, self->linked->module, self->imports, self->linked->count,
                                    &self->instance, &self->native, &self->failure);
  if (function->has_refs && function_encode(function, &PyTuple_GET_ITEM(self->args, 0), self->slots) < 0) {
    self->refused = true;
    return WRT_HOST;
  }
  return tasks->call_begin(store->native, &function->handle, function->types, function->param_count,
                           function->result_count, self->slots, &self->native, &self->failure);
}

int call_waiting(void *env, wrt_caller *caller, wrt_slot *slots) {
  HostCallable *host = env;
  Task *task = host->store->polled;
  if (task->host == NULL) {
    if (host->import->has_refs) take_refs(host->store, host->import->types, host->import->param_count, slots);
    task->host = host;
    task->label = host->import->label;
    task->awaits = host->import->awaits;
    task->native_caller = caller;
    task->arguments = slots;
    return WRT_PENDING;
  }
  if (task->inner != NULL) {
    task_step(task->inner);
    return WRT_PENDING;
  }
  if (!task->answered) return WRT_PENDING;
  int result = WRT_OK;
  if (task->values != NULL) {
    result = exception_send(host->store, &task->tag, task->values, task->answer);
  } else if (host->import->has_refs && encode_results(host, task->answer, slots) < 0) {
    result = WRT_HOST;
  }
  if (result == WRT_HOST) { /* task_go_on words it, off this stack */
    task->refused = true;
    return WRT_PENDING;
  }
  task->answered = false;
  task->host = NULL;
  return result;
}

/* ---- off it ---- */

static bool has_odd_argument(Task *self) {
  for (size_t i = 0; i < self->function->param_count; i++)
    if (is_odd_number(self->function->types[i], PyTuple_GET_ITEM(self->args, (Py_ssize_t)i))) return true;
  return false;
}

/* Whether the arguments fit, as far as can be seen before the guest runs: references are looked at when it does. */
static bool arguments_fit(Task *self) {
  return self->function->has_refs || function_encode(self->function, &PyTuple_GET_ITEM(self->args, 0), self->slots) == 0;
}

static int prepare(Task *self) {
  Function *function = self->function;
  if (function == NULL) return 0;
  if (function->closed) return function_refuse_closed(function);
  if ((size_t)PyTuple_GET_SIZE(self->args) == function->param_count) {
    if (LIKELY(!has_odd_argument(self))) {
      if (LIKELY(arguments_fit(self))) return 0;
    } else { /* turns numbers of other kinds into ints and floats, which runs their code */
      PyObject *numbers =
          PyObject_CallFunctionObjArgs(self->store->state->convert_arguments, function->type, self->args, NULL);
      if (numbers == NULL) return -1;
      Py_SETREF(self->args, numbers);
      if (arguments_fit(self)) return 0;
    }
  }
  function_refuse(function, &PyTuple_GET_ITEM(self->args, 0), PyTuple_GET_SIZE(self->args));
  return -1;
}

static PyObject *call_host(Task *self) {
  HostCallable *host = self->host;
  PyObject *few[2 + 8], **args = few;
  if (host->import->param_count > 8 && (args = PyMem_Malloc((2 + host->import->param_count) * sizeof *args)) == NULL) {
    drop_refs(host->store, host->import->types, host->import->param_count, self->arguments);
    return PyErr_NoMemory();
  }
  size_t first = host->import->caller_class != NULL ? 1 : 0, count = first + host->import->param_count;
  PyObject *value = NULL;
  if (decode_arguments(host, args + 1 + first, self->arguments)) {
    if (first != 0) {
      self->caller = (Caller *)caller_new(host, self->native_caller);
      args[1] = (PyObject *)self->caller; /* borrowed: the task's own */
    }
    if (first == 0 || self->caller != NULL)
      value = PyObject_Vectorcall(host->callable, args + 1, count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    for (size_t i = first; i < count; i++) Py_DECREF(args[1 + i]);
  }
  if (args != few) PyMem_Free(args);
  return value;
}

static int answer(Task *self, PyObject *value) {
  HostCallable *host = self->host;
  if (host->import->has_refs) {
    bool several = host->import->result_count > 1 && holds_results(value); /* nobody changes it until it is in the slots */
    self->answer = several ? PySequence_Tuple(value) : Py_NewRef(value);
    if (self->answer != NULL && has_odd_number(host, self->answer)) self->answer = converted_result(host, self->answer);
    return self->answer == NULL ? -1 : 0;
  }
  if (LIKELY(encode_results(host, value, self->arguments) == 0)) return 0;
  PyObject *numbers = PyErr_Occurred() ? NULL : converted_result(host, Py_NewRef(value));
  if (numbers == NULL) return -1;
  if (task_check_chain(self) < 0) {
    Py_DECREF(numbers);
    return -1;
  }
  int result = encode_results(host, numbers, self->arguments) == 0 ? 0 : refuse_result(host, numbers);
  Py_DECREF(numbers);
  return result;
}

/* An exception that guests may catch is thrown on the guest's stack, when that runs again. */
static int answer_error(Task *self) {
  self->answer = exception_to_throw(self->store, &self->tag, &self->values);
  return self->answer == NULL ? -1 : 0;
}

static void forget_host(Task *self) {
  if (self->caller != NULL) self->caller->native = NULL; /* a Caller that was kept is dead from here on */
  Py_CLEAR(self->caller);
}

static PyObject *result(Task *self) {
  if (self->refused)
    return function_refuse(self->function, &PyTuple_GET_ITEM(self->args, 0), PyTuple_GET_SIZE(self->args));
  if (self->function != NULL) return function_decode(self->function, self->slots);
  return PyBytes_FromStringAndSize((const char *)&self->instance, sizeof self->instance);
}

static void release(Task *self) {
  Py_CLEAR(self->args);
  Py_CLEAR(self->linked);
}

static int traverse(Task *self, visitproc visit, void *arg) {
  Py_VISIT(self->function);
  Py_VISIT(self->args);
  Py_VISIT(self->linked);
  Py_VISIT(self->caller);
  return 0;
}

static void free_rest(Task *self) {
  release(self);
  Py_CLEAR(self->function);
  PyMem_Free(self->imports);
  self->imports = NULL;
  if (self->slots != self->few) PyMem_Free(self->slots);
  self->slots = self->few;
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

PyObject *task_of_call(Function *function, PyObject *const *args, Py_ssize_t count) {
  Task *self = task_new(function->store, &kind, function->name);
  if (self == NULL) return NULL;
  self->function = (Function *)Py_NewRef(function);
  if (function->words > sizeof self->few / sizeof *self->few &&
      (self->slots = PyMem_Calloc(function->words, sizeof *self->slots)) == NULL)
    PyErr_NoMemory();
  else
    self->args = PyTuple_New(count);
  if (self->args == NULL) {
    Py_DECREF(self);
    return NULL;
  }
  for (Py_ssize_t i = 0; i < count; i++) PyTuple_SET_ITEM(self->args, i, Py_NewRef(args[i]));
  return (PyObject *)self;
}

PyObject *task_of_instantiation(Store *store, Linked *linked, wrt_extern *imports) {
  Task *self = task_new(store, &kind, NULL);
  if (self == NULL) {
    PyMem_Free(imports);
    return NULL;
  }
  self->linked = (Linked *)Py_NewRef((PyObject *)linked);
  self->imports = imports;
  return (PyObject *)self;
}
