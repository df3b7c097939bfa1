// Functions of every kind that the ABI knows: of numbers, of text, of nulls, that fail, of several rows, of structs.
use arrow_udf::{function, types::StructType};

#[function("gcd(int, int) -> int")]
fn gcd(mut a: i32, mut b: i32) -> i32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[function("wide(bigint) -> bigint")]
fn wide(a: i64) -> i64 {
    a + 1
}

#[function("upper(varchar) -> varchar")]
fn upper(text: &str) -> String {
    text.to_uppercase()
}

#[function("size(bytea) -> int")]
fn size(data: &[u8]) -> i32 {
    data.len() as i32
}

#[function("or_zero(int) -> int")]
fn or_zero(a: Option<i32>) -> i32 {
    a.unwrap_or(0)
}

#[function("div(int, int) -> int")]
fn div(a: i32, b: i32) -> Result<i32, &'static str> {
    a.checked_div(b).ok_or("division by zero")
}

#[function("series(int) -> setof int")]
fn series(n: i32) -> impl Iterator<Item = i32> {
    0..n
}

#[derive(StructType)]
struct Pair {
    key: String,
    value: String,
}

#[function("pair(varchar) -> struct Pair")]
fn pair(text: &str) -> Option<Pair> {
    let (key, value) = text.split_once('=')?;
    Some(Pair { key: key.into(), value: value.into() })
}

#[function("panics(int) -> int")]
fn panics(_: i32) -> i32 {
    panic!("this guest panics")
}
