//! A message grants at most once: here on one host, with everything a lenient decoder would fall for.

use anyhow::ensure;
use harness::capture::Capture;
use harness::postern::Member;
use harness::service::Reach;
use harness::{Result, SPA_PORT, in_lab, wait};
use suite::{Alone, KEY, STANZA};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Short enough to wait for its end.
const SHORT: &str = "FW_ACCESS_TIMEOUT 3\n";

#[test]
fn a_captured_packet_opens_nothing_a_second_time_from_anywhere() {
    in_lab(|lab| {
        let access = STANZA.replace("FW_ACCESS_TIMEOUT 30\n", SHORT);
        let alone = Alone::start(lab, &access)?;
        let capture = Capture::start(&alone.host, "udp port 62201")?;
        alone.knock(&[&["-A", "tcp/22", "-s"], suite::STOCK_ARGS].concat())?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        let packet = capture.nth(1)?.payload;

        alone.send(&alone.stranger, &packet)?;
        alone.wait_until_judged()?;
        ensure!(!alone.agent.has_hole(alone.stranger.v4, "tcp:22")?);
        wait::until("the hole to close", wait::SOON, || {
            Ok(alone.holes()?.is_empty())
        })?;
        alone.send(&alone.user, &packet)?;
        alone.send(&alone.stranger, &packet)?;

        alone.nothing_opened()?;
        alone.user_sees(alone.host.v4, Reach::Silent)
    });
}

#[test]
fn a_packet_without_hmac_cannot_be_dressed_up_as_another_one() {
    in_lab(|lab| {
        let access = format!("SOURCE ANY\nKEY suite-passphrase\nOPEN_PORTS tcp/22\n{SHORT}");
        let alone = Alone::start(lab, &access)?;
        let packet = captured(&alone, &["--key-rijndael", KEY])?;

        let mut dressed = Vec::new();
        for tail in ["=", "==", "=ignored", "A"] {
            dressed.push([packet.as_slice(), tail.as_bytes()].concat());
        }
        dressed.extend(other_characters(&packet, 0, 0b00_1111));
        dressed.extend(other_characters(&packet, packet.len() - 1, 0b11_0000));
        dressed.push([b"U2FsdGVkX1".as_slice(), &packet].concat());
        dressed.push([packet.as_slice(), b"\n"].concat());
        dressed.push([packet.as_slice(), b"\0"].concat());
        ensure!(dressed.len() > 15, "only {} disguises", dressed.len());
        for other in &dressed {
            alone.send(&alone.stranger, other)?;
        }

        alone.nothing_opened()
    });
}

#[test]
fn a_packet_with_hmac_cannot_be_dressed_up_as_another_one() {
    in_lab(|lab| {
        let access = STANZA.replace("FW_ACCESS_TIMEOUT 30\n", SHORT);
        let alone = Alone::start(lab, &access)?;
        let packet = captured(&alone, suite::STOCK_ARGS)?;

        let mut dressed = vec![
            [packet.as_slice(), b"="].concat(),
            [b"U2FsdGVkX1".as_slice(), &packet].concat(),
        ];
        for position in [0, 1, packet.len() / 2, packet.len() - 44, packet.len() - 1] {
            dressed.extend(other_characters(&packet, position, 0));
        }
        for other in &dressed {
            alone.send(&alone.stranger, other)?;
        }

        alone.nothing_opened()
    });
}

#[test]
fn a_packet_of_our_own_client_cannot_be_replayed_with_or_without_its_tag() {
    in_lab(|lab| {
        let access = STANZA.replace("FW_ACCESS_TIMEOUT 30\n", SHORT);
        let alone = Alone::start(lab, &access)?;
        let person = Member::stranger(&alone.user, "nobody");
        let rc = "[lab]\nSPA_SERVER 192.0.2.10\nKEY suite-passphrase\nHMAC_KEY suite-hmac-passphrase\nUSE_HMAC Y\n";
        alone.user.write(".fwknoprc", rc)?;
        let capture = Capture::start(&alone.host, "udp port 62201")?;
        person.knock("192.0.2.10", "tcp/22", &["-n", "lab", "-s"])?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        let packet = capture.nth(1)?.payload;
        wait::until("the hole to close", wait::SOON, || {
            Ok(alone.holes()?.is_empty())
        })?;

        let (tag, rest) = packet.split_at(8);
        for other in [
            packet.clone(),
            rest.to_vec(),
            [tag, &packet].concat(),
            [b"AAAAAAAA", rest].concat(),
        ] {
            alone.send(&alone.stranger, &other)?;
        }

        alone.nothing_opened()
    });
}

#[test]
fn a_denied_packet_cannot_be_tried_again_after_the_policy_changed() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, &STANZA.replace("tcp/22", "tcp/80"))?;
        let capture = Capture::start(&alone.host, "udp port 62201")?;
        alone.knock_as_told()?;
        alone.nothing_opened()?;
        let packet = capture.nth(1)?.payload;

        alone.agent.write_access(&Alone::access(STANZA))?;
        alone.agent.reload(|| Ok(()))?;
        alone.user.send(alone.host.v4, SPA_PORT, &packet)?;
        alone.nothing_opened()?;

        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        Ok(())
    });
}

/// Knocks with `-s` and these keys, and returns the packet after its hole has closed again.
fn captured(alone: &Alone, keys: &[&str]) -> Result<Vec<u8>> {
    let capture = Capture::start(&alone.host, "udp port 62201")?;
    alone.knock(&[&["-A", "tcp/22", "-s"], keys].concat())?;
    alone.agent.opens(alone.user.v4, "tcp:22")?;
    wait::until("the hole to close", wait::SOON, || {
        Ok(alone.holes()?.is_empty())
    })?;
    Ok(capture.nth(1)?.payload)
}

/// The packet with every other character at `position` whose value agrees in the bits of `fixed`.
fn other_characters(packet: &[u8], position: usize, fixed: usize) -> Vec<Vec<u8>> {
    let value_of = |character: u8| ALPHABET.iter().position(|&known| known == character);
    let Some(value) = packet.get(position).copied().and_then(value_of) else {
        return Vec::new();
    };
    (0_usize..)
        .zip(ALPHABET)
        .filter(|(other, _)| *other != value && other & fixed == value & fixed)
        .filter_map(|(_, &character)| {
            let mut changed = packet.to_vec();
            *changed.get_mut(position)? = character;
            Some(changed)
        })
        .collect()
}
