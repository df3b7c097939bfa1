/* awaitable.c: a task (task.c) as Python meets it: an object with the methods of a coroutine, to be awaited once. */
#include "task.h"

/* Whether no call that a host function of this one has made is running, resumed from elsewhere: 0, or -1 with an exception
 * set. */
static int check_inner(Task *self) {
  for (Task *each = self->inner; each != NULL; each = each->inner) {
    if (each->phase != RUNNING) continue;
    PyErr_SetString(PyExc_ValueError, "a call that a host function of this one has made is running");
    return -1;
  }
  return 0;
}

/* Whether the task can be resumed: 0, or -1 with an exception set. */
static int check_resumable(Task *self) {
  switch (self->phase) {
    case RUNNING: PyErr_SetString(PyExc_ValueError, "this call is running already"); return -1;
    case ENDED: PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited call"); return -1;
    case CUT_OFF: return task_check_chain(self);
    case BEGUN_NEVER: return 0;
    default: break;
  }
  if (self->store->serving == NULL || self->store->owner == this_thread()) return check_inner(self);
  PyErr_SetString(self->store->state->busy_error,
                  "the store is running a call on another thread; give each thread a store of its own");
  return -1;
}

/* The calls whose host functions have made this one, as a tuple, a new reference: nobody may free them while this one runs, as
 * that would end it. None where there are none; NULL without memory. */
static PyObject *outer_calls(Task *self) {
  if (LIKELY(self->outer == NULL)) return Py_NewRef(Py_None);
  Py_ssize_t count = 0;
  for (Task *each = self->outer; each != NULL; each = each->outer) count++;
  PyObject *all = PyTuple_New(count);
  if (all == NULL) return NULL;
  for (Task *each = self->outer; each != NULL; each = each->outer)
    PyTuple_SET_ITEM(all, --count, Py_NewRef((PyObject *)each));
  return all;
}

/* Goes on with a task that has begun. */
static PySendResult resume(Task *self, PyObject *sent, PyObject **out) {
  if (self->phase != WAITING) return task_go_on(self, out);
  self->phase = RUNNING;
  PyObject *value = NULL;
  Serving before = task_serve(self);
  PySendResult result = PyIter_Send(self->awaited, sent, &value);
  task_served(self, before);
  return task_driven(self, result, value, out);
}

static PySendResult Task_send(PyObject *object, PyObject *sent, PyObject **out) {
  Task *self = (Task *)object;
  *out = NULL;
  if (check_resumable(self) < 0) return PYGEN_ERROR;
  if (UNLIKELY(thread_calls != 0) && greenlet_check(self->store) < 0) return PYGEN_ERROR; /* and can be resumed later */
  if (self->phase == BEGUN_NEVER && task_enter(self) < 0) {
    self->phase = ENDED;
    return PYGEN_ERROR;
  }
  PyObject *outer = outer_calls(self);
  PySendResult result = outer == NULL ? task_fail(self) : resume(self, sent, out);
  Py_XDECREF(outer);
  return result;
}

/* What a generator's method gives for the outcome: the value yielded, or StopIteration with the one returned. */
static PyObject *as_method(PySendResult result, PyObject *value) {
  if (result != PYGEN_RETURN) return value;
  PyObject *stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, value, NULL);
  Py_DECREF(value);
  if (stop != NULL) {
    PyErr_SetObject(PyExc_StopIteration, stop);
    Py_DECREF(stop);
  }
  return NULL;
}

static PyObject *Task_method_send(PyObject *object, PyObject *sent) {
  PyObject *out;
  PySendResult result = Task_send(object, sent, &out);
  return as_method(result, out);
}

static PyObject *Task_next(PyObject *object) { return Task_method_send(object, Py_None); }

/* Sets the exception that throw(type, value=None, traceback=None) is given: always -1. */
static int set_thrown(PyObject *args) {
  PyObject *type, *value = NULL, *traceback = NULL;
  if (!PyArg_ParseTuple(args, "O|OO:throw", &type, &value, &traceback)) return -1;
  PyObject *error = PyExceptionInstance_Check(type) ? type : value;
  if (traceback != NULL && PyTraceBack_Check(traceback) && error != NULL && PyExceptionInstance_Check(error))
    PyException_SetTraceback(error, traceback);
  if (PyExceptionInstance_Check(type)) {
    PyErr_SetObject(PyExceptionInstance_Class(type), type);
  } else if (PyExceptionClass_Check(type)) {
    PyErr_SetObject(type, value == NULL ? Py_None : value);
  } else {
    PyErr_Format(PyExc_TypeError, "exceptions must be classes or instances deriving from BaseException, not %.200s",
                 Py_TYPE(type)->tp_name);
  }
  return -1;
}

/* The outcome of the driven coroutine's method `throw`, as PyIter_Send tells it. */
static PySendResult throw_into(Task *self, PyObject *args, PyObject **value) {
  PyObject *method = PyObject_GetAttrString(self->awaited, "throw");
  if (method == NULL) { /* an iterator without that method: it is over */
    if (PyErr_ExceptionMatches(PyExc_AttributeError)) set_thrown(args);
    return PYGEN_ERROR;
  }
  Serving before = task_serve(self);
  *value = PyObject_CallObject(method, args);
  task_served(self, before);
  Py_DECREF(method);
  if (*value != NULL) return PYGEN_NEXT;
  if (!PyErr_ExceptionMatches(PyExc_StopIteration)) return PYGEN_ERROR;
  PyObject *type, *stop, *traceback;
  PyErr_Fetch(&type, &stop, &traceback);
  PyErr_NormalizeException(&type, &stop, &traceback);
  *value = PyObject_GetAttrString(stop, "value");
  Py_XDECREF(type);
  Py_XDECREF(stop);
  Py_XDECREF(traceback);
  return *value == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PyObject *Task_throw(PyObject *object, PyObject *args) {
  Task *self = (Task *)object;
  PyObject *value = NULL, *out = NULL;
  if (check_resumable(self) < 0) return NULL;
  if (self->phase == BEGUN_NEVER) {
    self->phase = ENDED;
    set_thrown(args);
    return NULL;
  }
  if (self->phase == TICKED) {
    set_thrown(args);
    task_fail(self);
    return NULL;
  }
  PyObject *outer = outer_calls(self);
  if (outer == NULL) return NULL;
  self->phase = RUNNING;
  PySendResult result = throw_into(self, args, &value);
  result = task_driven(self, result, value, &out);
  Py_DECREF(outer);
  return as_method(result, out);
}

/* Closes the coroutine that the guest waits for, and unwinds the guest: 0, or -1 with an exception set. */
static int close_task(Task *self) {
  if (self->phase == RUNNING) return check_resumable(self);
  PyObject *outer = check_inner(self) < 0 ? NULL : outer_calls(self);
  if (outer == NULL) return -1;
  int result = 0;
  if (self->phase == WAITING) {
    self->phase = RUNNING;
    Serving before = task_serve(self);
    PyObject *closed = PyObject_CallMethod(self->awaited, "close", NULL);
    task_served(self, before);
    if (closed == NULL) {
      if (PyErr_ExceptionMatches(PyExc_AttributeError) && !PyObject_HasAttrString(self->awaited, "close"))
        PyErr_Clear();
      else
        result = -1;
    }
    Py_XDECREF(closed);
    if (self->phase == RUNNING) self->phase = WAITING; /* else it was cut off meanwhile */
  }
  if (self->phase == WAITING || self->phase == TICKED) task_finish(self);
  self->phase = ENDED;
  Py_DECREF(outer);
  return result;
}

static PyObject *Task_close(PyObject *object, PyObject *unused) {
  (void)unused;
  return close_task((Task *)object) < 0 ? NULL : Py_NewRef(Py_None);
}

/* _expire() -> bool: ends the wait, on the thread of the loop, if there is one that has to end; false where it is too early */
static PyObject *Task_expire(PyObject *object, PyObject *unused) {
  (void)unused;
  Task *self = (Task *)object;
  if (self->phase != WAITING || self->store->top != self) Py_RETURN_TRUE; /* it looks whether it has to end when it goes on */
  if (!is_stopped(self->store)) Py_RETURN_FALSE;
  task_end_wait(self);
  Py_RETURN_TRUE;
}

void tasks_stopped(Store *store) {
  Task *top = store->top;
  if (top->phase != WAITING || top->wait == NULL) return; /* it will look itself whether it has to end */
  PyObject *told = PyObject_CallMethod(top->wait, "soon", NULL);
  if (told == NULL) PyErr_WriteUnraisable((PyObject *)top);
  Py_XDECREF(told);
}

/* ---- the object ---- */

Task *task_new(Store *store, const TaskKind *kind, PyObject *name) {
  Task *self = (Task *)store->state->task_type->tp_alloc(store->state->task_type, 0);
  if (self == NULL) return NULL;
  self->kind = kind;
  self->store = (Store *)Py_NewRef(store);
  self->name = Py_XNewRef(name);
  self->slots = self->few;
  return self;
}

static PyObject *Task_repr(PyObject *object) {
  static const char *const phases[] = {"not begun", "running", "suspended at a tick", "waiting", "ended", "cut off"};
  Task *self = (Task *)object;
  return self->name == NULL ? PyUnicode_FromFormat("<Task instantiation (%s)>", phases[self->phase])
                            : PyUnicode_FromFormat("<Task %U (%s)>", self->name, phases[self->phase]);
}

static int Task_traverse(PyObject *object, visitproc visit, void *arg) {
  Task *self = (Task *)object;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->store);
  Py_VISIT(self->wait);
  Py_VISIT(self->awaited);
  Py_VISIT(self->answer);
  Py_VISIT(self->values);
  return self->kind == NULL ? 0 : self->kind->traverse(self, visit, arg);
}

/* Nobody will resume the task: the coroutine's finally blocks run, and the guest is unwound. */
static void Task_finalize(PyObject *object) {
  Task *self = (Task *)object;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (close_task(self) < 0) PyErr_WriteUnraisable(object);
  PyErr_Restore(type, value, traceback);
}

static int Task_clear(PyObject *object) {
  Task *self = (Task *)object;
  if (self->phase == WAITING || self->phase == TICKED) task_finish(self); /* for what began after finalization */
  task_forget_host(self);
  self->kind->free(self);
  Py_CLEAR(self->wait);
  return 0;
}

static void Task_dealloc(PyObject *object) {
  PyTypeObject *type = Py_TYPE(object);
  Task *self = (Task *)object;
  if (PyObject_CallFinalizerFromDealloc(object) < 0) return;
  PyObject_GC_UnTrack(object);
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  Task_clear(object);
  Py_XDECREF(self->name);
  Py_DECREF(self->store);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyMethodDef task_methods[] = {
    {"send", Task_method_send, METH_O, "send($self, value, /)\n--\n\nGo on with the call, as a coroutine's send does."},
    {"throw", Task_throw, METH_VARARGS, "throw($self, /, *exception)\n--\n\nRaise an exception where the guest waits."},
    {"close", Task_close, METH_NOARGS, "close($self, /)\n--\n\nEnd the call: unwind the guest."},
    {"_expire", Task_expire, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef task_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Task, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot task_slots[] = {
    {Py_tp_doc, "A call that can be suspended: await it, once. Made by call_async, in an asynchronous store."},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, Task_send},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, Task_next},
    {Py_tp_methods, task_methods},
    {Py_tp_members, task_members},
    {Py_tp_repr, Task_repr},
    {Py_tp_traverse, Task_traverse},
    {Py_tp_clear, Task_clear},
    {Py_tp_finalize, Task_finalize},
    {Py_tp_dealloc, Task_dealloc},
    {0, NULL},
};

PyType_Spec task_spec = {
    .name = "pywasmrt._shim._fastcall.Task",
    .basicsize = sizeof(Task),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = task_slots,
};
