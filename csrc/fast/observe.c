/* observe.c: replacing the callables of a store's host functions for as long as their calls are observed.
 *
 * A host function's record (HostCallable) names the callable that its guests reach. Observing replaces that callable, so that
 * calls which are not observed cost nothing extra. A callable that is taken out may be running further out on the stack, so it
 * is kept until no call runs in the store.
 */
#include "fastcall.h"

/* The stand-in for one host function, made by `make`: a new reference, or NULL with an exception set. */
static PyObject *stand_in(HostBlock *block, size_t at, PyObject *make) {
  HostCallable *host = &block->each[at];
  PyObject *original = PyTuple_GET_ITEM(block->originals, (Py_ssize_t)at);
  if (make == NULL) return Py_NewRef(original);
  return PyObject_CallFunction(make, "OnOOO", block->context, (Py_ssize_t)linked_import_of(block->linked, host->import),
                               original, host->import->caller_class != NULL ? Py_True : Py_False,
                               host->import->awaits ? Py_True : Py_False);
}

/* Keeps the callables of the block that may be running. */
static int keep_running(Store *store, HostBlock *block) {
  if (store->depth <= 1) { /* the one is this */
    Py_CLEAR(block->replaced);
    return 0;
  }
  if (block->replaced == NULL && (block->replaced = PyList_New(0)) == NULL) return -1;
  for (size_t i = 0; i < block->count; i++)
    if (PyList_Append(block->replaced, block->each[i].callable) < 0) return -1;
  return 0;
}

int block_observe(Store *store, HostBlock *block, PyObject *make) {
  PyObject *made = PyTuple_New((Py_ssize_t)block->count);
  if (made == NULL) return -1;
  Py_XINCREF(make); /* calling it may make the store release it */
  for (size_t i = 0; i < block->count; i++) {
    PyObject *each = stand_in(block, i, make);
    if (each == NULL) {
      Py_XDECREF(make);
      Py_DECREF(made);
      return -1;
    }
    PyTuple_SET_ITEM(made, (Py_ssize_t)i, each);
  }
  Py_XDECREF(make);
  int result = keep_running(store, block);
  for (size_t i = 0; result == 0 && i < block->count; i++) {
    PyObject *before = block->each[i].callable;
    block->each[i].callable = Py_NewRef(PyTuple_GET_ITEM(made, (Py_ssize_t)i));
    Py_DECREF(before);
  }
  Py_DECREF(made);
  return result;
}

PyObject *store_observe(PyObject *object, PyObject *make) {
  Store *self = (Store *)object;
  if (store_check(self) < 0) return NULL;
  PyObject *observer = make == Py_None ? NULL : Py_NewRef(make);
  Py_XSETREF(self->observer, observer);
  if (self->depth == 0) self->owner = this_thread();
  self->depth++; /* Python code that runs here cannot free the store, and no other thread can enter it */
  int result = 0;
  for (HostBlock *block = self->blocks; block != NULL && result == 0; block = block->next)
    result = block_observe(self, block, self->observer);
  if (--self->depth == 0) store_settle(self);
  return result < 0 ? NULL : Py_NewRef(Py_None);
}
