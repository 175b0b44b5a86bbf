//! What no payload can do, and that every character of a packet counts. Beside a model of it the gate is
//! played in `tests/fuzz`.

use gate::{Decision, Settings};
use proptest::prelude::*;

use crate::support::{NOW_SECS, Scene, keys, message, seal, seal_tagged, stanza};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_payload_panics_or_is_granted(payload in prop::collection::vec(any::<u8>(), 0..1600)) {
        let settings = Settings { spa_over_http: true, x_forwarded_for: true, ..Settings::default() };
        let mut scene = Scene::with(&(stanza("ann", "") + "SOURCE ANY\nKEY ben-key\n"), settings);

        prop_assert!(matches!(scene.send(&payload), Decision::Refused(_)));
        prop_assert!(matches!(scene.send([b"GET /", &payload[..]].concat()), Decision::Refused(_)));
    }

    #[test]
    fn any_changed_character_is_refused(
        place in any::<prop::sample::Index>(),
        character in "[A-Za-z0-9+/]",
        tagged in any::<bool>(),
    ) {
        let mut scene = Scene::new(&(stanza("ann", "") + "SOURCE ANY\nKEY ann-key\n"));
        let asked = message(1, NOW_SECS);
        let packet = if tagged { seal_tagged(&asked, &keys("ann")) } else { seal(&asked, &keys("ann")) };
        let place = place.index(packet.len());
        let changed = format!("{}{character}{}", &packet[..place], &packet[place + 1..]);
        prop_assume!(changed != packet);

        prop_assert!(matches!(scene.send(&changed), Decision::Refused(_)));
        prop_assert!(matches!(scene.send(&packet), Decision::Grant(_)));
    }
}
