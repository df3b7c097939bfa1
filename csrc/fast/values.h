/* values.h: Python values to slots and back, inlined into the calls.
 *
 * References need two steps each way, as the engine may move or drop a raw reference whenever something else is made in the
 * store: outwards, every one is first rooted and then put into its slot; inwards, every one is first turned into the object
 * behind it. Neither step runs Python code.
 */
#ifndef WRT_FAST_VALUES_H
#define WRT_FAST_VALUES_H

#include "fastcall.h" /* first: Python.h sets what the system headers offer */

#include <string.h>

/* Keeps `object` alive until host_ref_finalize, and then until the store releases its garbage; NULL with an exception set. */
static inline HostRef *host_ref_new(Store *store, PyObject *object) {
  HostRef *ref = PyMem_Malloc(sizeof *ref);
  if (ref == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  *ref = (HostRef){.next = store->refs, .link = &store->refs, .store = store, .object = Py_NewRef(object)};
  if (ref->next != NULL) ref->next->link = &ref->next;
  store->refs = ref;
  return ref;
}

/* Finalises a reference, called by the engine or in its place. */
static void host_ref_finalize(void *data) {
  HostRef *ref = data;
  if (ref->dead) return;
  ref->dead = true;
  ref->next_dead = ref->store->garbage;
  ref->store->garbage = ref;
}

/* Roots `object` (not None) for the guests of `store`; -1 with an exception set. */
static inline int root_object(Store *store, PyObject *object, wrt_ref *out) {
  if (UNLIKELY(Py_IS_TYPE(object, store->state->reference_type))) return root_reference(store, object, out);
  if (UNLIKELY(store->first != NULL && store->polled == NULL)) { /* the engine would not see what its stack holds */
    PyErr_SetString(store->state->busy_error, "a guest of this store is waiting; until it goes on, no object can be handed "
                                              "to the store but as the result that it waits for");
    return -1;
  }
  if (++store->ref_count >= REFS_PER_COLLECTION) {
    store->ref_count = 0;
    store->ops->collect(store->native);
  }
  HostRef *ref = host_ref_new(store, object);
  if (ref == NULL) return -1;
  wrt_failure failure;
  int result = store->ops->ref_new(store->native, ref, host_ref_finalize, out, &failure);
  if (result == WRT_OK) return 0;
  host_ref_finalize(ref); /* released with the rest, when the call chain has unwound */
  raise_failure(store, result, &failure);
  return -1;
}

/* Reads an int (PyLong_Check holds) of up to 64 signed bits; false if it has more. Most are one digit long. */
static inline bool read_int(PyObject *value, int64_t *out) {
#if PY_VERSION_HEX >= 0x030C0000
  if (LIKELY(PyUnstable_Long_IsCompact((PyLongObject *)value))) {
    *out = PyUnstable_Long_CompactValue((PyLongObject *)value);
    return true;
  }
#else
  Py_ssize_t size = Py_SIZE(value);
  if (LIKELY(size >= -1 && size <= 1)) {
    *out = size == 0 ? 0 : (int64_t)size * ((PyLongObject *)value)->ob_digit[0];
    return true;
  }
#endif
  int overflow;
  *out = PyLong_AsLongLongAndOverflow(value, &overflow);
  return overflow == 0;
}

/* The f64 of an f32, and the f32 of an f64. A NaN keeps its sign, its payload and whether it signals, as far as an f32 has
 * bits for them; a conversion by the processor would make every signaling NaN a quiet one. */
static inline double widen(float value) {
  if (LIKELY(value == value)) return value;
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint64_t wide = (uint64_t)(bits & 0x80000000) << 32 | 0x7ff0000000000000 | (uint64_t)(bits & 0x7fffff) << 29;
  double result;
  memcpy(&result, &wide, sizeof result);
  return result;
}

static inline float narrow(double value) {
  if (LIKELY(value == value)) return (float)value;
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint32_t payload = (uint32_t)(bits >> 29) & 0x7fffff;
  if (payload == 0) payload = 0x400000; /* what is left would be an infinity */
  uint32_t small = (uint32_t)(bits >> 32 & 0x80000000) | 0x7f800000 | payload;
  float result;
  memcpy(&result, &small, sizeof result);
  return result;
}

/* Writes a value that is not an externref into its slot. -1 if it does not fit `type`, with or without an exception set. */
static inline int encode(Store *store, uint8_t type, PyObject *value, wrt_slot *slot) {
  switch (type) {
    case WRT_I32: {
      int64_t number;
      if (UNLIKELY(!PyLong_Check(value) || !read_int(value, &number) || number < INT32_MIN || number > UINT32_MAX))
        return -1;
      slot->u64 = (uint32_t)number;
      return 0;
    }
    case WRT_I64: {
      if (UNLIKELY(!PyLong_Check(value))) return -1;
      if (LIKELY(read_int(value, &slot->i64))) return 0;
      slot->u64 = PyLong_AsUnsignedLongLong(value);
      if (slot->u64 != UINT64_MAX || !PyErr_Occurred()) return 0;
      PyErr_Clear();
      return -1;
    }
    case WRT_F32:
    case WRT_F64: {
      double number;
      if (LIKELY(PyFloat_Check(value))) {
        number = PyFloat_AS_DOUBLE(value);
      } else {
        if (!PyLong_Check(value)) return -1;
        number = PyLong_AsDouble(value);
        if (UNLIKELY(number == -1.0 && PyErr_Occurred())) {
          PyErr_Clear();
          return -1;
        }
      }
      if (type == WRT_F64) {
        slot->f64 = number;
      } else {
        slot->u64 = 0;
        slot->f32 = narrow(number);
      }
      return 0;
    }
    case WRT_V128: {
      Py_buffer view;
      if (PyObject_GetBuffer(value, &view, PyBUF_FULL_RO) < 0) {
        PyErr_Clear();
        return -1;
      }
      bool fits = view.len == 16 && PyBuffer_ToContiguous(slot, &view, 16, 'C') == 0;
      PyBuffer_Release(&view);
      return fits ? 0 : -1;
    }
    case WRT_FUNCREF: {
      if (value == Py_None) {
        slot->u64 = 0;
        return 0;
      }
      if (!PyObject_TypeCheck(value, store->state->function_type)) return -1;
      Function *function = (Function *)value;
      if (function->closed) return function_refuse_closed(function);
      if (function->store != store) {
        PyErr_Format(PyExc_TypeError, /* by name, as a repr runs Python code */
                     "function %U belongs to another store; functions pass between instances of one store only",
                     function->name);
        return -1;
      }
      store->ops->function_to_slot(store->native, &function->handle, slot);
      return 0;
    }
    default: return -1;
  }
}

/* Whether a reference of this type takes two steps: all do except references to functions. */
static inline bool is_taken(uint8_t type) { return type >= WRT_EXTERNREF && type != WRT_REF_FUNC; }

/* Marks a slot whose value is a root, while other roots are still to be made. No raw reference has these bits. */
#define IN_ROOTS UINT64_MAX

/* Writes `count` values into their slots, references included; `step` words lie between two. -1 as encode. */
static inline int encode_refs(Store *store, const uint8_t *types, PyObject *const *values, size_t count, wrt_slot *slots) {
  size_t step = store->ops->slot_words, rooted = 0;
  wrt_ref few[8], *roots = few;
  int result = 0;
  if (count > 8 && (roots = PyMem_Malloc(count * sizeof *roots)) == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  for (size_t i = 0; i < count && result == 0; i++) {
    if (LIKELY(types[i] < WRT_EXTERNREF)) {
      result = encode(store, types[i], values[i], slots + i * step);
      continue;
    }
    if (types[i] == WRT_EXTERNREF) {
      slots[i * step].u64 = 0;
      if (values[i] == Py_None) continue;
      result = root_object(store, values[i], &roots[rooted]) < 0 ? -1 : ROOTED;
    } else {
      result = encode_object(store, types[i], values[i], slots + i * step, &roots[rooted]);
    }
    if (result != ROOTED) continue;
    slots[i * step].u64 = IN_ROOTS;
    rooted++;
    result = 0;
  }
  for (size_t i = 0, root = 0; i < count && result == 0; i++) {
    if (is_taken(types[i]) && slots[i * step].u64 == IN_ROOTS)
      store->ops->ref_to_slot(store->native, &roots[root++], slots + i * step);
  }
  for (size_t i = 0; i < rooted; i++) store->ops->ref_delete(&roots[i]);
  if (roots != few) PyMem_Free(roots);
  return result;
}

/* First step inwards: replaces every reference in the slots, except those to functions, by the object behind it, owned (NULL
 * for null), or by what reference.c makes of one of the guest's own. */
static inline void take_refs(Store *store, const uint8_t *types, size_t count, wrt_slot *slots) {
  size_t step = store->ops->slot_words;
  for (size_t i = 0; i < count; i++) {
    if (!is_taken(types[i])) continue;
    wrt_slot *slot = slots + i * step;
    HostRef *ref = NULL;
    if (types[i] == WRT_EXTERNREF && (uint32_t)slot->u64 != 0) ref = store->ops->ref_data(store->native, slot);
    if (LIKELY(ref != NULL))
      slot->u64 = (uintptr_t)Py_NewRef(ref->object);
    else
      take_object(store, types[i], slot);
  }
}

/* Second step inwards: the Python value in a slot, a new reference; NULL with an exception set. */
static inline PyObject *decode(Store *store, uint8_t type, wrt_slot *slot) {
  switch (type) {
    case WRT_I32: return PyLong_FromLong(slot->i32);
    case WRT_I64: return PyLong_FromLongLong(slot->i64);
    case WRT_F32: return PyFloat_FromDouble(widen(slot->f32));
    case WRT_F64: return PyFloat_FromDouble(slot->f64);
    case WRT_V128: return PyBytes_FromStringAndSize((const char *)slot, 16);
    case WRT_REF_FUNC:
    case WRT_FUNCREF: {
      if (slot->u64 == 0) return Py_NewRef(Py_None);
      wrt_extern handle;
      store->ops->function_from_slot(store->native, slot, &handle);
      return function_new(store, &handle, NULL);
    }
    default: { /* after take_refs: the slot hands over what it holds */
      if (UNLIKELY((slot->u64 & 3) != 0)) return decode_taken(store, slot);
      PyObject *object = (PyObject *)(uintptr_t)slot->u64;
      slot->u64 = 0;
      return object == NULL ? Py_NewRef(Py_None) : object;
    }
  }
}

/* Releases the objects that decode has not handed over, after a failure in between. */
static inline void drop_refs(Store *store, const uint8_t *types, size_t count, wrt_slot *slots) {
  size_t step = store->ops->slot_words;
  for (size_t i = 0; i < count; i++) {
    if (!is_taken(types[i])) continue;
    if ((slots[i * step].u64 & 3) != 0) {
      drop_taken(store, slots + i * step);
      continue;
    }
    PyObject *object = (PyObject *)(uintptr_t)slots[i * step].u64;
    slots[i * step].u64 = 0;
    Py_XDECREF(object);
  }
}

#endif
