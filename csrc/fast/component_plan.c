/* component_plan.c: how the values of one WIT type cross, worked out once so that no call has to. */
#include "component.h"

/* Copies the str at `index` of a tuple as a name; false with an exception set. */
static bool take_name(PyObject *tuple, Py_ssize_t index, wrt_text *out) {
  Py_ssize_t size;
  const char *text = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(tuple, index), &size);
  if (text == NULL) return false;
  out->data = PyMem_Malloc((size_t)size + 1);
  if (out->data == NULL) {
    PyErr_NoMemory();
    return false;
  }
  memcpy(out->data, text, (size_t)size + 1);
  out->size = (size_t)size;
  return true;
}

/* Whether instances of the class hold these attributes as plain slots, and where. */
static bool find_offsets(Plan *self) {
  if (!PyType_Check(self->type)) return false;
  PyTypeObject *type = (PyTypeObject *)self->type;
  if (type->tp_dictoffset != 0 || type->tp_new == NULL) return false;
  for (uint32_t i = 0; i < self->count; i++) {
    PyObject *found = PyObject_GetAttr(self->type, self->attributes[i]);
    if (found == NULL) {
      PyErr_Clear();
      return false;
    }
    PyMemberDef *member = Py_IS_TYPE(found, &PyMemberDescr_Type) ? ((PyMemberDescrObject *)found)->d_member : NULL;
    bool plain = member != NULL && member->type == T_OBJECT_EX && PyDescr_TYPE(found) == type;
    if (plain) self->offsets[i] = member->offset;
    Py_DECREF(found);
    if (!plain) return false;
  }
  return true;
}

static PyObject **copy_objects(PyObject *tuple) {
  Py_ssize_t count = PyTuple_GET_SIZE(tuple);
  PyObject **objects = PyMem_Calloc((size_t)count + 1, sizeof *objects);
  for (Py_ssize_t i = 0; objects != NULL && i < count; i++) objects[i] = Py_NewRef(PyTuple_GET_ITEM(tuple, i));
  if (objects == NULL) PyErr_NoMemory();
  return objects;
}

static bool fill(Plan *self, PyObject *children, PyObject *names, PyObject *attributes, PyObject *objects) {
  size_t count = self->count;
  self->children = PyMem_Calloc(count + 1, sizeof *self->children);
  self->names = PyMem_Calloc(count + 1, sizeof *self->names);
  self->offsets = PyMem_Calloc(count + 1, sizeof *self->offsets);
  if (self->children == NULL || self->names == NULL || self->offsets == NULL) {
    PyErr_NoMemory();
    return false;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(children); i++) {
    PyObject *child = PyTuple_GET_ITEM(children, i);
    if (child == Py_None) continue;
    if (!Py_IS_TYPE(child, Py_TYPE(self))) {
      PyErr_SetString(PyExc_TypeError, "the children of a plan are plans or None");
      return false;
    }
    self->children[i] = (Plan *)Py_NewRef(child);
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++)
    if (!take_name(names, i, &self->names[i])) return false;
  self->attributes = copy_objects(attributes);
  self->objects = copy_objects(objects);
  if (self->attributes == NULL || self->objects == NULL) return false;
  if (self->kind == WRT_VALUE_VARIANT || self->kind == WRT_VALUE_ENUM) {
    self->index = PyDict_New();
    for (Py_ssize_t i = 0; self->index != NULL && i < PyTuple_GET_SIZE(objects); i++) {
      PyObject *number = PyLong_FromSsize_t(i);
      if (number == NULL || PyDict_SetItem(self->index, PyTuple_GET_ITEM(objects, i), number) < 0) {
        Py_XDECREF(number);
        return false;
      }
      Py_DECREF(number);
    }
    if (self->index == NULL) return false;
  }
  if (self->kind == WRT_VALUE_FLAGS && (self->cache = PyDict_New()) == NULL) return false;
  self->plain = self->kind == WRT_VALUE_RECORD && find_offsets(self);
  return true;
}

/* Plan(kind, children, names, attributes, type, objects, wrapped, host type) */
static PyObject *Plan_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *children, *names, *attributes, *class, *objects;
  int kind, wrapped;
  unsigned host_type;
  (void)keywords;
  if (!PyArg_ParseTuple(args, "iO!O!O!OO!pI", &kind, &PyTuple_Type, &children, &PyTuple_Type, &names, &PyTuple_Type,
                        &attributes, &class, &PyTuple_Type, &objects, &wrapped, &host_type))
    return NULL;
  Py_ssize_t count = PyTuple_GET_SIZE(children);
  if (PyTuple_GET_SIZE(names) > count) count = PyTuple_GET_SIZE(names);
  if (kind < 0 || kind > PLAN_BYTES || count > INT32_MAX ||
      (kind == WRT_VALUE_RECORD && PyTuple_GET_SIZE(attributes) != count) ||
      (kind == WRT_VALUE_RESULT && PyTuple_GET_SIZE(objects) != 2) ||
      ((kind == WRT_VALUE_VARIANT || kind == WRT_VALUE_ENUM) && PyTuple_GET_SIZE(objects) != count)) {
    PyErr_SetString(PyExc_ValueError, "a plan needs what its kind consists of");
    return NULL;
  }
  Plan *self = (Plan *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  self->kind = (uint8_t)kind;
  self->wrapped = wrapped != 0;
  self->host_type = host_type;
  self->count = (uint32_t)count;
  self->type = class == Py_None ? NULL : Py_NewRef(class);
  if (!fill(self, children, names, attributes, objects)) {
    Py_DECREF(self);
    return NULL;
  }
  return (PyObject *)self;
}

static int Plan_traverse(PyObject *object, visitproc visit, void *arg) {
  Plan *self = (Plan *)object;
  Py_VISIT(Py_TYPE(self));
  for (uint32_t i = 0; self->children != NULL && i < self->count; i++) Py_VISIT(self->children[i]);
  for (size_t i = 0; self->objects != NULL && self->objects[i] != NULL; i++) Py_VISIT(self->objects[i]);
  Py_VISIT(self->type);
  Py_VISIT(self->index);
  Py_VISIT(self->cache);
  return 0;
}

static void clear_objects(PyObject **objects) {
  for (size_t i = 0; objects != NULL && objects[i] != NULL; i++) Py_DECREF(objects[i]);
  PyMem_Free(objects);
}

static void Plan_dealloc(PyObject *object) {
  Plan *self = (Plan *)object;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  for (uint32_t i = 0; self->children != NULL && i < self->count; i++) Py_XDECREF(self->children[i]);
  for (uint32_t i = 0; self->names != NULL && i < self->count; i++) PyMem_Free(self->names[i].data);
  clear_objects(self->attributes);
  clear_objects(self->objects);
  PyMem_Free(self->children);
  PyMem_Free(self->names);
  PyMem_Free(self->offsets);
  Py_XDECREF(self->type);
  Py_XDECREF(self->index);
  Py_XDECREF(self->cache);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "How the values of one WIT type cross; for the runtimes."},
    {Py_tp_new, Plan_new},
    {Py_tp_traverse, Plan_traverse},
    {Py_tp_dealloc, Plan_dealloc},
    {0, NULL},
};

PyType_Spec plan_spec = {
    .name = "pywasmrt._shim._fastcall.Plan",
    .basicsize = sizeof(Plan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = plan_slots,
};
