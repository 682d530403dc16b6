//! Talks to the host over `AF_VSOCK`, in a guest: `vsock PORT` connects, sends pieces of
//! several sizes, one after the other, and wants each of them back. Needs nothing but the
//! standard library, so that the compiler alone makes a static program of it.

#![allow(unsafe_code, reason = "the standard library knows no such socket")]

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};

const AF_VSOCK: u16 = 40;
const SOCK_STREAM: i32 = 1;
/// `VMADDR_CID_HOST`.
const HOST: u32 = 2;
/// A byte, what fits into one of the guest's buffers, and what takes several. Linux sends
/// what is longer than 32 KiB in more than two segments, which vhost-device-vsock 0.3.0
/// refuses.
const PIECES: [usize; 4] = [1, 100, 4096, 20_000];
/// So many more, so short, that the device goes through the guest's ring of buffers more
/// than twice.
const SHORT: usize = 64;
const MANY: usize = 300;

/// Linux `struct sockaddr_vm`.
#[repr(C)]
struct Address {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

unsafe extern "C" {
    fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
    fn connect(socket: i32, address: *const Address, length: u32) -> i32;
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "which port?"))?;
    let mut stream = connected(port)?;
    let mut sum = 0;
    for length in PIECES.into_iter().chain([SHORT; MANY]) {
        let piece: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
        stream.write_all(&piece)?;
        let mut back = vec![0; length];
        stream.read_exact(&mut back)?;
        if back != piece {
            return Err(io::Error::other("something else came back"));
        }
        sum += length;
    }
    println!("{sum}");
    Ok(())
}

fn connected(port: u32) -> io::Result<File> {
    // SAFETY: takes numbers alone.
    let socket = unsafe { socket(i32::from(AF_VSOCK), SOCK_STREAM, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else has it.
    let owned = unsafe { OwnedFd::from_raw_fd(socket) };
    let address = Address {
        family: AF_VSOCK,
        reserved: 0,
        port,
        cid: HOST,
        flags: 0,
        zero: [0; 3],
    };
    // SAFETY: `address` stays while it is read, and is as long as is said.
    if unsafe { connect(socket, &raw const address, size_of::<Address>() as u32) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(owned.into())
}
