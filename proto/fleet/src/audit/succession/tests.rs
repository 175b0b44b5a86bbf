use proptest::prelude::*;

use super::*;

fn signer(seed: u8) -> AuditSigner {
    AuditSigner::new("prod", &[seed; 32])
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint {
        size,
        root: [9; 32],
        at_ms: size + 1,
    }
}

/// A log with `keys` keys, which changed after each hundredth record.
fn notes(keys: u8) -> Vec<String> {
    (1..keys)
        .map(|seed| {
            let last = checkpoint(u64::from(seed) * 100);
            Succession::sign(&last, &signer(seed), &signer(seed + 1))
        })
        .collect()
}

fn chain<S: AsRef<str>>(newest: u8, notes: &[S]) -> Result<KeyChain, BrokenKeyChain> {
    KeyChain::of(signer(newest).public(), notes.iter().map(AsRef::as_ref))
}

/// One line of a note is replaced by another.
fn with_line(note: &str, at: usize, line: &str) -> String {
    let mut lines: Vec<&str> = note.lines().collect();
    lines[at] = line;
    lines.join("\n") + "\n"
}

fn without_line(note: &str, at: usize) -> String {
    let kept = note.lines().enumerate().filter(|(line, _)| *line != at);
    kept.map(|(_, line)| format!("{line}\n")).collect()
}

#[test]
fn a_succession_is_the_last_checkpoint_of_one_key_and_both_verify_it() {
    let note = &notes(2)[0];
    let (from, to) = (signer(1).public(), signer(2).public());

    for key in [&from, &to] {
        assert_eq!(Checkpoint::open(note, key), Ok(checkpoint(100)));
    }
    let opened = Succession::open(note).unwrap();
    assert_eq!((opened.from, opened.to), (from, to));
    assert_eq!(opened.checkpoint, checkpoint(100));
    assert_eq!(
        Succession::open(&checkpoint(100).sign(&signer(1))),
        Err(InvalidSuccession::Form)
    );
}

#[test]
fn a_succession_that_only_one_key_has_signed_is_none() {
    let note = &notes(2)[0];
    // Six lines, an empty one, and the two signatures.
    for (at, why) in [(7, InvalidSuccession::From), (8, InvalidSuccession::To)] {
        let lacking = without_line(note, at);
        assert_eq!(Succession::open(&lacking), Err(why));
        // That of another text, or of another key, is as good as none.
        let others = Succession::sign(&checkpoint(99), &signer(1), &signer(2));
        let other = with_line(note, at, others.lines().nth(at).unwrap());
        assert_eq!(Succession::open(&other), Err(why));
        let others = Succession::sign(&checkpoint(100), &signer(8), &signer(9));
        let other = with_line(note, at, others.lines().nth(at).unwrap());
        assert_eq!(Succession::open(&other), Err(why));
    }
}

#[test]
fn a_succession_that_names_a_key_of_another_log_is_none() {
    let stage = AuditSigner::new("stage", &[2; 32]);
    for (from, to) in [(&signer(1), &stage), (&stage, &signer(1))] {
        let note = Succession::sign(&checkpoint(100), from, to);
        assert_eq!(Succession::open(&note), Err(InvalidSuccession::Origin));
    }
    // Both of the other log: it is a chain, and none of whoever holds a key of this one.
    let next = AuditSigner::new("stage", &[3; 32]);
    let note = Succession::sign(&checkpoint(100), &stage, &next);
    let other = KeyChain::of(next.public(), [note.as_str()]).unwrap();
    assert!(!other.has(&signer(2).public()) && !other.has(&signer(3).public()));
    let (newest, note) = (signer(3).public(), note.as_str());
    assert_eq!(KeyChain::of(newest, [note]), Err(BrokenKeyChain::End));
}

#[test]
fn a_chain_that_leads_back_to_a_key_that_had_ended_is_none() {
    let [there, back] = [(1, 2), (2, 1)].map(|(from, to)| {
        let last = checkpoint(100);
        Succession::sign(&last, &signer(from), &signer(to))
    });
    assert_eq!(chain(1, &[there, back]), Err(BrokenKeyChain::Again(2)));
    let itself = Succession::sign(&checkpoint(100), &signer(1), &signer(1));
    assert_eq!(chain(1, &[itself]), Err(BrokenKeyChain::Again(1)));
}

#[test]
fn a_key_is_believed_up_to_where_it_ended_and_no_further() {
    let keys = chain(3, &notes(3)).unwrap();
    let by = |seed: u8, size: u64| keys.open(&checkpoint(size).sign(&signer(seed)));

    for (seed, size) in [(1, 100), (1, 7), (2, 200), (2, 150), (3, 7), (3, 9_000)] {
        assert_eq!(by(seed, size), Ok(checkpoint(size)), "{seed} {size}");
    }
    for (seed, size) in [(1, 101), (2, 201), (1, 9_000)] {
        assert_eq!(by(seed, size), Err(InvalidCheckpoint::Ended));
    }
    assert_eq!(by(4, 7), Err(InvalidCheckpoint::Key));
    let ends: Vec<_> = keys.keys().map(|key| keys.end_of(key)).collect();
    assert_eq!(ends, [Some(100), Some(200), None]);
}

#[test]
fn there_are_no_more_keys_than_anybody_can_need() {
    let signer = |number: usize| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        AuditSigner::new("prod", &seed)
    };
    let notes: Vec<_> = (0..=SUCCESSIONS_MAX)
        .map(|from| Succession::sign(&checkpoint(7), &signer(from), &signer(from + 1)))
        .collect();
    let lead_to = |last: usize| {
        let notes = notes[..last].iter().map(String::as_str);
        KeyChain::of(signer(last).public(), notes).map(|chain| chain.successions().len())
    };

    assert_eq!(lead_to(SUCCESSIONS_MAX), Ok(SUCCESSIONS_MAX));
    assert_eq!(lead_to(SUCCESSIONS_MAX + 1), Err(BrokenKeyChain::TooMany));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whoever_holds_any_key_of_a_chain_finds_all_of_it(keys in 1..7_u8, held in 1..7_u8) {
        let whole = chain(keys, &notes(keys)).unwrap();

        prop_assert_eq!(whole.has(&signer(held).public()), held <= keys);
        prop_assert_eq!(whole.newest(), &signer(keys).public());
        let all: Vec<_> = whole.keys().cloned().collect();
        let expected: Vec<_> = (1..=keys).map(|seed| signer(seed).public()).collect();
        prop_assert_eq!(all, expected);
        // And from there on, with what came before left out.
        let from = usize::from(held.min(keys)) - 1;
        let rest = chain(keys, &notes(keys)[from..]).unwrap();
        prop_assert!(rest.has(&signer(held.min(keys)).public()));
    }

    #[test]
    fn a_chain_that_lacks_a_link_is_none(keys in 3..7_u8, lacks in 1..6_usize) {
        let mut lacking = notes(keys);
        let at = 1 + (lacks - 1) % (usize::from(keys) - 2);
        lacking.remove(at);

        let expected = if at + 2 == usize::from(keys) {
            BrokenKeyChain::End
        } else {
            BrokenKeyChain::Gap(at + 1)
        };
        prop_assert_eq!(chain(keys, &lacking), Err(expected));
    }

    #[test]
    fn a_chain_in_another_order_is_none(
        keys in 3..7_u8,
        order in Just((0..5_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let whole = notes(keys);
        let order: Vec<_> = order.into_iter().filter(|at| *at < whole.len()).collect();
        let is_sorted = order.is_sorted();
        let shuffled: Vec<_> = order.into_iter().map(|at| whole[at].clone()).collect();

        prop_assert_eq!(chain(keys, &shuffled).is_ok(), is_sorted);
    }

    #[test]
    fn no_byte_of_a_succession_can_be_changed(at in 0..2_000_usize, bit in 0..8_u8) {
        let note = notes(2).remove(0);
        // The last newline is no part of what is said.
        let at = at % (note.len() - 1);
        let mut changed = note.into_bytes();
        changed[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(changed) {
            prop_assert!(Succession::open(&changed).is_err(), "byte {}", at);
        }
    }

    #[test]
    fn whatever_the_text_opening_ends(text in "(\\PC|\n){0,300}") {
        let _ = Succession::open(&text);
        let _ = chain(2, &[text]);
    }
}
