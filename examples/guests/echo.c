/* echo.c: a processor that gives back what it is given (upstream calls it nop). */
#define OTELWASM_SUPPORTS (OTELWASM_TRACES | OTELWASM_METRICS | OTELWASM_LOGS)
#define OTELWASM_PROCESSOR
#include "sdk/otelwasm.h"

uint32_t otelwasm_process(uint32_t signal, bytes payload) {
  otelwasm_set_result(signal, payload);
  return OTELWASM_OK;
}
