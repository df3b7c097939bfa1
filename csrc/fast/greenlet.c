/* greenlet.c: greenlets. Several of them share a thread's stack; each has its own part of it while it runs.
 *
 * An engine returns from calls in the order in which they were made, the last one first. A greenlet that is switched inside a
 * host function leaves its call where it is, and another one could make a call on top of it and be switched in turn; then the
 * first would return before the second, and the engine would end the process. So a call is refused while a host function of
 * another greenlet of the thread has not returned. Guests of asynchronous stores that can be suspended are not on the thread's
 * stack while their host functions run: there greenlets may be switched. But these guests are on that stack while they are
 * polled, so a task is not polled either on top of a call that another greenlet has left in a host function.
 *
 * A greenlet is identified by its address alone, which is unique while it runs.
 */
#include "fastcall.h"

/* The function in greenlet's capsule, by its header. */
enum { GET_CURRENT = 4 };

bool greenlets_loaded;
PER_THREAD const void *host_greenlet;
static PyObject *(*get_current)(void);

void greenlets_look(void) {
  if (greenlets_loaded) return;
  PyObject *modules = PyImport_GetModuleDict();
  if (PyDict_GetItemString(modules, "greenlet._greenlet") == NULL) return;
  void **functions = PyCapsule_Import("greenlet._C_API", 0);
  if (functions == NULL) {
    PyErr_Clear(); /* another version of greenlet than we know */
    return;
  }
  *(void **)&get_current = functions[GET_CURRENT]; /* POSIX allows reading a function pointer this way */
  greenlets_loaded = true;
}

const void *greenlet_here(void) {
  PyObject *current = get_current();
  if (current == NULL) PyErr_Clear();
  Py_XDECREF(current); /* it runs, so it stays alive */
  return current;
}

bool greenlet_is_here(void) {
  if (host_frames == NULL) return true;
  greenlets_look();
  /* A host function that was called before greenlets were loaded may run in any of them: NULL is no greenlet's address. */
  return !greenlets_loaded || host_greenlet == greenlet_here();
}

int greenlet_check(Store *store) {
  if (greenlet_is_here()) return 0;
  PyErr_SetString(store->state->busy_error,
                  "another greenlet of this thread is inside a host function, and its guest has to return first; "
                  "instantiate_async makes stores in which greenlets may be switched");
  return -1;
}
