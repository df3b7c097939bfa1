/* host.h: the Caller, and how a host function's arguments and results pass, inlined into the calls: host.c, task.c. */
#ifndef WRT_FAST_HOST_H
#define WRT_FAST_HOST_H

#include "values.h" /* first: Python.h sets what the system headers offer */

typedef struct Caller {
  PyObject_HEAD
  Store *store;       /* owned */
  wrt_caller *native; /* borrowed; NULL once the host function has returned */
  PyObject *context;  /* owned: the adapter's */
} Caller;

/* host.c */

/* A new Caller, alive until its `native` is cleared; NULL with an exception set. */
PyObject *caller_new(HostCallable *self, wrt_caller *native);
/* The callable returned something that does not fit its signature: -1 with an exception set. */
int refuse_result(HostCallable *self, PyObject *value);

/* Turns numbers of other kinds, in what the callable returned, into ints and floats. Steals that reference and returns a new
 * one, or NULL with an exception set. Runs the numbers' own code. */
PyObject *converted_result(HostCallable *self, PyObject *value);
/* Whether a number is wanted where there is neither an int nor a float; several results are in a tuple. */
bool has_odd_number(HostCallable *self, PyObject *value);

static inline bool is_odd_number(uint8_t type, PyObject *value) {
  return type <= WRT_F64 && !PyLong_Check(value) && !PyFloat_Check(value);
}

/* Whether several results may come in `value`, as values.py has it: a tuple or list, also of a subclass. What counts is what
 * iterating over it gives. */
static inline bool holds_results(PyObject *value) { return PyTuple_Check(value) || PyList_Check(value); }

/* Puts what the callable returned into the slots; -1, with or without an exception set, where it does not fit. */
static inline int encode_results(HostCallable *self, PyObject *value, wrt_slot *slots) {
  const uint8_t *types = self->import->types + self->import->param_count;
  if (LIKELY(self->import->result_count == 1)) {
    return UNLIKELY(types[0] >= WRT_EXTERNREF) ? encode_refs(self->store, types, &value, 1, slots)
                                               : encode(self->store, types[0], value, slots);
  }
  if (self->import->result_count == 0) return LIKELY(value == Py_None) ? 0 : -1;
  if (!holds_results(value)) return -1;
  PyObject *fixed = PySequence_Tuple(value); /* a list could change under our hands */
  if (fixed == NULL) return -1;
  int result = (size_t)PyTuple_GET_SIZE(fixed) == self->import->result_count
                   ? encode_refs(self->store, types, &PyTuple_GET_ITEM(fixed, 0), self->import->result_count, slots)
                   : -1;
  Py_DECREF(fixed);
  return result;
}

/* Fills args[0..count) with new references from the slots, after take_refs; false, nothing owned, with an exception set. */
static inline bool decode_arguments(HostCallable *self, PyObject **args, wrt_slot *slots) {
  size_t step = self->store->ops->slot_words;
  for (size_t i = 0; i < self->import->param_count; i++) {
    args[i] = decode(self->store, self->import->types[i], slots + i * step);
    if (UNLIKELY(args[i] == NULL)) {
      while (i-- > 0) Py_DECREF(args[i]);
      drop_refs(self->store, self->import->types, self->import->param_count, slots);
      return false;
    }
  }
  return true;
}

#endif
