//! A table of functions, chosen at run time, so that calls are indirect; and a memory that grows.

type Operation = fn(i32, i32) -> i32;

fn add(a: i32, b: i32) -> i32 {
    a.wrapping_add(b)
}

fn multiply(a: i32, b: i32) -> i32 {
    a.wrapping_mul(b)
}

static mut OPERATIONS: [Operation; 2] = [add, multiply];

#[no_mangle]
pub extern "C" fn set(index: u32, from: u32) {
    unsafe { OPERATIONS[index as usize % 2] = OPERATIONS[from as usize % 2] }
}

#[no_mangle]
pub extern "C" fn apply(index: u32, a: i32, b: i32) -> i32 {
    unsafe { OPERATIONS[index as usize % 2](a, b) }
}

#[no_mangle]
pub extern "C" fn grow() -> i32 {
    core::arch::wasm32::memory_grow(0, 1) as i32
}
