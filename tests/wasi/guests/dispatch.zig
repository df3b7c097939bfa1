//! A table of functions, chosen at run time, so that calls are indirect; and a memory that grows.

const Operation = *const fn (i32, i32) callconv(.c) i32;

fn add(a: i32, b: i32) callconv(.c) i32 {
    return a +% b;
}

fn multiply(a: i32, b: i32) callconv(.c) i32 {
    return a *% b;
}

var operations = [_]Operation{ &add, &multiply };

export fn set(index: u32, from: u32) void {
    operations[index % 2] = operations[from % 2];
}

export fn apply(index: u32, a: i32, b: i32) i32 {
    return operations[index % 2](a, b);
}

export fn grow() i32 {
    return @intCast(@wasmMemoryGrow(0, 1));
}
