//! What is known of a packet's bytes: some are known, some are the source's or the port's, whatever
//! that is, some are not known. And what a comparison of them says. Pure.

use std::ops::RangeInclusive;

use super::ruleset::{Comparison, Element, Set};
use super::sources::Sources;
use super::truth::Truth;

/// One byte in a register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Byte {
    /// Of its bits, those of `known` are as in `value`.
    Bits { known: u8, value: u8 },
    /// Byte `index` of something, of which only the bits of `mask` are left; the others are 0.
    Part { of: Symbol, index: u8, mask: u8 },
}

/// What stands for all values that it can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Symbol {
    Source,
    /// The port that is seen here.
    Port,
    /// Name and number of the interface by which it comes in.
    InName,
    InIndex,
}

/// What the symbols stand for.
#[derive(Clone, Debug)]
pub(super) struct Meaning<'r> {
    /// The ports that are looked at together. Comparisons must be the same for all of them.
    pub(super) ports: RangeInclusive<u16>,
    /// Name (padded with zeros), number, and the sources behind it.
    pub(super) interfaces: Vec<(Vec<u8>, u32, &'r Sources)>,
    /// How many bytes an address has.
    pub(super) address_len: usize,
}

/// The ports must be looked at apart: those before `0`, and the rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Split(pub(super) u16);

pub(super) type Told = Result<Truth, Split>;

// === impl Byte ===

impl Byte {
    pub(super) const UNKNOWN: Self = Self::Bits { known: 0, value: 0 };

    pub(super) const fn known(value: u8) -> Self {
        Self::Bits {
            known: u8::MAX,
            value,
        }
    }

    const fn part(of: Symbol, index: u8) -> Self {
        Self::Part {
            of,
            index,
            mask: u8::MAX,
        }
    }

    /// The same with these bits set.
    pub(super) const fn with(self, set: u8) -> Self {
        match self {
            Self::Bits { known, value } => Self::Bits {
                known: known | set,
                value: value | set,
            },
            Self::Part { .. } => Self::Bits {
                known: set,
                value: set,
            },
        }
    }

    /// (self and `mask`) xor `xor`
    pub(super) const fn masked(self, mask: u8, xor: u8) -> Self {
        match self {
            Self::Bits { known, value } => Self::Bits {
                known: known | !mask,
                value: (value & mask) ^ xor,
            },
            Self::Part { .. } if mask == 0 => Self::known(xor),
            Self::Part {
                of,
                index,
                mask: old,
            } if xor == 0 => Self::Part {
                of,
                index,
                mask: old & mask,
            },
            Self::Part { .. } => Self::UNKNOWN,
        }
    }
}

/// All bytes of a symbol.
pub(super) fn symbol(of: Symbol, len: usize) -> Vec<Byte> {
    let len = u8::try_from(len).unwrap_or(u8::MAX);
    (0..len).map(|index| Byte::part(of, index)).collect()
}

/// Bytes that are known.
pub(super) fn known(bytes: &[u8]) -> Vec<Byte> {
    bytes.iter().map(|byte| Byte::known(*byte)).collect()
}

/// A number of which some bits are known, as the host has it.
pub(super) fn bits(known: u32, value: u32) -> Vec<Byte> {
    let pairs = known.to_ne_bytes().into_iter().zip(value.to_ne_bytes());
    let bits = pairs.map(|(known, value)| Byte::Bits { known, value });
    bits.collect()
}

// === impl Meaning ===

impl Meaning<'_> {
    /// Whether the bytes compare so with `with`.
    pub(super) fn compare(&self, bytes: &[Byte], how: Comparison, with: &[u8]) -> Told {
        let zeros = vec![0; with.len()];
        let ones = vec![u8::MAX; with.len()];
        match how {
            Comparison::Equal => self.is_between(bytes, with, with),
            Comparison::NotEqual => Ok(self.is_between(bytes, with, with)?.not()),
            Comparison::LessOrEqual => self.is_between(bytes, &zeros, with),
            Comparison::Greater => Ok(self.is_between(bytes, &zeros, with)?.not()),
            Comparison::GreaterOrEqual => self.is_between(bytes, with, &ones),
            Comparison::Less => Ok(self.is_between(bytes, with, &ones)?.not()),
        }
    }

    /// Whether the bytes, as one number, are from `low` to `high`.
    pub(super) fn is_between(&self, bytes: &[Byte], low: &[u8], high: &[u8]) -> Told {
        let in_interface = |byte: &Byte| {
            matches!(
                byte,
                Byte::Part {
                    of: Symbol::InName | Symbol::InIndex,
                    ..
                }
            )
        };
        if bytes.iter().any(in_interface) {
            return self.of_interfaces(bytes, low, high);
        }
        if low == high {
            return self.is_equal(bytes, low);
        }
        let whole = |symbol, len: usize| bytes == self::symbol(symbol, len).as_slice();
        if let Some(values) = values(bytes) {
            return Ok(Truth::of(low <= &*values && &*values <= high));
        }
        if whole(Symbol::Source, self.address_len) {
            let sources = Sources::range(number(low), number(high));
            return Ok(Truth::sources(sources));
        }
        if whole(Symbol::Port, 2) {
            return self.of_ports(port(low), port(high));
        }
        // Everything is between the least and the greatest.
        let is_any = low.iter().all(|byte| *byte == 0) && high.iter().all(|byte| *byte == u8::MAX);
        Ok(if is_any { Truth::YES } else { Truth::MAYBE })
    }

    fn is_equal(&self, bytes: &[Byte], with: &[u8]) -> Told {
        let mut truth = Truth::YES;
        let (mut source, mut asked) = ((0_u128, 0_u128), (0_u16, 0_u16));
        for (byte, with) in bytes.iter().zip(with) {
            match *byte {
                Byte::Bits { known, value } => {
                    if (value ^ with) & known != 0 {
                        return Ok(Truth::NO);
                    }
                    if known != u8::MAX {
                        truth = Truth::MAYBE;
                    }
                }
                Byte::Part { mask, .. } if with & !mask != 0 => return Ok(Truth::NO),
                Byte::Part {
                    of: Symbol::Source,
                    index,
                    mask,
                } => {
                    let place = 8 * (self.address_len.saturating_sub(1 + usize::from(index)));
                    source.0 |= u128::from(mask) << place;
                    source.1 |= u128::from(*with) << place;
                }
                Byte::Part {
                    of: Symbol::Port,
                    index,
                    mask,
                } => {
                    let place = 8 * u32::from(1_u8.saturating_sub(index));
                    asked.0 |= u16::from(mask) << place;
                    asked.1 |= u16::from(*with) << place;
                }
                Byte::Part { .. } => truth = Truth::MAYBE,
            }
        }
        if source.0 != 0 {
            truth = truth.and(&self.of_source(source.0, source.1));
        }
        if asked.0 != 0 && !truth.is_no() {
            truth = truth.and(&self.of_port(asked.0, asked.1)?);
        }
        Ok(truth)
    }

    /// Sources whose bits in `mask` are as in `value`.
    fn of_source(&self, mask: u128, value: u128) -> Truth {
        let width = 8 * self.address_len;
        let all = u128::MAX >> (128 - width.min(128));
        let hosts = all & !mask;
        if hosts & hosts.wrapping_add(1) == 0 {
            Truth::sources(Sources::range(value, value | hosts))
        } else {
            Truth::MAYBE
        }
    }

    fn of_port(&self, mask: u16, value: u16) -> Told {
        if mask == u16::MAX {
            return self.of_ports(value, value);
        }
        let (first, last) = (*self.ports.start(), *self.ports.end());
        Ok(if first == last {
            Truth::of(first & mask == value)
        } else {
            Truth::MAYBE
        })
    }

    /// Whether the port is from `low` to `high`.
    pub(super) fn of_ports(&self, low: u16, high: u16) -> Told {
        let (first, last) = (*self.ports.start(), *self.ports.end());
        if high < first || last < low || low > high {
            return Ok(Truth::NO);
        }
        if low <= first && last <= high {
            return Ok(Truth::YES);
        }
        Err(Split(if first < low { low } else { high + 1 }))
    }

    /// One interface after the other, each for those behind it.
    fn of_interfaces(&self, bytes: &[Byte], low: &[u8], high: &[u8]) -> Told {
        let mut truth = Truth::NO;
        let mut nowhere = Sources::All;
        for (name, index, sources) in &self.interfaces {
            let index = index.to_ne_bytes();
            let of_this = |byte: &Byte| match *byte {
                Byte::Part {
                    of: Symbol::InName,
                    index: at,
                    mask,
                } => Byte::known(name.get(usize::from(at)).unwrap_or(&0) & mask),
                Byte::Part {
                    of: Symbol::InIndex,
                    index: at,
                    mask,
                } => Byte::known(index.get(usize::from(at)).unwrap_or(&0) & mask),
                Byte::Part { .. } | Byte::Bits { .. } => *byte,
            };
            let bytes: Vec<Byte> = bytes.iter().map(of_this).collect();
            let here = Truth::sources((*sources).clone());
            truth.or(&self.is_between(&bytes, low, high)?.and(&here));
            nowhere.remove(sources);
        }
        // It does not come over the loopback interface, whatever else.
        if !is_loopback(bytes, low) {
            truth.maybe.add(&nowhere);
        }
        Ok(truth)
    }

    /// Which elements of a set these bytes may be, each with for whom.
    pub(super) fn look_up<'s>(
        &self,
        bytes: &[Byte],
        set: &'s Set,
    ) -> Result<Vec<(Truth, &'s Element)>, Split> {
        let mut found = Vec::new();
        for element in &set.elements {
            let truth = self.is_element(bytes, set, element)?;
            if !truth.is_no() {
                found.push((truth, element));
            }
        }
        if let Some(otherwise) = &set.otherwise {
            let mut any = Truth::NO;
            for (truth, _) in &found {
                any.or(truth);
            }
            found.push((any.not(), otherwise));
        }
        Ok(found)
    }

    fn is_element(&self, bytes: &[Byte], set: &Set, element: &Element) -> Told {
        let mut truth = Truth::YES;
        let mut at = 0;
        for len in &set.fields {
            let range = at..at + len;
            let parts = (
                bytes.get(range.clone()),
                element.low.get(range.clone()),
                element.high.get(range),
            );
            let (Some(bytes), Some(low), Some(high)) = parts else {
                return Ok(Truth::MAYBE);
            };
            truth = truth.and(&self.is_between(bytes, low, high)?);
            if truth.is_no() {
                break;
            }
            at += len.next_multiple_of(4);
        }
        Ok(truth)
    }
}

/// Whether it is compared with the loopback interface.
fn is_loopback(bytes: &[Byte], with: &[u8]) -> bool {
    match bytes.first() {
        Some(Byte::Part {
            of: Symbol::InName, ..
        }) => with.starts_with(b"lo\0"),
        Some(Byte::Part {
            of: Symbol::InIndex,
            ..
        }) => with == 1_u32.to_ne_bytes(),
        Some(Byte::Part { .. } | Byte::Bits { .. }) | None => false,
    }
}

/// The bytes, if all of them are known.
pub(super) fn values(bytes: &[Byte]) -> Option<Vec<u8>> {
    let value = |byte: &Byte| match *byte {
        Byte::Bits {
            known: u8::MAX,
            value,
        } => Some(value),
        Byte::Bits { .. } | Byte::Part { .. } => None,
    };
    bytes.iter().map(value).collect()
}

fn number(bytes: &[u8]) -> u128 {
    bytes
        .iter()
        .take(16)
        .fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn port(bytes: &[u8]) -> u16 {
    u16::try_from(number(bytes)).unwrap_or(u16::MAX)
}
