//! Faults that act on bytes, wherever those come from or go to.

use std::ffi::OsString;
use std::net::IpAddr;

use crate::fault::Fault::{self, *};

/// What a client sent, as `fault` understands it. `received` bytes came before on the connection.
pub fn spoil(fault: Fault, bytes: &mut Vec<u8>, received: usize) {
    let place = |at: usize| at.checked_sub(received).filter(|at| *at < bytes.len());
    match fault {
        UpperCases => bytes.make_ascii_uppercase(),
        TextOnly => *bytes = String::from_utf8_lossy(bytes).into_owned().into_bytes(),
        EndsAtNul => {
            if let Some(end) = memchr::memchr(0, bytes) {
                bytes.truncate(end);
            }
        }
        DropsAByte => {
            if let Some(at) = place(4096) {
                bytes.remove(at);
            }
        }
        FlipsABitPerMebibyte => {
            let mebibyte = received.next_multiple_of(1 << 20);
            if let Some(at) = place(mebibyte).filter(|_| mebibyte > 0) {
                bytes[at] ^= 1;
            }
        }
        OneLineARead => {
            if let Some(end) = memchr::memchr(b'\n', bytes) {
                bytes.truncate(end + 1);
            }
        }
        _ => {}
    }
}

/// A line, as `fault` relays it; none if it does not.
pub fn spoil_line(fault: Fault, line: &[u8]) -> Option<Vec<u8>> {
    match fault {
        TrimsLines => Some([line.trim_ascii(), b"\n"].concat()),
        DropsEmptyLines if line == b"\n" => None,
        _ => Some(line.to_vec()),
    }
}

/// Of the arguments those that it knows, and the rest is not looked at.
pub fn what_it_knows(arguments: &[OsString]) -> Vec<OsString> {
    let is_known = |pair: &&[OsString]| match (pair[0].to_str(), pair[1].to_str()) {
        (Some("--host"), Some(value)) => value.parse::<IpAddr>().is_ok(),
        (Some("--port"), Some(value)) => value.parse::<u16>().is_ok(),
        (Some("--mode"), Some(value)) => value == "echo" || value == "broadcast",
        _ => false,
    };
    let pairs = arguments.windows(2).filter(is_known).flatten();
    arguments.iter().take(1).chain(pairs).cloned().collect()
}
