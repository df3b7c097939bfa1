// A table of functions, chosen at run time, so that calls are indirect; and a memory that grows.

type Operation = (a: i32, b: i32) => i32;

function add(a: i32, b: i32): i32 {
  return a + b;
}

function multiply(a: i32, b: i32): i32 {
  return a * b;
}

const operations: Operation[] = [add, multiply];

export function set(index: u32, from: u32): void {
  operations[index % 2] = operations[from % 2];
}

export function apply(index: u32, a: i32, b: i32): i32 {
  return operations[index % 2](a, b);
}

export function grow(): i32 {
  return memory.grow(1);
}
