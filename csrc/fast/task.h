/* task.h: a call that can be suspended: what task.c, which runs it, and awaitable.c, which shows it to Python, share. */
#ifndef WRT_FAST_TASK_H
#define WRT_FAST_TASK_H

#include "host.h" /* first: Python.h sets what the system headers offer */

typedef enum { BEGUN_NEVER, RUNNING, TICKED, WAITING, ENDED, CUT_OFF } Phase;

struct Task {
  PyObject_HEAD
  Store *store;       /* owned */
  Function *function; /* owned; NULL for an instantiation */
  PyObject *args;     /* owned: a tuple; NULL likewise */
  Linked *linked;     /* owned: of an instantiation */
  wrt_extern *imports; /* owned: what serves its imports */
  wrt_instance instance;
  Phase phase;
  Task *outer;      /* in the store's chain: the task whose host function made this call */
  Task *inner;      /* the call that a host function of this one made */
  wrt_task *native; /* owned; NULL until the guest first runs */
  int result;       /* of the last poll */
  wrt_failure failure;
  int64_t deadline; /* in ns of the monotonic clock; 0 for none */
  PyObject *wait;   /* owned: the Wait that can end the wait (pywasmrt/_shim/waiting.py); NULL before the first */
  bool ending;      /* it was told to */
  /* The host function that the guest has called; `host` is NULL while there is none. */
  HostCallable *host;  /* borrowed: the store keeps it */
  wrt_slot *arguments; /* the engine's: the arguments, then the results */
  wrt_caller *native_caller;
  Caller *caller;       /* owned, or NULL */
  PyObject *awaited;    /* owned: the iterator that is driven; NULL without one */
  PyObject *answer;     /* owned: what it returned, if that goes into the slots on the guest's stack */
  bool answered;        /* the slots hold the results, or `answer` does */
  PyObject *values;     /* owned: `answer` is an exception to throw into the guest, with these; NULL where it is not */
  wrt_extern tag;       /* of that exception */
  bool refused;         /* the answer did not fit */
  PyObject *weakrefs;
  wrt_slot *slots; /* owned unless `few` */
  wrt_slot few[8];
};

/* task.c. A PySendResult comes with what was yielded or returned in `out`, or with an exception set, as of PyIter_Send. */

/* Puts a new task on top of its store's chain, with its arguments in their slots: 0, or -1 with an exception set. */
int task_enter(Task *self);
/* Goes on until the guest ends or waits. */
PySendResult task_go_on(Task *self, PyObject **out);
/* Takes what came of driving the coroutine that the guest waits for, `result` and `value`, and goes on. */
PySendResult task_driven(Task *self, PySendResult result, PyObject *value, PyObject **out);
/* Ends the task with the exception that is set. Always PYGEN_ERROR. */
PySendResult task_fail(Task *self);
/* Ends the task, which has begun, and with it the calls that its host functions have made and not ended. May run Python code;
 * an exception that is set stays so. */
void task_finish(Task *self);
/* Has the calls into the store that follow, on this thread, be the chain's, until the store's `serving` is set back to what
 * this returns. */
Task *task_serve(Task *self);
/* Has the wait end, which has to end before its own: whoever awaits the task is cancelled. */
void task_end_wait(Task *self);
/* Releases what belongs to the host function that the guest has called. */
void task_forget_host(Task *self);

#endif
