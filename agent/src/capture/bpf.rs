//! The kernel's filter for what can be an SPA packet, as a program of classic BPF.
//!
//! Written by hand, since the language of pcap-filter(7) cannot say it: a VLAN tag that stays in the
//! frame, a PPPoE header, an IPv6 extension header or being a fragment hides the ports from it. Here
//! each is stepped over, at most as often as a sender needs. Of fragments only the first has ports;
//! the others pass if they can be part of a packet as short as ours, and the gate's room for them is
//! bounded. The program has no loops, and every jump leads forward.
//!
//! Numbers: linux/bpf_common.h, linux/filter.h, linux/if_packet.h, linux/if_ether.h.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use gate::{FRAGMENTED_LEN_MAX, LinkType};
use nix::errno::Errno;
use nix::libc;

use super::SNAPLEN;
use super::filter::UDP_LEN;

/// A program that the kernel runs for each frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Program(Vec<Instruction>);

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

/// Instructions under construction. `A` is what was loaded last, `X` where the header begins that
/// is looked at.
#[derive(Debug, Default)]
struct Assembler(Vec<Instruction>);

/// A jump whose end is not known yet.
#[derive(Debug)]
#[must_use = "it leads nowhere until it lands"]
struct Jump(usize);

const LD: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const ST: u16 = 0x02;
const ALU_ADD: u16 = 0x04;
const ALU_ADD_X: u16 = 0x0c;
const ALU_AND: u16 = 0x54;
const ALU_LSH: u16 = 0x64;
const JMP_JA: u16 = 0x05;
const JMP_JEQ: u16 = 0x15;
const JMP_JGT: u16 = 0x25;
const JMP_JGE: u16 = 0x35;
const RET: u16 = 0x06;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
/// How wide a load is, and from where.
const WORD: u16 = 0x00;
const HALF: u16 = 0x08;
const BYTE: u16 = 0x10;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
/// What the kernel knows of a frame beside its bytes.
const AD_PROTOCOL: u32 = 0xffff_f000;
const AD_PKTTYPE: u32 = 0xffff_f004;
const PACKET_OUTGOING: u32 = 4;
/// Ports that are compared; with more in the policy, every port passes, and the gate looks.
const PORTS_MAX: usize = 1_500;
/// Of a frame, and in front of IPv6's transport. The gate reads some more in files.
const VLAN_TAGS_MAX: usize = 2;
const EXTENSIONS_MAX: usize = 4;

// === impl Program ===

impl Program {
    /// Lets through what can be an SPA packet over UDP to one of these ports, off an interface of
    /// this link type; `None` where the kernel runs no filter.
    pub(super) fn new(link: LinkType, ports: &BTreeSet<u16>) -> Option<Self> {
        let mut code = Assembler::default();
        code.load(LD | WORD | ABS, AD_PKTTYPE);
        code.refuse_unless_not(PACKET_OUTGOING);
        match link {
            LinkType::Ethernet => {
                code.load(LDX_IMM, 14);
                code.load(LD | HALF | ABS, 12);
                code.step_over_tags();
            }
            // The kernel shows the filter no link header, and libpcap makes one afterwards.
            LinkType::LinuxSll | LinkType::LinuxSll2 => {
                code.load(LDX_IMM, 0);
                code.load(LD | WORD | ABS, AD_PROTOCOL);
                code.step_over_tags();
            }
            LinkType::RawIp => code.load(LDX_IMM, 0),
            LinkType::Loopback
            | LinkType::Ppp
            | LinkType::PppoeSession
            | LinkType::CiscoHdlc
            | LinkType::IpOverInfiniband
            | LinkType::Nflog => return None,
        }
        code.find_udp();
        code.look_at_ports(ports);
        Some(Self(code.0))
    }

    /// Has the kernel run it for this socket from now on.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    #[expect(unsafe_code, reason = "no crate here attaches a classic BPF program")]
    pub(super) fn attach(&self, socket: impl AsFd) -> io::Result<()> {
        let mut filter: Vec<libc::sock_filter> = self
            .0
            .iter()
            .map(|instruction| libc::sock_filter {
                code: instruction.code,
                jt: instruction.if_true,
                jf: instruction.if_false,
                k: instruction.operand,
            })
            .collect();
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).map_err(io::Error::other)?,
            filter: filter.as_mut_ptr(),
        };
        let length = libc::socklen_t::try_from(size_of_val(&program)).map_err(io::Error::other)?;
        // SAFETY: `program` and the instructions that it points to live until the call returns, and
        // the kernel keeps a copy of its own.
        let result = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                length,
            )
        };
        Ok(Errno::result(result).map(drop)?)
    }
}

// === impl Assembler ===

impl Assembler {
    /// From the type in A and what it is the type of at X to an IP header at X: over VLAN tags and a
    /// PPPoE header.
    fn step_over_tags(&mut self) {
        let mut untagged = Vec::new();
        for _ in 0..VLAN_TAGS_MAX {
            let tags = [0x8100, 0x88a8, 0x9100].map(|tag| self.jump_if(tag));
            untagged.push(self.jump());
            tags.into_iter().for_each(|tag| self.land(tag));
            self.load(LD | HALF | IND, 2);
            self.advance(4);
        }
        untagged.into_iter().for_each(|jump| self.land(jump));
        let ip = [0x0800, 0x86dd].map(|ip| self.jump_if(ip));
        self.refuse_unless(0x8864);
        // A session's header (version, type and code), then PPP's protocol.
        self.load(LD | HALF | IND, 0);
        self.refuse_unless(0x1100);
        self.load(LD | HALF | IND, 6);
        self.advance(8);
        let v4 = self.jump_if(0x0021);
        self.refuse_unless(0x0057);
        self.land(v4);
        ip.into_iter().for_each(|jump| self.land(jump));
    }

    /// From an IP header at X to a UDP header at X, which is whole or the first fragment. Accepts
    /// the other fragments.
    fn find_udp(&mut self) {
        self.load(LD | BYTE | IND, 0);
        self.load(ALU_AND, 0xf0);
        let v4 = self.jump_if(0x40);
        self.refuse_unless(0x60);
        let v6_udp = self.find_v6_udp();
        self.land(v4);
        self.load(LD | BYTE | IND, 9);
        self.refuse_unless(17);
        self.load(LD | HALF | IND, 6);
        self.load(ALU_AND, 0x1fff);
        let first = self.jump_if(0);
        self.refuse_above(FRAGMENTED_LEN_MAX / 8);
        self.accept();
        self.land(first);
        self.load(LD | BYTE | IND, 0);
        self.load(ALU_AND, 0x0f);
        self.load(ALU_LSH, 2);
        self.load(ALU_ADD_X, 0);
        self.load(TAX, 0);
        v6_udp.into_iter().for_each(|jump| self.land(jump));
    }

    /// The same for IPv6; what is found jumps.
    fn find_v6_udp(&mut self) -> Vec<Jump> {
        let (mut udp, mut fragments) = (Vec::new(), Vec::new());
        self.load(LD | BYTE | IND, 6);
        self.advance(40);
        for _ in 0..EXTENSIONS_MAX {
            udp.push(self.jump_if(17));
            fragments.push(self.jump_if(44));
            self.refuse_unless_extension();
            // Its length in units of eight bytes, without the first.
            self.load(LD | BYTE | IND, 0);
            self.load(ST, 1);
            self.load(LD | BYTE | IND, 1);
            self.load(ALU_ADD, 1);
            self.load(ALU_LSH, 3);
            self.load(ALU_ADD_X, 0);
            self.load(TAX, 0);
            self.load(LD | MEM, 1);
        }
        udp.push(self.jump_if(17));
        self.refuse_unless(44);
        fragments.into_iter().for_each(|jump| self.land(jump));
        self.load(LD | HALF | IND, 2);
        self.load(ALU_AND, 0xfff8);
        let first = self.jump_if(0);
        self.refuse_above(FRAGMENTED_LEN_MAX);
        self.load(LD | BYTE | IND, 0);
        let other = self.jump_if(17);
        self.refuse_unless_extension();
        self.land(other);
        self.accept();
        self.land(first);
        self.load(LD | BYTE | IND, 0);
        self.advance(8);
        udp.push(self.jump_if(17));
        // Options of the destination, which nobody sends: the gate looks behind them.
        self.refuse_unless_extension();
        self.accept();
        udp
    }

    /// Accepts a UDP header at X of the right length, to one of these.
    fn look_at_ports(&mut self, ports: &BTreeSet<u16>) {
        let (min, max) = UDP_LEN;
        self.load(LD | HALF | IND, 4);
        self.push(JMP_JGE, 1, 0, min);
        self.refuse();
        self.refuse_above(max);
        if ports.len() > PORTS_MAX {
            return self.accept();
        }
        self.load(LD | HALF | IND, 2);
        for port in ports {
            self.push(JMP_JEQ, 0, 1, (*port).into());
            self.accept();
        }
        self.refuse();
    }

    fn refuse_unless_extension(&mut self) {
        let known = [0, 43].map(|number| self.jump_if(number));
        self.refuse_unless(60);
        known.into_iter().for_each(|jump| self.land(jump));
    }

    /// Moves X on and leaves A as it is.
    fn advance(&mut self, by: u32) {
        self.load(ST, 0);
        self.load(TXA, 0);
        self.load(ALU_ADD, by);
        self.load(TAX, 0);
        self.load(LD | MEM, 0);
    }

    fn refuse_unless(&mut self, value: u32) {
        self.push(JMP_JEQ, 1, 0, value);
        self.refuse();
    }

    fn refuse_unless_not(&mut self, value: u32) {
        self.push(JMP_JEQ, 0, 1, value);
        self.refuse();
    }

    fn refuse_above(&mut self, value: u32) {
        self.push(JMP_JGT, 0, 1, value);
        self.refuse();
    }

    fn jump_if(&mut self, value: u32) -> Jump {
        self.push(JMP_JEQ, 0, 1, value);
        self.jump()
    }

    fn jump(&mut self) -> Jump {
        let at = self.0.len();
        self.load(JMP_JA, 0);
        Jump(at)
    }

    /// The jump leads to what comes next.
    fn land(&mut self, jump: Jump) {
        let here = self.0.len();
        if let Some(instruction) = self.0.get_mut(jump.0) {
            instruction.operand = u32::try_from(here - jump.0 - 1).unwrap_or(0);
        }
    }

    fn accept(&mut self) {
        self.load(RET, SNAPLEN);
    }

    fn refuse(&mut self) {
        self.load(RET, 0);
    }

    fn load(&mut self, code: u16, operand: u32) {
        self.push(code, 0, 0, operand);
    }

    fn push(&mut self, code: u16, if_true: u8, if_false: u8, operand: u32) {
        self.0.push(Instruction {
            code,
            if_true,
            if_false,
            operand,
        });
    }
}
