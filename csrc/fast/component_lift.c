/* component_lift.c: values of the engine to Python objects, by a plan. The engine has checked that they fit. */
#include "component.h"

static PyObject *lift_bytes(const wrt_value *value) {
  size_t count = value->of.list.size;
  PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count);
  if (bytes == NULL) return NULL;
  char *to = PyBytes_AS_STRING(bytes);
  for (size_t i = 0; i < count; i++) to[i] = (char)value->of.list.data[i].of.u8;
  return bytes;
}

static PyObject *lift_list(Lifting *lifting, Plan *plan, const wrt_value *value) {
  size_t count = value->of.list.size;
  PyObject *list = PyList_New((Py_ssize_t)count);
  for (size_t i = 0; list != NULL && i < count; i++) {
    PyObject *item = lift(lifting, plan->children[0], &value->of.list.data[i]);
    if (item == NULL)
      Py_CLEAR(list);
    else
      PyList_SET_ITEM(list, (Py_ssize_t)i, item);
  }
  return list;
}

static PyObject *lift_tuple(Lifting *lifting, Plan *plan, const wrt_value *value) {
  PyObject *tuple = PyTuple_New((Py_ssize_t)plan->count);
  for (uint32_t i = 0; tuple != NULL && i < plan->count; i++) {
    PyObject *item = lift(lifting, plan->children[i], &value->of.list.data[i]);
    if (item == NULL)
      Py_CLEAR(tuple);
    else
      PyTuple_SET_ITEM(tuple, i, item);
  }
  return tuple;
}

/* A record whose class holds its fields in slots: filled directly, as its __init__ would. */
static PyObject *lift_plain(Lifting *lifting, Plan *plan, const wrt_value *value) {
  PyTypeObject *type = (PyTypeObject *)plan->type;
  PyObject *record = type->tp_alloc(type, 0);
  for (uint32_t i = 0; record != NULL && i < plan->count; i++) {
    PyObject *field = lift(lifting, plan->children[i], &value->of.record.data[i].value);
    if (field == NULL)
      Py_CLEAR(record);
    else
      *(PyObject **)((char *)record + plan->offsets[i]) = field;
  }
  return record;
}

static PyObject *lift_record(Lifting *lifting, Plan *plan, const wrt_value *value) {
  if (LIKELY(plan->plain)) return lift_plain(lifting, plan, value);
  PyObject *fields = PyDict_New(), *record = NULL;
  for (uint32_t i = 0; fields != NULL && i < plan->count; i++) {
    PyObject *field = lift(lifting, plan->children[i], &value->of.record.data[i].value);
    if (field == NULL || PyDict_SetItem(fields, plan->attributes[i], field) < 0) Py_CLEAR(fields);
    Py_XDECREF(field);
  }
  if (fields != NULL) record = PyObject_VectorcallDict(plan->type, NULL, 0, fields);
  Py_XDECREF(fields);
  return record;
}

/* The number of the case of that name; the engine only gives names that exist. */
static uint32_t case_named(Plan *plan, const wrt_text *name) {
  for (uint32_t i = 0; i < plan->count; i++)
    if (plan->names[i].size == name->size && memcmp(plan->names[i].data, name->data, name->size) == 0) return i;
  return 0;
}

/* An object of class `type` that holds a payload, which is NULL for none. */
static PyObject *wrap(Lifting *lifting, PyObject *type, Plan *plan, const wrt_value *payload) {
  if (plan == NULL || payload == NULL) return PyObject_CallNoArgs(type);
  PyObject *inner = lift(lifting, plan, payload);
  PyObject *outer = inner == NULL ? NULL : PyObject_CallOneArg(type, inner);
  Py_XDECREF(inner);
  return outer;
}

static PyObject *lift_option(Lifting *lifting, Plan *plan, const wrt_value *value) {
  if (value->of.option == NULL) return Py_NewRef(Py_None);
  if (plan->wrapped) return wrap(lifting, plan->type, plan->children[0], value->of.option);
  return lift(lifting, plan->children[0], value->of.option);
}

static PyObject *lift_flags(Plan *plan, const wrt_value *value) {
  uint64_t bits = 0;
  for (size_t i = 0; i < value->of.flags.size; i++) bits |= UINT64_C(1) << case_named(plan, &value->of.flags.data[i]);
  PyObject *number = PyLong_FromUnsignedLongLong(bits);
  if (number == NULL) return NULL;
  PyObject *member = Py_XNewRef(PyDict_GetItemWithError(plan->cache, number));
  if (member == NULL && !PyErr_Occurred()) {
    member = PyObject_CallOneArg(plan->type, number);
    if (member != NULL && PyDict_GET_SIZE(plan->cache) < 1024 && PyDict_SetItem(plan->cache, number, member) < 0)
      Py_CLEAR(member);
  }
  Py_DECREF(number);
  return member;
}

/* A resource of the host's comes back as the object that was given for it. */
static PyObject *lift_host_resource(Lifting *lifting, const wrt_value *value) {
  Store *store = lifting->store;
  uint32_t rep;
  bool owned;
  wrt_failure failure;
  int result = lifting->ops->resource_rep(store->native, value->of.resource, &rep, &owned, &failure);
  if (result != WRT_OK) return raise_failure(store, result, &failure);
  PyObject *object = Py_XNewRef(host_resource_get(store, rep));
  if (owned) host_resource_drop(NULL, store, rep);
  return object;
}

static PyObject *lift_resource(Lifting *lifting, Plan *plan, const wrt_value *value) {
  if (plan->host_type != 0) return lift_host_resource(lifting, value);
  bool borrowed = plan->kind == PLAN_BORROW;
  PyObject *object = resource_object(lifting->store, (PyTypeObject *)plan->type,
                                     lifting->ops->resource_copy(value->of.resource), borrowed);
  if (object == NULL || !borrowed || !lifting->in_host) return object;
  if (lifting->lent == NULL) lifting->lent = PyList_New(0);
  if (lifting->lent == NULL || PyList_Append(lifting->lent, object) < 0) Py_CLEAR(object);
  return object;
}

PyObject *lift(Lifting *lifting, Plan *plan, const wrt_value *value) {
  switch (plan->kind) {
    case WRT_VALUE_BOOL: return PyBool_FromLong(value->of.boolean);
    case WRT_VALUE_S8: return PyLong_FromLong(value->of.s8);
    case WRT_VALUE_U8: return PyLong_FromLong(value->of.u8);
    case WRT_VALUE_S16: return PyLong_FromLong(value->of.s16);
    case WRT_VALUE_U16: return PyLong_FromLong(value->of.u16);
    case WRT_VALUE_S32: return PyLong_FromLong(value->of.s32);
    case WRT_VALUE_U32: return PyLong_FromUnsignedLong(value->of.u32);
    case WRT_VALUE_S64: return PyLong_FromLongLong(value->of.s64);
    case WRT_VALUE_U64: return PyLong_FromUnsignedLongLong(value->of.u64);
    case WRT_VALUE_F32: return PyFloat_FromDouble((double)value->of.f32);
    case WRT_VALUE_F64: return PyFloat_FromDouble(value->of.f64);
    case WRT_VALUE_CHAR: return PyUnicode_FromOrdinal((int)value->of.character);
    case WRT_VALUE_STRING: return PyUnicode_DecodeUTF8(value->of.text.data, (Py_ssize_t)value->of.text.size, NULL);
    case WRT_VALUE_LIST: return lift_list(lifting, plan, value);
    case PLAN_BYTES: return lift_bytes(value);
    case WRT_VALUE_RECORD: return lift_record(lifting, plan, value);
    case WRT_VALUE_TUPLE: return lift_tuple(lifting, plan, value);
    case WRT_VALUE_VARIANT: {
      uint32_t at = case_named(plan, &value->of.variant.name);
      return wrap(lifting, plan->objects[at], plan->children[at], value->of.variant.payload);
    }
    case WRT_VALUE_ENUM: return Py_NewRef(plan->objects[case_named(plan, &value->of.text)]);
    case WRT_VALUE_OPTION: return lift_option(lifting, plan, value);
    case WRT_VALUE_RESULT: {
      int at = value->of.result.is_ok ? 0 : 1;
      return wrap(lifting, plan->objects[at], plan->children[at], value->of.result.payload);
    }
    case WRT_VALUE_FLAGS: return lift_flags(plan, value);
    default: return lift_resource(lifting, plan, value);
  }
}
