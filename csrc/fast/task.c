/* task.c: a call that can be suspended, as an awaitable: what call_async and instantiate_async of an asynchronous store give.
 * What differs between modules and components stands in task_module.c and component_task.c.
 *
 * The round trip of a host function that waits:
 *   1. a coroutine awaits the task, and so send() polls the engine's task (wrt_task.h): the guest runs, on a stack of its own;
 *   2. the guest calls its import; call_waiting (of the kind) notes which, and the engine suspends it: the poll is over;
 *   3. send() calls the callable, and drives the coroutine that it returns. What that yields, such as an asyncio.Future, goes
 *      on to the coroutine that awaits the task, and in the end to the event loop, which resumes the same chain when the future
 *      is done;
 *   4. what the coroutine returns is the answer: the next poll has call_waiting hand it to the guest, which goes on;
 *   5. what it raises ends the call: the guest is unwound, and send() raises the exception, unchanged. So no Python code runs
 *      on a guest's stack, which may be small, and nothing here depends on a particular event loop: a cancellation is an
 *      exception that the loop throws into the chain. At a tick the guest is suspended too, and send() yields None, as
 *      asyncio.sleep(0) does.
 *
 * A coroutine that a task drives may await further calls into the same store. They form a chain, from the store's `first` to
 * its `top`, and their guests are run on top of each other's stacks: to poll the top, the first is polled, whose call_waiting
 * polls the next, and so on. Any other call into the store is refused while there is a chain.
 *
 * Who owns whom: a task owns its store and the engine's task; the store only points at the chain. Tasks end from the top down.
 * While Python code runs under a task, that owns all the outer ones, and none of them can be resumed or closed from elsewhere.
 * Greenlets can still end an outer one: so whatever follows Python code looks whether the task is in its chain.
 */
#include "task.h"

/* ---- on the guest's stack: no Python code runs here ---- */

void task_step(Task *self) {
  Store *store = self->store;
  Task *before = store->polled;
  store->polled = self;
  self->result = self->native == NULL ? self->kind->begin(self) : WRT_OK;
  if (self->result == WRT_OK) self->result = store->ops->tasks->poll(self->native, store->rested, &self->failure);
  store->polled = before;
}

/* ---- the chain ---- */

int task_check_chain(Task *self) {
  if (LIKELY(self->phase != CUT_OFF)) return 0;
  PyErr_SetString(self->store->state->interrupted, "the host function that made this call has ended before it");
  return -1;
}

void task_forget_host(Task *self) {
  self->kind->forget_host(self);
  self->host = NULL;
  self->answered = false;
  Py_CLEAR(self->answer);
  Py_CLEAR(self->values);
  Py_CLEAR(self->awaited);
}

/* Takes the task off the top of its chain, and unwinds its guest if that has not ended by itself. */
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
  if (self->phase != CUT_OFF) {
    while (store->top != self) leave_chain(store->top, CUT_OFF); /* their objects go when they are used or freed */
    leave_chain(self, ENDED);
  }
  self->phase = ENDED;
  task_forget_host(self);
  if (self->wait != NULL) {
    PyObject *done = PyObject_CallMethod(self->wait, "over", NULL);
    if (done == NULL) PyErr_WriteUnraisable(self->wait);
    Py_XDECREF(done);
    Py_CLEAR(self->wait);
  }
  self->kind->release(self);
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
  if (check_idle(store) < 0) return -1;
  if (store->timed && begin_timed(store) < 0) goto refused;
  self->deadline = store->timed ? store->deadline : 0;
  if (store->top != NULL && store->top->deadline != 0 && (self->deadline == 0 || store->top->deadline < self->deadline))
    self->deadline = store->top->deadline;
  Task *top = store->top;
  if (self->kind->prepare(self) < 0) goto refused;
  if (store->top != top || check_idle(store) < 0) { /* converting the arguments ran Python code that used the store */
    if (!PyErr_Occurred()) PyErr_SetString(store->state->busy_error, "the store was entered while the arguments were read");
    self->kind->release(self);
    goto refused;
  }
  store->deadline = self->deadline;
  self->outer = top;
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
static PyObject *await_on(Task *self, PyObject *value) {
  if (PyCoro_CheckExact(value)) return Py_NewRef(value);
  PyAsyncMethods *methods = Py_TYPE(value)->tp_as_async;
  if (methods != NULL && methods->am_await != NULL) return methods->am_await(value);
  PyErr_Format(PyExc_TypeError, "host function %U is to be awaited, and what it returned cannot be: %R", self->label, value);
  return NULL;
}

/* The answer is where the guest takes it: releases everything else of the host function. */
static void note_answer(Task *self) {
  void *host = self->host;
  PyObject *answer = self->answer, *values = self->values;
  self->answer = self->values = NULL;
  task_forget_host(self);
  self->host = host;
  self->answer = answer;
  self->values = values;
  self->answered = true;
}

/* Takes the outcome of the host function as the answer to the guest: 0, or -1 with an exception set. Steals `value`. */
static int take_answer(Task *self, PyObject *value) {
  int result = task_check_chain(self);
  if (result == 0) {
    while (self->store->top != self) leave_chain(self->store->top, CUT_OFF);
    result = check_stopped(self->store) < 0 ? -1 : self->kind->answer(self, value);
  }
  Py_DECREF(value);
  if (result == 0) note_answer(self);
  return result;
}

/* The same for the exception that is set. */
static int take_error(Task *self) {
  if (self->phase == CUT_OFF || self->ending || is_stopped(self->store) || self->kind->answer_error(self) < 0) return -1;
  if (task_check_chain(self) < 0) return -1;
  while (self->store->top != self) leave_chain(self->store->top, CUT_OFF);
  note_answer(self);
  return 0;
}

Serving task_serve(Task *self) {
  Store *store = self->store;
  Serving before = {store->serving, store->owner};
  store->serving = self;
  store->owner = this_thread();
  return before;
}

void task_served(Task *self, Serving before) {
  Store *store = self->store;
  if (store->serving != self) return; /* another greenlet has left one of its own there */
  store->serving = self->phase == CUT_OFF ? NULL : before.task;
  if (store->serving != NULL) store->owner = before.owner;
}

/* Calls the host function that the guest has called, and drives it as far as it goes: PYGEN_NEXT with what it yields in `out`,
 * PYGEN_RETURN with the answer taken, or PYGEN_ERROR with an exception set. */
static PySendResult serve_guest(Task *self, PyObject **out) {
  if (self->store->garbage != NULL) release_garbage(self->store);
  Serving before = task_serve(self);
  PySendResult result = PYGEN_RETURN;
  PyObject *value = self->kind->call_host(self);
  if (value != NULL && (self->awaits || PyCoro_CheckExact(value))) {
    self->awaited = await_on(self, value);
    Py_SETREF(value, NULL);
    result = self->awaited == NULL ? PYGEN_ERROR : PyIter_Send(self->awaited, Py_None, &value);
  }
  task_served(self, before);
  if (result == PYGEN_NEXT) {
    *out = value;
    return PYGEN_NEXT;
  }
  int taken = value == NULL || result == PYGEN_ERROR ? take_error(self) : take_answer(self, value);
  return taken < 0 ? PYGEN_ERROR : PYGEN_RETURN;
}

/* ---- sending ---- */

PySendResult task_fail(Task *self) {
  if (self->ending) { /* the loop may have cancelled because we asked: if so, the call's own reason is raised */
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
  if (PyErr_ExceptionMatches(PyExc_StopIteration)) { /* the awaiting coroutine would take it for the result */
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
  PyObject *value = self->result == WRT_OK || self->refused ? self->kind->result(self)
                                                            : raise_failure(store, self->result, &self->failure);
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
  if (task_check_chain(self) < 0) {
    Py_CLEAR(*out);
    return task_fail(self);
  }
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

/* Polls the chain. `rested`: the loop had its turn since the last poll. */
static void poll(Task *self, bool rested) {
  Store *store = self->store;
  self->result = WRT_ERROR; /* in case the outer tasks do not get to run it */
  self->failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
  store->owner = this_thread();
  store->depth = 1;
  thread_calls++;
  __atomic_store_n(&ticker_calls, ticker_calls + 1, __ATOMIC_RELAXED);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  if (UNLIKELY(__atomic_load_n(&ticker_asleep, __ATOMIC_RELAXED))) ticker_wake();
  store->rested = rested;
  task_step(store->first);
  thread_calls--;
  __atomic_store_n(&ticker_calls, ticker_calls - 1, __ATOMIC_RELAXED);
  store->depth = 0;
}

PySendResult task_go_on(Task *self, PyObject **out) {
  for (bool rested = true;; rested = false) {
    if (UNLIKELY(thread_calls != 0) && greenlet_check(self->store) < 0) return task_fail(self);
    if (task_check_chain(self) < 0 || check_stopped(self->store) < 0) return task_fail(self);
    self->phase = RUNNING;
    poll(self, rested);
    if (self->refused && self->values != NULL)
      exception_refuse(self->values);
    else if (self->refused && self->host != NULL && self->answer != NULL)
      refuse_result(self->host, self->answer);
    Py_CLEAR(self->answer);
    Py_CLEAR(self->values);
    if (self->result != WRT_PENDING) return end(self, out);
    if (self->host == NULL) {
      /* What is raised now would else come out within the event loop, which would never go on with this task. */
      if (UNLIKELY(let_others_run(self->store) < 0)) return task_fail(self);
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
  if ((result == PYGEN_ERROR ? take_error(self) : take_answer(self, value)) < 0) return task_fail(self);
  return task_go_on(self, out);
}
