/* skip.c: passing over code that is never reached, so that wasm3 need not compile it. */
#include "skip.h"

#ifdef WRT_WASM3

/* Reads the immediates of instructions. The bytes were validated, or are trusted to be valid; nothing is read beyond the
 * end. */
typedef struct wasm3_code_reader {
  const uint8_t *at; /* NULL: the code is not understood */
  const uint8_t *end;
} wasm3_code_reader;

static void pass_bytes(wasm3_code_reader *in, size_t count) {
  if (in->at != NULL && count > (size_t)(in->end - in->at)) in->at = NULL;
  if (in->at != NULL) in->at += count;
}

static uint64_t pass_number(wasm3_code_reader *in) {
  uint64_t value = 0;
  for (unsigned shift = 0; in->at != NULL && shift < 70; shift += 7) {
    if (in->at == in->end) break;
    uint8_t byte = *in->at++;
    if (shift < 64) value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  in->at = NULL;
  return 0;
}

static void pass_numbers(wasm3_code_reader *in, unsigned count) {
  while (count-- > 0) pass_number(in);
}

/* Passes a count, and that many numbers. */
static void pass_vector(wasm3_code_reader *in) {
  uint64_t count = pass_number(in);
  for (; count > 0 && in->at != NULL; count--) pass_number(in);
}

static void pass_prefixed(wasm3_code_reader *in) {
  static const uint8_t numbers[18] = {
      [8] = 2, [9] = 1, [10] = 2, [11] = 1, [12] = 2, [13] = 1, [14] = 2, [15] = 1, [16] = 1, [17] = 1};
  uint64_t code = pass_number(in);
  if (code < sizeof numbers)
    pass_numbers(in, numbers[code]);
  else
    in->at = NULL;
}

/* Passes what follows the byte `code` of an instruction that neither opens nor closes a block. */
static void pass_immediates(wasm3_code_reader *in, uint8_t code) {
  switch (code) {
    case 0x0c: case 0x0d:                                                   /* br br_if */
    case 0x10: case 0x12: case 0x14: case 0x15:                             /* calls of a function or of a reference */
    case 0x20: case 0x21: case 0x22: case 0x23: case 0x24: case 0x25: case 0x26: /* locals globals tables */
    case 0x3f: case 0x40:                                                   /* memory.size memory.grow */
    case 0x41: case 0x42:                                                   /* i32.const i64.const */
    case 0xd0: case 0xd2: case 0xd5: case 0xd6:                             /* ref.null ref.func br_on_null br_on_non_null */
      pass_number(in);
      return;
    case 0x11: case 0x13: pass_numbers(in, 2); return; /* call_indirect return_call_indirect */
    case 0x0e:                                         /* br_table */
      pass_vector(in);
      pass_number(in);
      return;
    case 0x1c: pass_vector(in); return; /* select with a type */
    case 0x43: pass_bytes(in, 4); return;
    case 0x44: pass_bytes(in, 8); return;
    case 0xfc: pass_prefixed(in); return;
    case 0x00: case 0x01: case 0x0f: case 0x1a: case 0x1b: case 0xd1: case 0xd3: return;
    default: break;
  }
  if (code >= 0x28 && code <= 0x3e) /* loads and stores: the alignment, and the memory where it says so; the offset */
    pass_numbers(in, (pass_number(in) & 0x40) != 0 ? 2 : 1);
  else if (code < 0x45 || code > 0xc4)
    in->at = NULL; /* those in between take nothing */
}

/* The `else` or `end` at or after `at` that belongs to the block which `at` is in; NULL where the code is not understood. */
const uint8_t *wrt_wasm3_skip(const uint8_t *at, const uint8_t *end) {
  wasm3_code_reader in = {.at = at, .end = end};
  size_t depth = 0;
  while (in.at != NULL && in.at < end) {
    const uint8_t *start = in.at;
    uint8_t code = *in.at++;
    if (code == 0x02 || code == 0x03 || code == 0x04) { /* block loop if */
      depth++;
      pass_number(&in);
    } else if (code == 0x05 || code == 0x0b) { /* else end */
      if (depth == 0) return start;
      if (code == 0x0b) depth--;
    } else {
      pass_immediates(&in, code);
    }
  }
  return NULL;
}

#endif
