/* texts.c: a guest that converts text to upper case, over the simplest allocator: freed places are kept by their size. */
typedef unsigned int size_t;
extern unsigned char __heap_base;

static struct Free {
  struct Free *next;
} *kept[33];
static size_t top;

/* The power of two that holds size and the number of that power, which is kept in front. */
static unsigned class_of(size_t size) {
  unsigned n = 4;
  while ((1u << n) < size + 8) n++;
  return n;
}

__attribute__((export_name("malloc"))) void *allocate(size_t size) {
  unsigned n = class_of(size);
  struct Free *found = kept[n];
  if (found != 0) {
    kept[n] = found->next;
    return found;
  }
  if (top == 0) top = ((size_t)&__heap_base + 7) & ~7u;
  size_t at = top;
  top += 1u << n;
  while (top > __builtin_wasm_memory_size(0) * 65536u)
    if (__builtin_wasm_memory_grow(0, 16) == (size_t)-1) return 0;
  *(unsigned *)at = n;
  return (void *)(at + 8);
}

__attribute__((export_name("free"))) void release(void *pointer) {
  struct Free *freed = pointer;
  unsigned n = ((unsigned *)pointer)[-2];
  freed->next = kept[n];
  kept[n] = freed;
}

__attribute__((export_name("upper"))) unsigned long long upper(const unsigned char *from, size_t size) {
  unsigned char *to = allocate(size);
  for (size_t i = 0; i < size; i++) to[i] = from[i] - (from[i] - 'a' < 26u ? 32 : 0);
  return (unsigned long long)(size_t)to << 32 | size;
}
