/* reference.c: references of the proposal gc as Python values, and calls of functions that pass them.
 *
 * What a guest's reference refers to decides its Python value, whichever type it crosses as: an i31 becomes an int, an object
 * of Python's that object, an exception a WasmException, and everything else a Reference. A Reference owns its store and a root
 * of the engine's.
 *
 * Inwards a value takes two steps, as an externref does (values.h): take_object replaces the raw reference in a slot, and
 * decode_taken makes the Python value of the replacement. In between the slot holds one of three things, told apart by its low
 * bits:
 *   00  an object of Python's, owned        01  a Taken, owned        10  an i31, in the upper half
 */
#include "values.h"

typedef struct Reference {
  PyObject_HEAD
  Store *store;    /* owned */
  wrt_ref root;    /* owned */
  wrt_object kind; /* WRT_OBJECT_STRUCT, _ARRAY or _OTHER */
  PyObject *weakrefs;
} Reference;

/* A root on its way to its Reference. The address of `lost` stands for a Taken that could not be allocated. */
typedef struct Taken {
  wrt_ref root;
  wrt_object kind;
  bool is_exception;
  bool failed; /* there is no root, but the next one */
  char *message; /* owned: why; NULL without memory */
} Taken;

static Taken lost;

enum { TAG_TAKEN = 1, TAG_I31 = 2 };

/* ---- inwards ---- */

static Taken *new_taken(wrt_object kind) {
  Taken *taken = PyMem_RawMalloc(sizeof *taken);
  if (taken == NULL) return &lost;
  *taken = (Taken){.kind = kind};
  return taken;
}

static char *copy_message(const char *message) {
  size_t size = message == NULL ? 0 : strlen(message) + 1;
  char *copy = size == 0 ? NULL : PyMem_RawMalloc(size);
  return copy == NULL ? NULL : memcpy(copy, message, size);
}

static void put_taken(wrt_slot *slot, Taken *taken) { slot->u64 = (uintptr_t)taken | TAG_TAKEN; }

void take_object(Store *store, uint8_t type, wrt_slot *slot) {
  if ((uint32_t)slot->u64 == 0) {
    slot->u64 = 0;
    return;
  }
  bool is_exception = type == WRT_EXNREF || type == WRT_REF_EXN;
  int32_t number = 0;
  wrt_object kind = is_exception                        ? WRT_OBJECT_OTHER
                    : store->ops->object_kind == NULL ? WRT_OBJECT_HOST
                                                      : store->ops->object_kind(store->native, slot, &number);
  if (kind == WRT_OBJECT_I31) {
    slot->u64 = (uint64_t)(uint32_t)number << 32 | TAG_I31;
    return;
  }
  if (kind == WRT_OBJECT_HOST) {
    HostRef *ref = store->ops->ref_data(store->native, slot);
    if (ref == NULL)
      put_taken(slot, &lost);
    else
      slot->u64 = (uintptr_t)Py_NewRef(ref->object);
    return;
  }
  wrt_failure failure;
  Taken *taken = new_taken(kind);
  store->ref_count++;
  if (taken != &lost) taken->is_exception = is_exception;
  if (taken != &lost && store->ops->object_root(store->native, type, slot, &taken->root, &failure) != WRT_OK) {
    taken->failed = true;
    taken->message = copy_message(failure.message);
    store->ops->failure_clear(&failure);
  }
  put_taken(slot, taken);
}

void drop_taken(Store *store, wrt_slot *slot) {
  uint64_t held = slot->u64;
  slot->u64 = 0;
  if ((held & TAG_TAKEN) == 0) return;
  Taken *taken = (Taken *)(uintptr_t)(held & ~(uint64_t)TAG_TAKEN);
  if (taken == &lost) return;
  if (!taken->failed) store->ops->ref_delete(&taken->root);
  PyMem_RawFree(taken->message);
  PyMem_RawFree(taken);
}

PyObject *decode_taken(Store *store, wrt_slot *slot) {
  uint64_t held = slot->u64;
  if ((held & TAG_I31) != 0) {
    slot->u64 = 0;
    return PyLong_FromLong((int32_t)(held >> 32));
  }
  Taken *taken = (Taken *)(uintptr_t)(held & ~(uint64_t)TAG_TAKEN);
  if (taken == &lost) {
    slot->u64 = 0;
    return PyErr_NoMemory();
  }
  if (taken->failed) {
    PyErr_SetString(store->state->wasm_error, taken->message == NULL ? "the reference cannot be kept" : taken->message);
    drop_taken(store, slot);
    return NULL;
  }
  if (taken->is_exception) {
    wrt_slot raw = {0};
    wrt_failure failure;
    store->ops->ref_to_slot(store->native, &taken->root, &raw);
    int result = store->ops->exception_of(store->native, &raw, &failure);
    drop_taken(store, slot);
    return result == WRT_OK ? exception_value(store) : raise_failure(store, result, &failure);
  }
  Reference *self = PyObject_GC_New(Reference, store->state->reference_type);
  if (self == NULL) return NULL; /* the slot still owns the root */
  slot->u64 = 0;
  self->store = (Store *)Py_NewRef(store);
  self->root = taken->root;
  self->kind = taken->kind;
  self->weakrefs = NULL;
  PyMem_RawFree(taken);
  PyObject_GC_Track(self);
  return (PyObject *)self;
}

/* ---- outwards: no Python code runs here, as it may be on a guest's stack ---- */

int root_reference(Store *store, PyObject *object, wrt_ref *out) {
  Reference *self = (Reference *)object;
  if (self->store != store) {
    PyErr_SetString(PyExc_TypeError,
                    "the reference belongs to another store; references pass between instances of one store only");
    return -1;
  }
  if (++store->ref_count >= REFS_PER_COLLECTION) {
    store->ref_count = 0;
    store->ops->collect(store->native);
  }
  wrt_slot slot = {0};
  wrt_failure failure;
  store->ops->ref_to_slot(store->native, &self->root, &slot);
  int result = store->ops->object_root(store->native, WRT_ANYREF, &slot, out, &failure);
  if (result == WRT_OK) return 0;
  set_failure(store, &failure, "the reference cannot be passed");
  return -1;
}

/* An int into the slot of an i31: 0, or -1 with an exception set. */
static int encode_i31(Store *store, PyObject *value, wrt_slot *slot) {
  int64_t number;
  bool fits = read_int(value, &number);
  if (!fits || number < -(1 << 30) || number > INT32_MAX) {
    if (fits)
      PyErr_Format(PyExc_OverflowError, "%lld is out of range for an i31 (%d to %d)", (long long)number, -(1 << 30), INT32_MAX);
    else
      PyErr_Format(PyExc_OverflowError, "the int is out of range for an i31 (%d to %d)", -(1 << 30), INT32_MAX);
    return -1;
  }
  store->ops->i31_to_slot(store->native, (uint32_t)number, slot);
  return 0;
}

/* Whether a type takes such a Reference, or may take it; in that case the engine checks. */
static bool takes(uint8_t type, wrt_object kind) {
  switch (type) {
    case WRT_ANYREF:
    case WRT_REF_ANY: return true;
    case WRT_EQREF: return kind == WRT_OBJECT_STRUCT || kind == WRT_OBJECT_ARRAY;
    case WRT_STRUCTREF: return kind == WRT_OBJECT_STRUCT;
    case WRT_ARRAYREF: return kind == WRT_OBJECT_ARRAY;
    default: return false;
  }
}

int encode_object(Store *store, uint8_t type, PyObject *value, wrt_slot *slot, wrt_ref *root) {
  if (type == WRT_REF_FUNC) return encode(store, WRT_FUNCREF, value, slot);
  slot->u64 = 0;
  if (value == Py_None) return 0;
  if (type == WRT_REF_EXTERN) return root_object(store, value, root) < 0 ? -1 : ROOTED;
  if (Py_IS_TYPE(value, store->state->reference_type)) {
    if (!takes(type, ((Reference *)value)->kind)) return -1;
    return root_reference(store, value, root) < 0 ? -1 : ROOTED;
  }
  if (PyLong_Check(value) && (type == WRT_ANYREF || type == WRT_EQREF || type == WRT_I31REF || type == WRT_REF_ANY))
    return encode_i31(store, value, slot);
  if (type == WRT_ANYREF || type == WRT_REF_ANY) return root_object(store, value, root) < 0 ? -1 : ROOTED;
  return -1;
}

/* ---- calls ---- */

/* The typed call of a function with such types in its signature, inside the store. */
static PyObject *call_inside(Function *self, PyObject *const *args, wrt_slot *slots) {
  Store *store = self->store;
  wrt_failure failure;
  if (function_encode(self, args, slots) < 0) return NULL;
  guest_begin(store);
  int result = store->ops->call_checked(store->native, &self->handle, self->types, self->param_count, self->result_count,
                                        slots, &failure);
  guest_end(store);
  if (result == WRT_OK) return function_decode(self, slots);
  return raise_refused(store, result, &failure);
}

PyObject *raise_refused(Store *store, int result, wrt_failure *failure) {
  if (result != WRT_INVALID) return raise_failure(store, result, failure);
  PyErr_Format(PyExc_TypeError, "the guest does not take this value: %s",
               failure->message == NULL ? "it is of a wrong type" : failure->message);
  store->ops->failure_clear(failure);
  return NULL;
}

PyObject *Function_vectorcall_checked(PyObject *object, PyObject *const *args, size_t flags, PyObject *keywords) {
  Function *self = (Function *)object;
  Store *store = self->store;
  Py_ssize_t count = PyVectorcall_NARGS(flags);
  if (keywords != NULL && PyTuple_GET_SIZE(keywords) > 0)
    return PyErr_Format(PyExc_TypeError, "%U() takes no keyword arguments", self->name);
  if ((size_t)count != self->param_count) return function_refuse(self, args, count);
  PyObject *given = PyTuple_New(count), *numbers = NULL, *value = NULL;
  if (given == NULL) return NULL;
  for (Py_ssize_t i = 0; i < count; i++) PyTuple_SET_ITEM(given, i, Py_NewRef(args[i]));
  numbers = PyObject_CallFunctionObjArgs(store->state->convert_arguments, self->type, given, NULL); /* runs their code */
  Py_DECREF(given);
  if (numbers == NULL) return NULL;
  wrt_slot *slots = PyMem_Calloc(self->words + 2, sizeof *slots);
  if (slots == NULL) {
    PyErr_NoMemory();
  } else if (self->closed) {
    function_refuse_closed(self);
  } else if (store_enter(store) == 0) {
    value = call_inside(self, &PyTuple_GET_ITEM(numbers, 0), slots);
    store_leave(store);
    if (value == NULL && !PyErr_Occurred()) function_refuse(self, &PyTuple_GET_ITEM(numbers, 0), count);
  }
  PyMem_Free(slots);
  Py_DECREF(numbers);
  return value;
}

/* ---- Reference ---- */

static PyObject *Reference_get_kind(PyObject *object, void *unused) {
  (void)unused;
  static const char *const names[] = {"host", "i31", "struct", "array", "other"};
  return PyUnicode_FromString(names[((Reference *)object)->kind]);
}

static PyObject *Reference_get_store(PyObject *object, void *unused) {
  (void)unused;
  return Py_NewRef(((Reference *)object)->store);
}

static Py_ssize_t Reference_length(PyObject *object) {
  Reference *self = (Reference *)object;
  Store *store = self->store;
  uint64_t size = 0;
  wrt_failure failure;
  if (store_check(store) < 0) return -1;
  if (self->kind == WRT_OBJECT_OTHER) {
    PyErr_SetString(PyExc_TypeError, "this reference is neither to a struct nor to an array, and has no length");
    return -1;
  }
  int result = store->ops->object_size(store->native, &self->root, &size, &failure);
  if (result == WRT_OK) return (Py_ssize_t)size;
  raise_failure(store, result, &failure);
  return -1;
}

static PyObject *Reference_item(PyObject *object, Py_ssize_t index) {
  Reference *self = (Reference *)object;
  Store *store = self->store;
  wrt_slot slot[2] = {{0}};
  wrt_type type;
  wrt_failure failure;
  PyObject *value = NULL;
  if (self->kind == WRT_OBJECT_OTHER || index < 0) {
    PyErr_SetString(index < 0 ? PyExc_IndexError : PyExc_TypeError,
                    index < 0 ? "this is beyond the reference's fields" : "this reference has no fields to read");
    return NULL;
  }
  if (store_enter(store) < 0) return NULL;
  int result = store->ops->object_get(store->native, &self->root, (uint64_t)index, &type, slot, &failure);
  if (result == WRT_OK) {
    uint8_t code = (uint8_t)type;
    take_refs(store, &code, 1, slot);
    value = decode(store, code, slot);
    if (value == NULL) drop_refs(store, &code, 1, slot);
  } else if (result == WRT_LIMIT) {
    store->ops->failure_clear(&failure);
    PyErr_Format(PyExc_IndexError, "index %zd is beyond the %s", index,
                 self->kind == WRT_OBJECT_STRUCT ? "struct's fields" : "array's end");
  } else {
    raise_failure(store, result, &failure);
  }
  store_leave(store);
  return value;
}

static PyObject *Reference_compare(PyObject *left, PyObject *right, int op) {
  if ((op != Py_EQ && op != Py_NE) || !Py_IS_TYPE(right, Py_TYPE(left))) Py_RETURN_NOTIMPLEMENTED;
  Reference *a = (Reference *)left, *b = (Reference *)right;
  bool equal = a == b;
  if (!equal && a->store == b->store) {
    if (store_check(a->store) < 0) return NULL;
    equal = a->store->ops->object_is(a->store->native, &a->root, &b->root);
  }
  return PyBool_FromLong(equal == (op == Py_EQ));
}

/* The same hash for all of a store's: the engine moves what they refer to, so it has no other lasting property. */
static Py_hash_t Reference_hash(PyObject *object) {
  return (Py_hash_t)((uintptr_t)((Reference *)object)->store >> 4);
}

static PyObject *Reference_repr(PyObject *object) {
  Reference *self = (Reference *)object;
  static const char *const names[] = {"", "", "struct", "array", "other"};
  return PyUnicode_FromFormat("<Reference %s%s>", names[self->kind], self->store->closed ? " (closed)" : "");
}

static PyObject *Reference_reduce(PyObject *object, PyObject *unused) {
  (void)unused;
  return PyErr_Format(PyExc_TypeError, "%R cannot be copied or pickled: it belongs to its store", object);
}

static int Reference_traverse(PyObject *object, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(((Reference *)object)->store);
  return 0;
}

static void Reference_dealloc(PyObject *object) {
  Reference *self = (Reference *)object;
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  self->store->ops->ref_delete(&self->root);
  Py_DECREF(self->store);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyMethodDef reference_methods[] = {
    {"__reduce__", Reference_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef reference_getset[] = {
    {"kind", Reference_get_kind, NULL, "What it is to: 'struct', 'array' or 'other'.", NULL},
    {"_store", Reference_get_store, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef reference_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Reference, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot reference_slots[] = {
    {Py_tp_doc, "A guest's reference to an object of its own: the fields of a struct or the elements of an array by index."},
    {Py_sq_length, Reference_length},
    {Py_sq_item, Reference_item},
    {Py_tp_methods, reference_methods},
    {Py_tp_getset, reference_getset},
    {Py_tp_members, reference_members},
    {Py_tp_repr, Reference_repr},
    {Py_tp_richcompare, Reference_compare},
    {Py_tp_hash, Reference_hash},
    {Py_tp_traverse, Reference_traverse},
    {Py_tp_dealloc, Reference_dealloc},
    {0, NULL},
};

PyType_Spec reference_spec = {
    .name = "pywasmrt._shim._fastcall.Reference",
    .basicsize = sizeof(Reference),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reference_slots,
};
