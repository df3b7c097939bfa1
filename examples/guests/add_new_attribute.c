/* add_new_attribute.c: a processor that sets one attribute, a text, on every span.
 *
 * plugin_config: {attribute_name: NAME, attribute_value: TEXT}, both required.
 */
#define OTELWASM_SUPPORTS OTELWASM_TRACES
#define OTELWASM_PROCESSOR
#include "sdk/otelwasm.h"
#include "sdk/protobuf.h"
#include "sdk/json.h"
#include "sdk/attributes.h"

static bytes name, value;

void edit_attributes(attributes *list) {
  attribute *found = attribute_find(list, name);
  if (found != NULL)
    attribute_set(list, found, value);
  else
    attribute_insert(list, name, value);
}

uint32_t otelwasm_process(uint32_t signal, bytes payload) {
  bytes config;
  if (!otelwasm_config(&config)) return otelwasm_fail(OTELWASM_ERROR, TEXT("there is no memory for the configuration"));
  name = json_text(json_get(config, TEXT("attribute_name")));
  bytes text = json_text(json_get(config, TEXT("attribute_value")));
  if (name.size == 0) return otelwasm_fail(OTELWASM_INVALID_ARGUMENT, TEXT("attribute_name is required"));
  if (text.size == 0) return otelwasm_fail(OTELWASM_INVALID_ARGUMENT, TEXT("attribute_value is required"));
  writer w = {NULL, 0, 0, false};
  write_field(&w, 1, text); /* AnyValue.string_value */
  if (w.failed) return otelwasm_fail(OTELWASM_ERROR, TEXT("there is no memory for the attribute"));
  value = (bytes){w.data, w.size};
  return edit_payload(signal, payload);
}
