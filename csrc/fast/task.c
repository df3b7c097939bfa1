/* task.c: a call that can be suspended, as an awaitable: what call_async and instantiate_async of an asynchronous store give.
 *
 * The round trip of a host function that waits:
 *   1. a coroutine awaits the task, and so send() polls the engine's task (wrt_task.h): the guest runs, on a stack of its own;
 *   2. the guest calls its import; call_waiting notes which, and the engine suspends the guest: the poll is over;
 *   3. send() calls the callable, and drives the coroutine that it returns. What that yields, an asyncio.Future say, goes on to
 *      whoever awaits the task: to the event loop, in the end, which resumes the same chain when the future is done;
 *   4. what the coroutine returns is the answer: the next poll has call_waiting hand it to the guest, which goes on;
 *   5. what it raises ends the call: the guest is unwound, and send() raises the exception, unchanged.
 * So no Python code runs on a guest's stack, which may be small, and no loop is known here: cancelling is the exception that
 * the loop throws into the chain. At a tick the guest is suspended too, and send() yields None, as asyncio.sleep(0) does.
 *
 * A coroutine that a task drives may await further calls into the same store. They form a chain, from the store's `first` to
 * its `top`, and their guests are run on top of each other's stacks: who polls the top polls the first, whose call_waiting
 * polls the next, and so on. Any other call into the store is refused while there is a chain.
 *
 * Who owns whom: a task owns its store and the engine's task; the store only points at the chain. Tasks end from the top down.
 */
#include "task.h"

/* ---- on the guest's stack: no Python code runs here ---- */

static int begin_native(Task *self) {
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

/* Runs the guest of one task of the chain: the first on this thread's stack, each other one on that of the one before. */
static void step(Task *self) {
  Store *store = self->store;
  Task *before = store->polled;
  store->polled = self;
  self->result = self->native == NULL ? begin_native(self) : WRT_OK;
  if (self->result == WRT_OK) self->result = store->ops->tasks->poll(self->native, store->rested, &self->failure);
  store->polled = before;
}

int call_waiting(void *env, wrt_caller *caller, wrt_slot *slots) {
  HostCallable *host = env;
  Task *task = host->store->polled;
  if (task->host == NULL) {
    if (host->import->has_refs) take_refs(host->store, host->import->types, host->import->param_count, slots);
    task->host = host;
    task->native_caller = caller;
    task->arguments = slots;
    return WRT_PENDING;
  }
  if (task->inner != NULL) {
    step(task->inner);
    return WRT_PENDING;
  }
  if (!task->answered) return WRT_PENDING;
  int result = WRT_OK;
  if (task->values != NULL) {
    result = exception_send(host->store, &task->tag, task->values, task->answer);
  } else if (host->import->has_refs && encode_results(host, task->answer, slots) < 0) {
    task->refused = true;
    return WRT_PENDING;
  }
  task->answered = false;
  task->host = NULL;
  return result;
}

/* ---- the chain ---- */

void task_forget_host(Task *self) {
  if (self->caller != NULL) self->caller->native = NULL; /* whoever kept it finds it dead */
  self->host = NULL;
  self->answered = false;
  Py_CLEAR(self->caller);
  Py_CLEAR(self->answer);
  Py_CLEAR(self->values);
  Py_CLEAR(self->awaited);
}

/* Unwinds the guest, if it has not ended by itself, and takes the task off the top of its chain. */
static void leave_chain(Task *self, Phase phase) {
  Store *store = self->store;
  wrt_task *native = self->native;
  self->native = NULL;
  self->phase = phase;
  store->top = self->outer;
  if (self->outer == NULL)
    store->first = NULL;
  else
    self->outer->inner = NULL;
  self->outer = NULL;
  if (native != NULL) store->ops->tasks->drop(native);
  store->deadline = store->top == NULL ? 0 : store->top->deadline;
  if (store->first == NULL) store->stopped = false;
}

void task_finish(Task *self) {
  Store *store = self->store;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  while (store->top != self) leave_chain(store->top, CUT_OFF); /* their own objects go when they are next used, or released */
  leave_chain(self, ENDED);
  task_forget_host(self);
  if (self->wait != NULL) {
    PyObject *done = PyObject_CallMethod(self->wait, "over", NULL);
    if (done == NULL) PyErr_WriteUnraisable(self->wait);
    Py_XDECREF(done);
    Py_CLEAR(self->wait);
  }
  Py_CLEAR(self->args);
  Py_CLEAR(self->linked);
  if (store->closed || store->garbage != NULL || store->thrown != NULL) store_settle(store);
  PyErr_Restore(type, value, traceback);
}

/* Whether the store can be entered by a task that begins, on this thread: 0, or -1 with an exception set. */
static int check_idle(Store *store) {
  if (store_check(store) < 0) return -1;
  if (store->top == NULL || (store->serving == store->top && store->owner == this_thread())) return 0;
  PyErr_SetString(store->state->busy_error,
                  store->serving == NULL ? "the store has a guest that is waiting; give each task a store of its own"
                                         : "the store is running a call; give each task a store of its own");
  return -1;
}

int task_enter(Task *self) {
  Store *store = self->store;
  Function *function = self->function;
  if (function != NULL && function->closed) return function_refuse_closed(function);
  if (check_idle(store) < 0) return -1;
  if (store->timed && begin_timed(store) < 0) goto refused;
  self->deadline = store->timed ? store->deadline : 0;
  if (store->top != NULL && store->top->deadline != 0 && (self->deadline == 0 || store->top->deadline < self->deadline))
    self->deadline = store->top->deadline;
  store->deadline = self->deadline;
  if (function != NULL) {
    Py_ssize_t count = PyTuple_GET_SIZE(self->args);
    PyObject *const *args = &PyTuple_GET_ITEM(self->args, 0);
    if ((size_t)count != function->param_count ||
        (!function->has_refs && function_encode(function, args, self->slots) < 0)) {
      function_refuse(function, args, count);
      goto refused;
    }
  }
  self->outer = store->top;
  if (self->outer == NULL)
    store->first = self;
  else
    self->outer->inner = self;
  store->top = self;
  self->phase = RUNNING;
  return 0;
refused:
  store->deadline = store->top == NULL ? 0 : store->top->deadline;
  return -1;
}

/* ---- the host function, off the guest's stack ---- */

/* The iterator that drives what a host function returned: a new reference, or NULL with an exception set. */
static PyObject *await_on(HostCallable *host, PyObject *value) {
  if (PyCoro_CheckExact(value)) return Py_NewRef(value);
  PyAsyncMethods *methods = Py_TYPE(value)->tp_as_async;
  if (methods != NULL && methods->am_await != NULL) return methods->am_await(value);
  PyErr_Format(PyExc_TypeError, "host function %U is to be awaited, and what it returned cannot be: %R",
               host->import->label, value);
  return NULL;
}

/* Calls the callable that the guest has called: a new reference, or NULL with an exception set. */
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

/* Takes what the host function has come to for the answer to the guest: 0, or -1 with an exception set. Steals `value`. */
static int take_answer(Task *self, PyObject *value) {
  HostCallable *host = self->host;
  while (self->store->top != self) leave_chain(self->store->top, CUT_OFF);
  if (check_stopped(self->store) < 0) goto refused;
  if (!host->import->has_refs) {
    if (encode_results(host, value, self->arguments) < 0) {
      refuse_result(host, value);
      goto refused;
    }
    Py_CLEAR(value);
  } else if (host->import->result_count > 1 && holds_results(value)) { /* nobody changes it until it is in the slots */
    Py_SETREF(value, PySequence_Tuple(value));
    if (value == NULL) return -1;
  }
  task_forget_host(self);
  self->host = host;
  self->answer = value;
  self->answered = true;
  return 0;
refused:
  Py_DECREF(value);
  return -1;
}

/* The host function has raised the exception that is set. One that guests may catch is the answer to the guest: whether it is.
 * It is thrown on the guest's stack, when that runs again. */
static bool take_exception(Task *self) {
  HostCallable *host = self->host;
  if (self->ending || is_stopped(self->store)) return false;
  PyObject *values, *exception = exception_to_throw(self->store, &self->tag, &values);
  if (exception == NULL) return false;
  while (self->store->top != self) leave_chain(self->store->top, CUT_OFF);
  task_forget_host(self);
  self->host = host;
  self->answer = exception;
  self->values = values;
  self->answered = true;
  return true;
}

Task *task_serve(Task *self) {
  Task *before = self->store->serving;
  self->store->serving = self;
  self->store->owner = this_thread();
  return before;
}

/* Calls what the guest has called, and drives it as far as it goes: PYGEN_NEXT with what it yields in `out`; PYGEN_RETURN,
 * and the answer is taken; PYGEN_ERROR with an exception set. */
static PySendResult serve_guest(Task *self, PyObject **out) {
  HostCallable *host = self->host;
  if (self->store->garbage != NULL) release_garbage(self->store);
  Task *before = task_serve(self);
  PySendResult result = PYGEN_RETURN;
  PyObject *value = call_host(self);
  if (value != NULL && (host->import->awaits || PyCoro_CheckExact(value))) {
    self->awaited = await_on(host, value);
    Py_SETREF(value, NULL);
    result = self->awaited == NULL ? PYGEN_ERROR : PyIter_Send(self->awaited, Py_None, &value);
  }
  self->store->serving = before;
  if (result == PYGEN_NEXT) {
    *out = value;
    return PYGEN_NEXT;
  }
  if (value == NULL || result == PYGEN_ERROR) return take_exception(self) ? PYGEN_RETURN : PYGEN_ERROR;
  return take_answer(self, value) < 0 ? PYGEN_ERROR : PYGEN_RETURN;
}

/* ---- sending ---- */

PySendResult task_fail(Task *self) {
  if (self->ending) { /* the loop's cancelling was ours; whether it is to be told so */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *ours = PyObject_CallMethod(self->wait, "ended", "O", value);
    if (ours == Py_True && check_stopped(self->store) < 0) {
      Py_XDECREF(type);
      Py_XDECREF(value);
      Py_XDECREF(traceback);
    } else {
      if (ours == NULL) PyErr_WriteUnraisable(self->wait);
      PyErr_Restore(type, value, traceback);
    }
    Py_XDECREF(ours);
  }
  if (PyErr_ExceptionMatches(PyExc_StopIteration)) { /* which would read as the result, to whoever awaits this */
    PyObject *type, *value, *traceback, *error_type, *error;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyErr_SetString(PyExc_RuntimeError, "a host function raised StopIteration");
    PyObject *of_error;
    PyErr_Fetch(&error_type, &error, &of_error);
    PyErr_NormalizeException(&error_type, &error, &of_error);
    PyException_SetCause(error, Py_NewRef(value));
    PyException_SetContext(error, value);
    PyErr_Restore(error_type, error, of_error);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
  }
  task_finish(self);
  return PYGEN_ERROR;
}

/* The guest has come to its end. */
static PySendResult end(Task *self, PyObject **out) {
  Store *store = self->store;
  PyObject *value;
  if (self->result != WRT_OK)
    value = self->refused ? function_refuse(self->function, &PyTuple_GET_ITEM(self->args, 0), PyTuple_GET_SIZE(self->args))
                          : raise_failure(store, self->result, &self->failure);
  else if (self->function != NULL)
    value = function_decode(self->function, self->slots);
  else
    value = PyBytes_FromStringAndSize((const char *)&self->instance, sizeof self->instance);
  if (value == NULL) return task_fail(self);
  task_finish(self);
  *out = value;
  return PYGEN_RETURN;
}

void task_end_wait(Task *self) {
  if (self->ending || self->wait == NULL) return;
  PyObject *told = PyObject_CallMethod(self->wait, "end", NULL);
  if (told == NULL) PyErr_WriteUnraisable((PyObject *)self);
  self->ending = told == Py_True;
  Py_XDECREF(told);
}

/* The host function waits. */
static PySendResult wait_on(Task *self, PyObject **out) {
  self->phase = WAITING;
  if (self->wait == NULL) {
    PyObject *left = self->deadline == 0 ? Py_NewRef(Py_None)
                                         : PyFloat_FromDouble((double)(self->deadline - monotonic_ns()) * 1e-9);
    if (left != NULL) self->wait = PyObject_CallFunctionObjArgs(self->store->state->first_wait, self, left, NULL);
    Py_XDECREF(left);
    if (self->wait == NULL) {
      Py_CLEAR(*out);
      return task_fail(self);
    }
  }
  if (is_stopped(self->store)) task_end_wait(self);
  return PYGEN_NEXT;
}

/* Polls the chain. `rested`: since the loop had its turn. */
static void poll(Task *self, bool rested) {
  Store *store = self->store;
  self->result = WRT_ERROR; /* should the outer ones not come to run it */
  self->failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
  store->owner = this_thread();
  store->depth = 1;
  thread_calls++;
  __atomic_store_n(&ticker_calls, ticker_calls + 1, __ATOMIC_RELAXED);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  if (UNLIKELY(__atomic_load_n(&ticker_asleep, __ATOMIC_RELAXED))) ticker_wake();
  store->rested = rested;
  step(store->first);
  thread_calls--;
  __atomic_store_n(&ticker_calls, ticker_calls - 1, __ATOMIC_RELAXED);
  store->depth = 0;
}

PySendResult task_go_on(Task *self, PyObject **out) {
  for (bool rested = true;; rested = false) {
    if (UNLIKELY(thread_calls != 0) && greenlet_check(self->store) < 0) return task_fail(self);
    if (check_stopped(self->store) < 0) return task_fail(self);
    self->phase = RUNNING;
    poll(self, rested);
    Py_CLEAR(self->answer);
    Py_CLEAR(self->values);
    if (self->result != WRT_PENDING) return end(self, out);
    if (self->host == NULL) {
      self->phase = TICKED;
      *out = Py_NewRef(Py_None);
      return PYGEN_NEXT;
    }
    if (self->refused) return task_fail(self);
    PySendResult result = serve_guest(self, out);
    if (result == PYGEN_NEXT) return wait_on(self, out);
    if (result == PYGEN_ERROR) return task_fail(self);
  }
}

PySendResult task_driven(Task *self, PySendResult result, PyObject *value, PyObject **out) {
  if (result == PYGEN_NEXT) {
    *out = value;
    return wait_on(self, out);
  }
  if (result == PYGEN_ERROR ? !take_exception(self) : take_answer(self, value) < 0) return task_fail(self);
  return task_go_on(self, out);
}
