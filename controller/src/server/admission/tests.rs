use super::*;

const CAPS: Caps = Caps {
    per_address: 4,
    strangers: 8,
    per_member: 2,
    members: 3,
};

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn is_open(place: &Place) -> bool {
    !place.closed.is_cancelled()
}

#[test]
fn where_there_is_no_room_the_oldest_that_is_silent_makes_it() {
    let admission = Admission::new(CAPS);
    let mut places = Vec::new();
    for _ in 0..CAPS.per_address {
        places.push(admission.enter(address(1)).0);
    }
    places[0].has_spoken();

    let (newcomer, exceeded) = admission.enter(address(1));

    let open: Vec<bool> = places.iter().map(is_open).collect();
    assert_eq!(open, [true, false, true, true]);
    assert!(is_open(&newcomer));
    assert_eq!(exceeded, Some(Exceeded::Address(address(1), 4)));
}

#[test]
fn where_all_have_spoken_the_oldest_makes_room() {
    let admission = Admission::new(CAPS);
    let mut places = Vec::new();
    for _ in 0..CAPS.per_address {
        let place = admission.enter(address(1)).0;
        place.has_spoken();
        places.push(place);
    }

    let (newcomer, _) = admission.enter(address(1));

    let open: Vec<bool> = places.iter().map(is_open).collect();
    assert_eq!(open, [false, true, true, true]);
    assert!(is_open(&newcomer));
}

#[test]
fn an_address_that_has_most_makes_room_for_one_that_has_none() {
    let admission = Admission::new(CAPS);
    let enter = |last| admission.enter(address(last)).0;
    let loud: Vec<Place> = (0..4).map(|_| enter(1)).collect();
    let quiet: Vec<Place> = (2..6).map(enter).collect();

    let (newcomer, exceeded) = admission.enter(address(9));

    assert_eq!(loud.iter().filter(|place| is_open(place)).count(), 3);
    assert!(quiet.iter().all(is_open) && is_open(&newcomer));
    assert_eq!(exceeded, Some(Exceeded::Strangers(address(1), 8)));
}

#[test]
fn a_member_never_waits_for_room_that_strangers_have() {
    let admission = Admission::new(CAPS);
    let mut member = admission.enter(address(1)).0;
    assert_eq!(member.becomes_members(7), Ok(()));

    let strangers: Vec<Place> = (0..100).map(|_| admission.enter(address(1)).0).collect();

    assert!(is_open(&member) && member.is_members());
    let open = strangers.iter().filter(|place| is_open(place)).count();
    assert_eq!(open, CAPS.per_address);
}

#[test]
fn one_member_does_not_take_the_room_of_the_others_and_gives_it_back() {
    let admission = Admission::new(CAPS);
    let enter = |id| {
        let mut place = admission.enter(address(1)).0;
        place.becomes_members(id).map(|()| place)
    };
    let first = enter(1).unwrap();
    let second = enter(1).unwrap();
    assert_eq!(enter(1).unwrap_err(), Full::Member(2));
    let other = enter(2).unwrap();
    assert_eq!(enter(3).unwrap_err(), Full::Members(3));

    drop(first);
    assert!(enter(3).is_ok());
    drop((second, other));
    let taken = admission.taken.lock();
    assert_eq!((taken.of_members, taken.members.len()), (0, 0));
    assert!(taken.strangers.is_empty());
}

#[test]
fn room_for_members_is_kept_whatever_the_limit_on_open_files() {
    for files in [0, 64, 256, 1_024, 4_096, 1_048_576, usize::MAX] {
        let caps = Caps::of_files(files);
        assert!(caps.members >= caps.strangers, "{files}: {caps:?}");
        assert!(caps.per_address >= 4, "{files}: {caps:?}");
        let all = caps.members + caps.strangers + OTHER_FILES;
        assert!(files < 256 || all <= files, "{files}: {caps:?}");
    }
    assert_eq!(Caps::of_files(65_536).strangers, 512);
}

#[test]
fn addresses_of_one_ipv6_site_are_counted_together() {
    let parse = |text: &str| text.parse::<IpAddr>().unwrap();

    assert_eq!(site(parse("2001:db8::1")), site(parse("2001:db8::ffff:1")));
    assert_ne!(site(parse("2001:db8::1")), site(parse("2001:db8:0:1::1")));
    assert_eq!(site(parse("::ffff:192.0.2.1")), parse("192.0.2.1"));
}
