// A guest in Rust, of nothing but the standard library: what wit-bindgen generates is written out, as the compilers that a
// test may find are of any age. The names and the layouts are those of the component model's canonical ABI.
#![crate_type = "cdylib"]

use std::alloc::{alloc, realloc, Layout};
use std::mem::forget;

#[link(wasm_import_module = "local:demo/host")]
extern "C" {
    #[link_name = "log"]
    fn host_log(data: *const u8, size: usize);
}

/// Where the host puts strings and lists: in memory that the guest owns from then on.
#[export_name = "cabi_realloc"]
pub unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    if size == 0 {
        return align as *mut u8;
    }
    if old_size == 0 {
        return alloc(Layout::from_size_align_unchecked(size, align));
    }
    realloc(old, Layout::from_size_align_unchecked(old_size, align), size)
}

unsafe fn string(data: *mut u8, size: usize) -> String {
    if size == 0 {
        return String::new();
    }
    String::from_utf8_unchecked(Vec::from_raw_parts(data, size, size))
}

/// A result that does not fit one value is written here; the words are tag, pointer and size.
static mut RESULT: [usize; 3] = [0; 3];

unsafe fn give(at: usize, text: String) {
    let text = text.into_boxed_str();
    RESULT[at] = text.as_ptr() as usize;
    RESULT[at + 1] = text.len();
    forget(text);
}

unsafe fn take_back(at: usize) {
    drop(string(RESULT[at] as *mut u8, RESULT[at + 1]));
}

#[export_name = "local:demo/texts#shout"]
pub unsafe extern "C" fn shout(data: *mut u8, size: usize) -> *const usize {
    let text = string(data, size);
    let message = format!("shouting {:?}", text);
    host_log(message.as_ptr(), message.len());
    give(0, text.to_uppercase() + "!");
    RESULT.as_ptr()
}

#[export_name = "cabi_post_local:demo/texts#shout"]
pub unsafe extern "C" fn after_shout(_result: *const usize) {
    take_back(0);
}

#[export_name = "local:demo/texts#sum"]
pub unsafe extern "C" fn sum(data: *mut u32, count: usize) -> u64 {
    if count == 0 {
        return 0;
    }
    Vec::from_raw_parts(data, count, count).iter().map(|each| u64::from(*each)).sum()
}

#[export_name = "local:demo/texts#longest"]
pub unsafe extern "C" fn longest(data: *mut (*mut u8, usize), count: usize) -> *const usize {
    let words = if count == 0 { Vec::new() } else { Vec::from_raw_parts(data, count, count) };
    let words: Vec<String> = words.into_iter().map(|(data, size)| string(data, size)).collect();
    match words.into_iter().max_by_key(|word| word.chars().count()) {
        None => RESULT[0] = 0,
        Some(word) => {
            RESULT[0] = 1;
            give(1, word);
        }
    }
    RESULT.as_ptr()
}

#[export_name = "cabi_post_local:demo/texts#longest"]
pub unsafe extern "C" fn after_longest(_result: *const usize) {
    if RESULT[0] == 1 {
        take_back(1);
    }
}
