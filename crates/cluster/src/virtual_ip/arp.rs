//! Telling a network segment where an address is now (RFC 5227, section 3).

#![allow(unsafe_code)]

use std::io;
use std::mem::size_of_val;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

const ETHERNET: u16 = 1;
const REQUEST: u16 = 1;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Says to all on the segment of interface `index` that `address` is at `mac`.
///
/// # Errors
/// When the kernel sends nothing; it needs `CAP_NET_RAW`.
pub(super) fn announce(index: u32, mac: [u8; 6], address: Ipv4Addr) -> io::Result<()> {
    let protocol = u16::try_from(libc::ETH_P_ARP).expect("protocols of Ethernet have 16 bits");
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no memory of ours; what it returns is checked before it is owned.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, kind, i32::from(protocol.to_be()));
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = u16::try_from(libc::AF_PACKET).expect("families of addresses have 16 bits");
    to.sll_protocol = protocol.to_be();
    to.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    to.sll_halen = 6;
    to.sll_addr[..6].copy_from_slice(&BROADCAST);
    let packet = packet(mac, address);
    let length = libc::socklen_t::try_from(size_of_val(&to)).map_err(io::Error::other)?;
    // SAFETY: both pointers are to values that live longer than the call, with their lengths.
    let sent = unsafe {
        let to = std::ptr::from_ref(&to).cast::<libc::sockaddr>();
        libc::sendto(socket.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0, to, length)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A question for the address by the one who has it.
fn packet(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let ip = u16::try_from(libc::ETH_P_IP).expect("protocols of Ethernet have 16 bits");
    let mut packet = Vec::with_capacity(28);
    packet.extend(ETHERNET.to_be_bytes());
    packet.extend(ip.to_be_bytes());
    packet.extend([6, 4]);
    packet.extend(REQUEST.to_be_bytes());
    packet.extend(mac);
    packet.extend(address.octets());
    packet.extend([0; 6]);
    packet.extend(address.octets());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sender_and_target_are_the_address() {
        let packet = packet([2, 0, 0, 0, 0, 1], Ipv4Addr::new(192, 0, 2, 254));
        let head = [0, 1, 8, 0, 6, 4, 0, 1];
        let sender = [2, 0, 0, 0, 0, 1, 192, 0, 2, 254];
        let target = [0, 0, 0, 0, 0, 0, 192, 0, 2, 254];
        assert_eq!(packet, [&head[..], &sender, &target].concat());
    }
}
