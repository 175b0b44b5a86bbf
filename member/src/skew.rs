//! How far this machine's clock and the controller's are apart, in words.

use std::fmt;

use rustls::CertificateError;

/// Clocks that are no further apart than this, in seconds, are not blamed for anything.
const TOLERATED_SECS: u64 = 60;

/// What is known of two clocks that do not agree. Which of them is wrong nobody can tell here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Skew {
    /// The controller says what time it is there: so many seconds later than here.
    ControllerAhead(u64),
    /// So many seconds earlier than here.
    ControllerBehind(u64),
    /// A certificate is not valid yet at this machine's time, by so many seconds.
    HereBehindAtLeast(u64),
    /// A certificate is not valid any more at this machine's time, by so many seconds.
    HereAheadAtLeast(u64),
    /// The controller's own certificate, which may be of long ago, begins only in so many seconds.
    ControllerCertificateBegins(u64),
    /// The controller does not take our certificate, because it is not valid at its time.
    NotValidThere,
    /// A certificate is not valid at this machine's time.
    Unknown,
}

// === impl Skew ===

impl Skew {
    /// From the time that the controller says, and ours; `None` when they agree.
    pub(crate) fn of(controller_secs: u64, here_secs: u64) -> Option<Self> {
        let apart = controller_secs.abs_diff(here_secs);
        if apart <= TOLERATED_SECS {
            None
        } else if controller_secs > here_secs {
            Some(Self::ControllerAhead(apart))
        } else {
            Some(Self::ControllerBehind(apart))
        }
    }

    /// From the controller's own certificate, where that does not verify; `None` when that is not for
    /// its time. It was not made just now: either clock may have been wrong, now or then.
    pub(crate) fn of_controller(error: &CertificateError) -> Option<Self> {
        Some(match Self::of_certificate(error)? {
            Self::HereBehindAtLeast(missing) => Self::ControllerCertificateBegins(missing),
            skew @ (Self::ControllerAhead(_)
            | Self::ControllerBehind(_)
            | Self::HereAheadAtLeast(_)
            | Self::ControllerCertificateBegins(_)
            | Self::NotValidThere
            | Self::Unknown) => skew,
        })
    }

    /// From a certificate that does not verify; `None` when that is not for its time.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls may name more ways to fail; none of them is about time"
    )]
    pub(crate) fn of_certificate(error: &CertificateError) -> Option<Self> {
        match error {
            CertificateError::NotValidYetContext { time, not_before } => {
                let missing = not_before.as_secs().saturating_sub(time.as_secs());
                Some(Self::HereBehindAtLeast(missing))
            }
            CertificateError::ExpiredContext { time, not_after } => {
                let over = time.as_secs().saturating_sub(not_after.as_secs());
                Some(Self::HereAheadAtLeast(over))
            }
            CertificateError::NotValidYet | CertificateError::Expired => Some(Self::Unknown),
            _ => None,
        }
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ControllerAhead(secs) => {
                let time = Span(secs);
                write!(
                    f,
                    "the controller's clock is {time} ahead of this machine's"
                )
            }
            Self::ControllerBehind(secs) => {
                let time = Span(secs);
                write!(f, "the controller's clock is {time} behind this machine's")
            }
            Self::HereBehindAtLeast(secs) => {
                let time = Span(secs);
                write!(
                    f,
                    "this machine's clock is at least {time} behind the controller's"
                )
            }
            Self::HereAheadAtLeast(secs) => {
                let time = Span(secs);
                write!(
                    f,
                    "this machine's clock is at least {time} ahead of the controller's"
                )
            }
            Self::ControllerCertificateBegins(secs) => {
                let time = Span(secs);
                write!(
                    f,
                    "the controller's certificate begins only in {time}: this machine's clock is at \
                     least {time} behind the controller's, or that was ahead when the certificate was \
                     made"
                )
            }
            Self::NotValidThere => write!(
                f,
                "our certificate is not valid at the controller's time: its clock and this machine's \
                 differ"
            ),
            Self::Unknown => write!(f, "a certificate is not valid at this machine's time"),
        }
    }
}

/// A time in seconds as people say it, in the largest unit that fits.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            secs @ 0..=119 => write!(f, "{secs} s"),
            secs @ 120..=7_199 => write!(f, "{} min", secs / 60),
            secs @ 7_200..=259_199 => write!(f, "{} h", secs / 3_600),
            secs => write!(f, "{} days", secs / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls_pki_types::UnixTime;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const HOUR: u64 = 3_600;

    fn words(skew: Option<Skew>) -> String {
        skew.unwrap().to_string()
    }

    #[test]
    fn clocks_that_differ_are_said_as_such_and_by_how_much() {
        assert_eq!(
            words(Skew::of(NOW + 26 * HOUR + 5, NOW)),
            "the controller's clock is 26 h ahead of this machine's"
        );
        assert_eq!(
            words(Skew::of(NOW - 400 * 24 * HOUR, NOW)),
            "the controller's clock is 400 days behind this machine's"
        );
        assert_eq!(Skew::of(NOW + 59, NOW), None);
        assert_eq!(Skew::of(NOW - 60, NOW), None);
    }

    #[test]
    fn a_certificate_says_at_least_how_far_this_clock_is_off() {
        let time = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let early = CertificateError::NotValidYetContext {
            time: time(NOW),
            not_before: time(NOW + 5 * HOUR),
        };
        let late = CertificateError::ExpiredContext {
            time: time(NOW + 300),
            not_after: time(NOW),
        };

        assert_eq!(
            words(Skew::of_certificate(&early)),
            "this machine's clock is at least 5 h behind the controller's"
        );
        assert_eq!(
            words(Skew::of_certificate(&late)),
            "this machine's clock is at least 5 min ahead of the controller's"
        );
        assert_eq!(Skew::of_certificate(&CertificateError::BadSignature), None);
        assert_eq!(
            words(Skew::of_controller(&early)),
            "the controller's certificate begins only in 5 h: this machine's clock is at least 5 h \
             behind the controller's, or that was ahead when the certificate was made"
        );
        assert_eq!(Skew::of_controller(&late), Skew::of_certificate(&late));
    }
}
