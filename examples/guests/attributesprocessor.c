/* attributesprocessor.c: a processor that edits the attributes of spans, log records and data points.
 *
 * plugin_config: {actions: [{key: KEY, action: insert|update|upsert|delete, value: V | from_attribute: KEY}, ...]}
 *
 * insert sets a key that is not there, update one that is, upsert either; delete removes it. The actions apply in their order
 * to each item. A value is a text, a truth value or a number.
 */
#define OTELWASM_SUPPORTS (OTELWASM_TRACES | OTELWASM_METRICS | OTELWASM_LOGS)
#define OTELWASM_PROCESSOR
#define OTELWASM_ON_START
#include "sdk/otelwasm.h"
#include "sdk/protobuf.h"
#include "sdk/json.h"
#include "sdk/attributes.h"

enum kind { INSERT = 1, UPDATE = 2, UPSERT = INSERT | UPDATE, DELETE = 4 };

typedef struct action {
  enum kind kind;
  bytes key;
  bytes value; /* an encoded AnyValue; none: that of `from` */
  bytes from;
} action;

static action *actions;
static uint32_t action_count;
static bytes problem; /* what is wrong with the configuration, if its size is not 0 */

void edit_attributes(attributes *list) {
  for (uint32_t n = 0; n < action_count; n++) {
    const action *a = &actions[n];
    if (a->kind == DELETE) {
      attribute_delete(list, a->key);
      continue;
    }
    bytes value = a->value;
    if (a->from.size != 0) {
      const attribute *source = attribute_find(list, a->from);
      if (source == NULL) continue;
      value = source->value;
    }
    attribute *found = attribute_find(list, a->key);
    if (found != NULL && (a->kind & UPDATE) != 0)
      attribute_set(list, found, value);
    else if (found == NULL && (a->kind & INSERT) != 0)
      attribute_insert(list, a->key, value);
  }
}

/* A JSON value as an AnyValue; of size 0 for what has no counterpart, or where there is no memory. */
static bytes any_value(bytes json) {
  writer w = {NULL, 0, 0, false};
  if (json_is(json, '"')) {
    write_field(&w, 1, json_text(json));
  } else if (json_is(json, 't') || json_is(json, 'f')) {
    write_varint(&w, 2 << 3 | WIRE_VARINT);
    write_varint(&w, json_is(json, 't'));
  } else {
    json_number number = json_to_number(json);
    if (number.valid && number.whole) {
      write_varint(&w, 3 << 3 | WIRE_VARINT);
      write_varint(&w, (uint64_t)number.integer);
    } else if (number.valid) {
      write_varint(&w, 4 << 3 | WIRE_FIXED64);
      write_bytes(&w, (bytes){(const uint8_t *)&number.real, 8});
    }
  }
  return (bytes){w.data, w.failed ? 0 : w.size};
}

static bytes take_action(bytes json, action *out) {
  bytes kind = json_text(json_get(json, TEXT("action"))), value = json_get(json, TEXT("value")), name, item;
  for (const uint8_t *at = json_first(json); json_next(json, &at, &name, &item);)
    if (!same(name, TEXT("\"key\"")) && !same(name, TEXT("\"action\"")) && !same(name, TEXT("\"value\"")) &&
        !same(name, TEXT("\"from_attribute\"")))
      return TEXT("an action has the keys key, action, value and from_attribute; others are not supported here");
  out->key = json_text(json_get(json, TEXT("key")));
  out->from = json_text(json_get(json, TEXT("from_attribute")));
  out->value = any_value(value);
  if (out->key.size == 0) return TEXT("an action needs a key");
  if (same(kind, TEXT("delete"))) {
    out->kind = DELETE;
    return (bytes){NULL, 0};
  }
  if (same(kind, TEXT("insert")))
    out->kind = INSERT;
  else if (same(kind, TEXT("update")))
    out->kind = UPDATE;
  else if (same(kind, TEXT("upsert")))
    out->kind = UPSERT;
  else
    return TEXT("an action is one of insert, update, upsert and delete");
  if ((out->value.size != 0) == (out->from.size != 0)) return TEXT("an action needs either a value or from_attribute");
  return (bytes){NULL, 0};
}

static bytes read_actions(void) {
  bytes config, item;
  if (!otelwasm_config(&config)) return TEXT("there is no memory for the configuration");
  bytes listed = json_get(config, TEXT("actions"));
  if (!json_is(listed, '[')) return TEXT("actions is required: a list");
  for (const uint8_t *at = json_first(listed); json_next(listed, &at, NULL, &item);) action_count++;
  if (action_count == 0) return TEXT("actions is required: a list of at least one action");
  actions = otelwasm_alloc(action_count * sizeof *actions);
  if (actions == NULL) return TEXT("there is no memory for the actions");
  action *next = actions;
  for (const uint8_t *at = json_first(listed); json_next(listed, &at, NULL, &item);) {
    bytes wrong = take_action(item, next++);
    if (wrong.size != 0) return wrong;
  }
  return (bytes){NULL, 0};
}

/* The experimental dialect has no status at its start: there, each call tells what is wrong. */
uint32_t otelwasm_on_start(void) {
  problem = read_actions();
  otelwasm_keep(0); /* what was read stays */
  return problem.size == 0 || OTELWASM_ABI == 0 ? OTELWASM_OK : otelwasm_fail(OTELWASM_INVALID_ARGUMENT, problem);
}

uint32_t otelwasm_process(uint32_t signal, bytes payload) {
  if (problem.size != 0) return otelwasm_fail(OTELWASM_INVALID_ARGUMENT, problem);
  return edit_payload(signal, payload);
}
