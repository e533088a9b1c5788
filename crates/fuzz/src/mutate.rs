//! Damage.

use rand::Rng as _;
use rand::rngs::StdRng;

/// Pieces of the grammars that are fuzzed, and numbers at the edges of their types.
const TOKENS: [&[u8]; 64] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"null",
    b"true",
    b"false",
    b"{}",
    b"[]",
    b"\"\"",
    b"0",
    b"-0",
    b"-1",
    b"1.5",
    b"1e9",
    b"1e400",
    b"2147483648",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b"\n",
    b"\t",
    b"\0",
    b"\xff",
    b"\xc3\x28",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\x92\xa9",
    b"kind",
    b"apiVersion",
    b"metadata",
    b"$patch",
    b"replace",
    b"delete",
    b"merge",
    b"$retainKeys",
    b"$deleteFromPrimitiveList/",
    b"$setElementOrder/",
    b"op",
    b"path",
    b"/-",
    b"~1",
    b"~0",
    b"- ",
    b"  ",
    b"&a ",
    b"*a",
    b"!!str ",
    b"|\n",
    b"<<",
    b"yes",
    b"~",
    b"2024-01-02T03:04:05Z",
    b"1Ki",
    b"100m",
    b"=",
    b"!=",
    b" in (",
];

/// Changes an input in one way.
pub(crate) fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    let len = random.random_range(0..=(input.len() - at).min(32));
    match random.random_range(0..9) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = random.random(),
        2 => drop(input.drain(at..at + len)),
        3 => input.truncate(at),
        4 => {
            let bytes: [u8; 4] = random.random();
            let count = random.random_range(1..=4);
            input.splice(at..at, bytes[..count].iter().copied());
        }
        5 => repeat(input, at..at + len, random),
        6 => {
            let Some(other) = corpus.get(random.random_range(0..corpus.len().max(1))) else {
                return;
            };
            let from = random.random_range(0..=other.len());
            let to = (from + random.random_range(0..=64)).min(other.len());
            input.splice(at..at + len, other[from..to].iter().copied());
        }
        7 => number(input, at, random),
        _ => {
            let token = TOKENS[random.random_range(0..TOKENS.len())];
            let replaced = if random.random() { len.min(token.len()) } else { 0 };
            input.splice(at..at + replaced, token.iter().copied());
        }
    }
}

/// The same piece many times over: depth and length.
fn repeat(input: &mut Vec<u8>, piece: std::ops::Range<usize>, random: &mut StdRng) {
    let at = piece.start;
    let piece = input[piece].to_vec();
    let count = 1_usize << random.random_range(0..9);
    let many = piece.repeat(count.min(8192 / piece.len().max(1)));
    input.splice(at..at, many);
}

/// The next number in the text becomes another one.
fn number(input: &mut Vec<u8>, at: usize, random: &mut StdRng) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|n| at + n) else {
        return;
    };
    let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let other: i64 = match random.random_range(0..3) {
        0 => random.random_range(-2..100),
        1 => random.random(),
        _ => (1_i64 << random.random_range(0..63)) - 1,
    };
    input.splice(start..start + digits, other.to_string().into_bytes());
}
