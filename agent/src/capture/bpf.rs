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

use super::filter::UDP_LEN;
use super::{SNAPLEN, Transports};

/// A program that the kernel runs for each frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Program(Vec<Instruction>);

/// What a program is to let through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Where a transport has ports.
    pub(super) ports: &'a BTreeSet<u16>,
    pub(super) transports: Transports,
    /// Also what the host itself sends or forwards.
    pub(super) any_direction: bool,
}

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
const LEN: u16 = 0x80;
/// What the kernel knows of a frame beside its bytes.
const AD_PROTOCOL: u32 = 0xffff_f000;
const AD_PKTTYPE: u32 = 0xffff_f004;
const PACKET_OUTGOING: u32 = 4;
/// Ports that are compared; with more in the policy, every port passes, and the gate looks.
const PORTS_MAX: usize = 1_500;
/// Of a frame, and in front of IPv6's transport. The gate reads some more in files.
const VLAN_TAGS_MAX: usize = 2;
const EXTENSIONS_MAX: usize = 4;
/// Headers of IPv6 whose length is where RFC 6564 has it.
const EXTENSIONS: [u32; 3] = [0, 43, 60];
/// Its bytes are for somebody else.
const ESP: u32 = 50;
/// Protocols of IP by their number.
const KNOWN: [(Transports, u32); 5] = [
    (Transports::UDP, 17),
    (Transports::TCP, 6),
    (Transports::ICMP, 1),
    (Transports::ICMP, 58),
    (Transports::GRE, 47),
];
/// The shortest IP header, and the shortest SPA packet behind it.
const FRAME_LEN_MIN: u32 = 20 + 140;

// === impl Program ===

impl Program {
    /// Lets through what can be an SPA packet of those that are wanted, off an interface of this link
    /// type; `None` where the kernel runs no filter.
    pub(super) fn new(link: LinkType, wanted: Wanted<'_>) -> Option<Self> {
        let mut code = Assembler::default();
        if !wanted.any_direction {
            code.load(LD | WORD | ABS, AD_PKTTYPE);
            code.refuse_if(PACKET_OUTGOING);
        }
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
        code.find_transport(wanted.transports);
        code.look_at_transport(wanted);
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

    /// From an IP header at X to the header of a transport at X, whose number is in A and one of those
    /// that are wanted. It is whole or the first fragment; accepts the other fragments.
    fn find_transport(&mut self, wanted: Transports) {
        self.load(LD | BYTE | IND, 0);
        self.load(ALU_AND, 0xf0);
        let v4 = self.jump_if(0x40);
        self.refuse_unless(0x60);
        let found = self.find_v6_transport(wanted);
        self.land(v4);
        self.load(LD | BYTE | IND, 9);
        let is_wanted = self.jump_if_transport(wanted);
        self.refuse();
        is_wanted.into_iter().for_each(|jump| self.land(jump));
        self.load(LD | HALF | IND, 6);
        self.load(ALU_AND, 0x1fff);
        let first = self.jump_if(0);
        self.refuse_above(FRAGMENTED_LEN_MAX / 8);
        self.accept();
        self.land(first);
        // With one transport there is nothing to tell apart.
        let is_one = wanted == Transports::UDP;
        if !is_one {
            self.load(LD | BYTE | IND, 9);
            self.load(ST, 1);
        }
        self.load(LD | BYTE | IND, 0);
        self.load(ALU_AND, 0x0f);
        self.load(ALU_LSH, 2);
        self.load(ALU_ADD_X, 0);
        self.load(TAX, 0);
        if !is_one {
            self.load(LD | MEM, 1);
        }
        found.into_iter().for_each(|jump| self.land(jump));
    }

    /// The same for IPv6; what is found jumps.
    fn find_v6_transport(&mut self, wanted: Transports) -> Vec<Jump> {
        let (mut found, mut fragments) = (Vec::new(), Vec::new());
        self.load(LD | BYTE | IND, 6);
        self.advance(40);
        for _ in 0..EXTENSIONS_MAX {
            found.extend(self.jump_if_transport(wanted));
            fragments.push(self.jump_if(44));
            let extensions = EXTENSIONS.map(|number| self.jump_if(number));
            self.refuse();
            extensions.into_iter().for_each(|jump| self.land(jump));
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
        found.extend(self.jump_if_transport(wanted));
        self.refuse_unless(44);
        fragments.into_iter().for_each(|jump| self.land(jump));
        self.load(LD | HALF | IND, 2);
        self.load(ALU_AND, 0xfff8);
        let first = self.jump_if(0);
        self.refuse_above(FRAGMENTED_LEN_MAX);
        self.load(LD | BYTE | IND, 0);
        let mut others = self.jump_if_transport(wanted);
        others.extend(EXTENSIONS.map(|number| self.jump_if(number)));
        self.refuse();
        others.into_iter().for_each(|jump| self.land(jump));
        self.accept();
        self.land(first);
        self.load(LD | BYTE | IND, 0);
        self.advance(8);
        found.extend(self.jump_if_transport(wanted));
        let extensions = EXTENSIONS.map(|number| self.jump_if(number));
        self.refuse();
        // Options of the destination, which nobody sends: the gate looks behind them.
        extensions.into_iter().for_each(|jump| self.land(jump));
        self.accept();
        found
    }

    /// Jumps if the number in A is that of a transport that is wanted.
    fn jump_if_transport(&mut self, wanted: Transports) -> Vec<Jump> {
        let known = KNOWN.iter().filter(|(one, _)| wanted.has(*one));
        let mut jumps: Vec<Jump> = known.map(|(_, number)| self.jump_if(*number)).collect();
        if wanted.has(Transports::OTHER) {
            let unwanted = KNOWN.iter().filter(|(one, _)| !wanted.has(*one));
            let unwanted = unwanted.map(|(_, number)| *number);
            let not_these = unwanted.chain(EXTENSIONS).chain([44, ESP]);
            let not_these: Vec<Jump> = not_these.map(|number| self.jump_if(number)).collect();
            jumps.push(self.jump());
            not_these.into_iter().for_each(|jump| self.land(jump));
        }
        jumps
    }

    /// Accepts a transport at X, whose number is in A, if it can carry an SPA packet, and goes to one of
    /// the ports where it has any.
    fn look_at_transport(&mut self, wanted: Wanted<'_>) {
        let (min, max) = UDP_LEN;
        let has = |one| wanted.transports.has(one);
        let mut tcp = None;
        if wanted.transports != Transports::UDP {
            let udp = has(Transports::UDP).then(|| self.jump_if(17));
            tcp = has(Transports::TCP).then(|| self.jump_if(6));
            self.look_at_length();
            self.accept();
            tcp = tcp.map(|segment| {
                self.land(segment);
                self.look_at_length();
                self.jump()
            });
            udp.into_iter().for_each(|jump| self.land(jump));
        }
        self.load(LD | HALF | IND, 4);
        self.push(JMP_JGE, 1, 0, min);
        self.refuse();
        self.refuse_above(max);
        tcp.into_iter().for_each(|jump| self.land(jump));
        if wanted.ports.len() > PORTS_MAX {
            return self.accept();
        }
        self.load(LD | HALF | IND, 2);
        for port in wanted.ports {
            self.push(JMP_JEQ, 0, 1, (*port).into());
            self.accept();
        }
        self.refuse();
    }

    /// Refuses a frame that is too short or too long for an SPA packet in anything.
    fn look_at_length(&mut self) {
        self.load(LD | WORD | LEN, 0);
        self.push(JMP_JGE, 1, 0, FRAME_LEN_MIN);
        self.refuse();
        self.refuse_above(SNAPLEN);
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

    fn refuse_if(&mut self, value: u32) {
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
