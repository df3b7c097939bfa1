/* gil.c: what a running call does at a poll: releases the GIL, reacquires it, and ends when it is told to. */
#include "fastcall.h"

#include <sched.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

/* Polls between two looks for signals, by a call on the main thread that has released the GIL. */
enum { POLLS_PER_SIGNAL_CHECK = 10 };

PER_THREAD HostFrame *host_frames;

/* ---- the GIL ---- */

unsigned gil_released_calls;

void gil_release(Store *store) {
  gil_released_calls++;
  store->released = PyThreadState_Get(); /* before the GIL is released: the next thread to hold it must find this */
  PyEval_SaveThread();
}

void gil_retake(Store *store) {
  PyEval_RestoreThread(store->released);
  gil_released_calls--;
  store->released = NULL;
}

_Noreturn void exit_guard_sleep(void) {
  for (;;) pause();
}

int park(Store *store) {
  PyErr_Fetch(&store->parked[0], &store->parked[1], &store->parked[2]);
  return WRT_HOST;
}

/* ---- the end of a call before its own ---- */

bool is_stopped(Store *store) {
  return __atomic_load_n(&store->closed, __ATOMIC_RELAXED) || __atomic_load_n(&store->stopped, __ATOMIC_RELAXED) ||
         (store->deadline != 0 && monotonic_ns() >= store->deadline);
}

static int raise_stopped(Store *store) {
  if (store->closed)
    PyErr_SetString(store->state->closed_error, "the store was closed during this call");
  else if (store->stop_error != NULL)
    PyErr_SetObject((PyObject *)Py_TYPE(store->stop_error), store->stop_error);
  else if (store->stopped)
    PyErr_SetString(store->state->interrupted, "the call was stopped by interrupt()");
  else
    PyErr_SetString(store->state->deadline_exceeded, "the call reached its deadline");
  return -1;
}

/* The store on this thread whose call has to end, or NULL: `store`, or one whose host function called into it. May be used
 * within a call, which begins only in the greenlet of those host functions, or where greenlet_is_here. */
static Store *find_stopped(Store *store) {
  if (is_stopped(store)) return store;
  for (HostFrame *frame = host_frames; frame != NULL; frame = frame->outer)
    if (is_stopped(frame->store)) return frame->store;
  return NULL;
}

int check_stopped(Store *store) { return is_stopped(store) ? raise_stopped(store) : 0; }

int64_t running_until(Store *store) {
  if (is_stopped(store)) return 1; /* long ago */
  int64_t until = store->deadline;
  if (!greenlet_is_here()) return until; /* of an asynchronous store, while the calls further out wait */
  if (find_stopped(store) != NULL) return 1;
  for (HostFrame *frame = host_frames; frame != NULL; frame = frame->outer)
    if (until == 0 || (frame->store->deadline != 0 && frame->store->deadline < until)) until = frame->store->deadline;
  return until;
}

static bool on_main_thread(void) {
#ifdef __linux__
  return getpid() == (pid_t)syscall(SYS_gettid);
#else
  return _PyOS_IsMainThread();
#endif
}

/* The interpreter frees the states of all other threads when it ends. Threads that read theirs without the GIL are counted, and
 * none begins to once leave_threads was called, which waits for those that do. */
static unsigned state_readers;
static bool states_left;

void leave_threads(void) {
  __atomic_store_n(&states_left, true, __ATOMIC_SEQ_CST);
  /* Reading takes no time. After a fork one may be counted that is not in this process: hence the limit. */
  int64_t end = monotonic_ns() + 100000000;
  while (__atomic_load_n(&state_readers, __ATOMIC_SEQ_CST) != 0 && monotonic_ns() < end) sched_yield();
}

static bool has_exception(PyThreadState *thread) { return __atomic_load_n(&thread->async_exc, __ATOMIC_RELAXED) != NULL; }

/* Whether an exception was set for this thread from outside (PyThreadState_SetAsyncExc). With the GIL or without, as only this
 * thread takes it. */
static bool exception_waits(Store *store) {
  if (store->released == NULL) return has_exception(PyThreadState_Get());
  __atomic_fetch_add(&state_readers, 1, __ATOMIC_SEQ_CST);
  bool waits = !__atomic_load_n(&states_left, __ATOMIC_SEQ_CST) && has_exception(store->released);
  __atomic_fetch_sub(&state_readers, 1, __ATOMIC_SEQ_CST);
  return waits;
}

/* Raises it: -1 with an exception set, or 0 where there is none any more. Only Python's own evaluation loop takes it and notes
 * that it has, so a function in Python is called. */
static int take_exception(Store *store) {
  PyObject *nothing = PyObject_CallNoArgs(store->state->run_pending);
  Py_XDECREF(nothing);
  return nothing == NULL ? -1 : 0;
}

int let_others_run(Store *store) { return take_exception(store); }

int poll_python(void *env) {
  Store *store = env;
  if (UNLIKELY(__atomic_load_n(&store->profile, __ATOMIC_ACQUIRE) != NULL)) profile_poll(store);
  if (store->polled != NULL) return WRT_PENDING; /* the task does the rest, off the guest's stack */
  Store *stopped = find_stopped(store);
  unsigned polls = ++store->polls;
  int result = WRT_OK;
  EXIT_GUARD(guard);
  bool begun = polls > 1 || stopped != NULL; /* if not, the tick came just after the call began */
  bool waits = component_output_waits(store);
  bool thrown = exception_waits(store);
  bool look = stopped != NULL || waits || thrown || (polls % POLLS_PER_SIGNAL_CHECK == 0 && on_main_thread());
  if (store->released != NULL && look) gil_retake(store);
  if (store->released == NULL && begun) {
    if (stopped != NULL) {
      raise_stopped(stopped);
      result = park(store);
    } else {
      /* A signal handler is part of the call, as a host function is. */
      HostFrame frame;
      host_begin(&frame, store);
      int signalled = PyErr_CheckSignals();
      if (signalled == 0 && waits) signalled = component_drain(store);
      if (signalled == 0 && thrown) signalled = take_exception(store);
      host_end(&frame);
      if (UNLIKELY(__atomic_load_n(&ticker_asleep, __ATOMIC_RELAXED))) ticker_wake(); /* it forked, as in call_python */
      if (signalled < 0)
        result = park(store);
      else
        gil_release(store);
    }
  }
  guard.armed = false;
  return result;
}

/* ---- deadlines ---- */

static int64_t earlier(int64_t one, int64_t other) {
  if (one == 0 || other == 0) return one + other;
  return one < other ? one : other;
}

int begin_timed(Store *store) {
  if (store->stop_error != NULL) return raise_stopped(store);
  int64_t now = monotonic_ns();
  store->call_deadline = store->timeout == 0 ? 0 : now + store->timeout;
  store->deadline = earlier(store->call_deadline, store->block_deadline);
  if (now < store->deadline) return 0;
  store->deadline = 0; /* no call begins, so none has a deadline */
  PyErr_SetString(store->state->deadline_exceeded, "the deadline had passed before the call began");
  if (store->watchers != NULL) tell_watchers(store); /* whether it passes before or in the call is a matter of chance */
  return -1;
}

void set_deadline(Store *store, int64_t until) {
  store->block_deadline = until;
  store->timed = until != 0 || store->timeout != 0 || store->stop_error != NULL;
  if (store->depth != 0) store->deadline = earlier(store->call_deadline, until);
}
