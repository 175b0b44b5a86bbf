//! One signature of a file, read from p0f's form, and whether a SYN has it.
//!
//! `version:ttl:options:mss:window,scale:layout:quirks:payload`, as p0f 3 documents it.

use super::syn::{KIND_WORDS, OptionKinds, Quirks, Syn, Unit, kinds};
use crate::problem::Problem;

/// How many hops away a sender may be, for its time to live to be what it began with.
const HOPS_MAX: u8 = 35;
/// The highest multiple of a segment or packet that a window may be.
const FACTOR_MAX: u16 = 1000;

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    is_v6: Option<bool>,
    ttl: u8,
    /// Whether the sender takes any time to live up to that one.
    any_ttl_below: bool,
    ip_options_len: u8,
    mss: Option<u16>,
    window: Window,
    scale: Option<u8>,
    options: OptionKinds,
    eol_pad: u8,
    quirks: Quirks,
    has_payload: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Any,
    Exactly(u16),
    MultipleOf(u16),
    Times(Unit, u16),
}

/// How well a SYN has a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Exact,
    /// But for what a network on the way may have changed.
    Fuzzy,
    None,
}

// === impl Signature ===

impl Signature {
    /// Reads the value of a `sig` line.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let fields: Vec<&str> = text.split(':').collect();
        let [
            version,
            ttl,
            ip_options,
            mss,
            window_and_scale,
            layout,
            quirks,
            payload,
        ] = *fields
        else {
            return Err(Problem::new(format!(
                "the signature has {} fields between colons, and not 8",
                fields.len()
            ))
            .hint("version:ttl:options:mss:window,scale:layout:quirks:payload"));
        };
        let is_v6 = match version {
            "4" => Some(false),
            "6" => Some(true),
            "*" => None,
            _ => return Err(of_field("version", "is neither 4, 6 nor *")),
        };
        let (ttl, any_ttl_below) = time_to_live(ttl)?;
        let (window, scale) = window_and_scale
            .split_once(',')
            .ok_or_else(|| of_field("window", "has no scale behind a comma"))?;
        let (options, eol_pad) = layout_of(layout)?;
        Ok(Self {
            is_v6,
            ttl,
            any_ttl_below,
            ip_options_len: number(ip_options, 0, u8::MAX)
                .ok_or_else(|| of_field("options", "is not a number of bytes from 0 to 255"))?,
            mss: wild(mss, |mss| number(mss, 0, u16::MAX))
                .ok_or_else(|| of_field("mss", "is neither a number up to 65535 nor *"))?,
            window: window_of(window)?,
            scale: wild(scale, |scale| number(scale, 0, u8::MAX))
                .ok_or_else(|| of_field("scale", "is neither a number up to 255 nor *"))?,
            options,
            eol_pad,
            quirks: quirks_of(quirks, is_v6)?,
            has_payload: match payload {
                "0" => Some(false),
                "+" => Some(true),
                "*" => None,
                _ => return Err(of_field("payload", "is neither 0, + nor *")),
            },
        })
    }

    /// Whether a SYN has it. A smaller set of quirks, or a time to live that cannot be, is a fuzzy
    /// fit where a network on the way explains it. As with p0f, the version decides only which quirks
    /// there can be: the same system often looks alike in both.
    pub(super) fn fit(&self, syn: &Syn) -> Fit {
        let is_as_written = self.options == syn.options
            && self.eol_pad == syn.eol_pad
            && self.ip_options_len == syn.ip_options_len
            && self.mss.is_none_or(|mss| mss == syn.mss)
            && self.scale.is_none_or(|scale| scale == syn.scale)
            && self
                .has_payload
                .is_none_or(|payload| payload == syn.has_payload)
            && self.window.is_of(syn);
        if !is_as_written {
            return Fit::None;
        }
        match (self.quirks_fit(syn), self.ttl_fit(syn)) {
            (Fit::None, _) | (_, Fit::None) => Fit::None,
            (Fit::Exact, Fit::Exact) => Fit::Exact,
            (Fit::Fuzzy, _) | (_, Fit::Fuzzy) => Fit::Fuzzy,
        }
    }

    /// Networks clear DF and the identification with it, set an identification, and mark congestion.
    fn quirks_fit(&self, syn: &Syn) -> Fit {
        let own = match (self.is_v6, syn.is_v6) {
            (None, true) => self.quirks.without(Quirks::OF_V4),
            (None, false) => self.quirks.without(Quirks::FLOW),
            (Some(_), _) => self.quirks,
        };
        let gone = own.without(syn.quirks);
        let come = syn.quirks.without(own);
        let may_go = Quirks::DF.and(Quirks::ID_PLUS);
        let may_come = Quirks::ID_MINUS.and(Quirks::ECN);
        if gone.is_empty() && come.is_empty() {
            Fit::Exact
        } else if gone.without(may_go).is_empty() && come.without(may_come).is_empty() {
            Fit::Fuzzy
        } else {
            Fit::None
        }
    }

    fn ttl_fit(&self, syn: &Syn) -> Fit {
        match self.ttl.checked_sub(syn.ttl) {
            Some(hops) if self.any_ttl_below || hops <= HOPS_MAX => Fit::Exact,
            None if self.any_ttl_below => Fit::None,
            Some(_) | None => Fit::Fuzzy,
        }
    }
}

// === impl Window ===

impl Window {
    fn is_of(self, syn: &Syn) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(window) => window == syn.window,
            Self::MultipleOf(unit) => syn.window.is_multiple_of(unit),
            Self::Times(unit, factor) => syn
                .window_multiple()
                .is_some_and(|own| own.unit == unit && own.factor == factor),
        }
    }
}

fn of_field(field: &str, problem: &str) -> Problem {
    Problem::new(format!("the field {field} {problem}"))
}

/// A decimal number without sign, from `min` to `max`.
fn number<N>(text: &str, min: N, max: N) -> Option<N>
where
    N: std::str::FromStr + PartialOrd,
{
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: N = text.parse().ok().filter(|_| is_number)?;
    (min <= number && number <= max).then_some(number)
}

/// A value, or `*` for any.
fn wild<T>(text: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "*" {
        return Some(None);
    }
    read(text).map(Some)
}

/// `64`, `54+10` as it is observed, `255-` for a sender that takes any.
fn time_to_live(text: &str) -> Result<(u8, bool), Problem> {
    let wrong = || {
        of_field(
            "ttl",
            "is not a number from 1 to 255, perhaps with `-`, or a sum",
        )
    };
    if let Some(most) = text.strip_suffix('-') {
        let most = number(most, 1, u8::MAX).ok_or_else(wrong)?;
        return Ok((most, true));
    }
    let (seen, hops) = text.split_once('+').unwrap_or((text, "0"));
    let seen = number(seen, 1, u8::MAX).ok_or_else(wrong)?;
    let hops = number(hops, 0, u8::MAX).ok_or_else(wrong)?;
    seen.checked_add(hops)
        .map(|ttl| (ttl, false))
        .ok_or_else(wrong)
}

fn window_of(text: &str) -> Result<Window, Problem> {
    let window = if text == "*" {
        Some(Window::Any)
    } else if let Some(unit) = text.strip_prefix('%') {
        number(unit, 2, u16::MAX).map(Window::MultipleOf)
    } else if let Some(factor) = text.strip_prefix("mss*") {
        number(factor, 1, FACTOR_MAX).map(|factor| Window::Times(Unit::Mss, factor))
    } else if let Some(factor) = text.strip_prefix("mtu*") {
        number(factor, 1, FACTOR_MAX).map(|factor| Window::Times(Unit::Mtu, factor))
    } else {
        number(text, 0, u16::MAX).map(Window::Exactly)
    };
    window.ok_or_else(|| of_field("window", "is none of 8192, mss*4, mtu*4, %8192 and *"))
}

fn layout_of(text: &str) -> Result<(OptionKinds, u8), Problem> {
    let (mut options, mut eol_pad) = (OptionKinds::default(), 0);
    let mut words = text.split(',').filter(|_| !text.is_empty()).peekable();
    while let Some(word) = words.next() {
        let kind = if let Some(pad) = word.strip_prefix("eol+") {
            if words.peek().is_some() {
                return Err(of_field("layout", "has options behind eol"));
            }
            eol_pad = number(pad, 0, u8::MAX)
                .ok_or_else(|| of_field("layout", "has no number from 0 to 255 behind eol+"))?;
            Some(kinds::EOL)
        } else if let Some(other) = word.strip_prefix('?') {
            number(other, 0, u8::MAX)
        } else {
            let known = KIND_WORDS
                .iter()
                .find(|(known, _)| *known == word && word != "eol");
            known.map(|(_, kind)| *kind)
        };
        let kind = kind.ok_or_else(|| {
            of_field("layout", &format!("has `{word}`, which is no option"))
                .hint("eol+N, nop, mss, ws, sok, sack, ts and ?N are")
        })?;
        if !options.push(kind) {
            let most = OptionKinds::MAX;
            return Err(of_field("layout", &format!("has more than {most} options")));
        }
    }
    Ok((options, eol_pad))
}

fn quirks_of(text: &str, is_v6: Option<bool>) -> Result<Quirks, Problem> {
    let mut quirks = Quirks::default();
    for word in text.split(',').filter(|_| !text.is_empty()) {
        let known = Quirks::WORDS.iter().find(|(known, _)| *known == word);
        let Some(&(_, quirk)) = known else {
            let words = Quirks::WORDS.map(|(word, _)| word).join(", ");
            return Err(of_field("quirks", &format!("has `{word}`, which is none"))
                .hint(format!("{words} are")));
        };
        let other_version = match is_v6 {
            Some(true) => Quirks::OF_V4.and(Quirks::ZERO_PLUS).contains(quirk),
            Some(false) => quirk == Quirks::FLOW,
            None => false,
        };
        if other_version {
            let version = if is_v6 == Some(true) { 6 } else { 4 };
            return Err(of_field(
                "quirks",
                &format!("has `{word}`, which IPv{version} cannot have"),
            ));
        }
        quirks.add_if(true, quirk);
    }
    Ok(quirks)
}
