use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;

const STANZA: &str = "SOURCE ANY\nKEY one\nHMAC_KEY two\nOPEN_PORTS tcp/22\n";

#[test]
fn a_file_that_is_as_it_was_is_not_judged_again_and_one_byte_more_is() {
    let dir = TempDir::new().unwrap();
    let (path, included) = (dir.path().join("access.conf"), dir.path().join("more.conf"));
    fs::write(&included, STANZA).unwrap();
    fs::write(
        &path,
        format!("{STANZA}\n%include {}\n", included.display()),
    )
    .unwrap();
    let (file, policy) = AccessFile::open(path, GnupgHomes::default()).unwrap();
    file.first(policy, None, Now::default()).unwrap();
    let generation = || match file.read(Now::default()) {
        Ok(Reread::Unchanged) => None,
        Ok(Reread::Policy(policy)) => Some(policy.version.generation),
        Err(invalid) => panic!("{invalid}"),
    };

    assert_eq!(generation(), None);
    fs::write(&included, format!("{STANZA}FW_ACCESS_TIMEOUT 7\n")).unwrap();
    assert_eq!(generation(), Some(2));
    assert_eq!(generation(), None);
    // The same in other words: read again, and no new generation.
    fs::write(&included, format!("{STANZA}FW_ACCESS_TIMEOUT    7\n")).unwrap();
    assert_eq!(generation(), Some(2));
    // What nobody was told is read again.
    file.forget_read();
    assert_eq!(generation(), Some(2));
}

#[test]
fn an_access_file_that_others_may_write_is_refused_and_one_that_they_read_is_said() {
    let dir = TempDir::new().unwrap();
    let (path, included) = (dir.path().join("access.conf"), dir.path().join("more.conf"));
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::write(&included, STANZA).unwrap();
    fs::write(
        &path,
        format!("{STANZA}\n%include {}\n", included.display()),
    )
    .unwrap();
    for exposed_one in [&path, &included] {
        mode(&path, 0o600);
        mode(&included, 0o600);
        assert_eq!(exposed(&path), Vec::<String>::new());
        let (file, policy) = AccessFile::open(path.clone(), GnupgHomes::default()).unwrap();
        file.first(policy, None, Now::default()).unwrap();
        for bits in [0o640, 0o604, 0o644] {
            mode(exposed_one, bits);
            let said = exposed(&path).concat();
            let reason = "others than its owner may read";
            assert!(said.contains(reason), "{bits:o} {said}");
            AccessFile::open(path.clone(), GnupgHomes::default()).unwrap();
        }
        for bits in [0o660, 0o666, 0o602] {
            mode(exposed_one, bits);
            let opened = AccessFile::open(path.clone(), GnupgHomes::default()).map(drop);
            // However often it is asked for: what failed is never taken for what is in force.
            let [once, again] = [(); 2].map(|()| file.read(Now::default()).map(drop));
            for refused in [opened, once, again] {
                let refused = refused.unwrap_err().reasons().concat();
                let mend = format!("`chmod go-w {}`", exposed_one.display());
                assert!(refused.contains(&mend), "{bits:o} {refused}");
            }
        }
        mode(exposed_one, 0o600);
        assert!(file.read(Now::default()).is_ok());
    }
}

#[test]
fn what_is_included_and_no_file_or_another_users_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    let (path, included) = (dir.path().join("access.conf"), dir.path().join("conf.d"));
    fs::create_dir(&included).unwrap();
    let pipe = included.join("pipe.conf");
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    for line in [
        format!("%include {}", pipe.display()),
        format!("%include_folder {}", included.display()),
        "%include /dev/zero".to_owned(),
    ] {
        fs::write(&path, format!("{STANZA}\n{line}\n")).unwrap();
        let opened = AccessFile::open(path.clone(), GnupgHomes::default());
        let refused = opened.map(drop).unwrap_err().reasons().concat();
        assert!(refused.contains("no file"), "{line}: {refused}");
    }
    fs::write(&path, STANZA).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        let opened = AccessFile::open(path, GnupgHomes::default());
        let refused = opened.map(drop).unwrap_err().reasons().concat();
        assert!(refused.contains("`chown root "), "{refused}");
    }
}

#[test]
fn an_access_file_that_is_cut_to_nothing_is_a_mistake_and_the_old_one_stays_in_force() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("access.conf");
    fs::write(&path, STANZA).unwrap();
    let (file, policy) = AccessFile::open(path.clone(), GnupgHomes::default()).unwrap();
    let before = file.first(policy, None, Now::default()).unwrap().version;

    for text in ["", "\n", "# access\n", "PROTECT tcp/22\n"] {
        fs::write(&path, text).unwrap();
        let refused = file.read(Now::default());
        assert!(
            matches!(refused, Err(InvalidAccessFile::NoStanza { .. })),
            "{text:?}"
        );
        // Nor does a start of the agent make of it that nobody is to be hidden from.
        let (next, policy) = AccessFile::open(path.clone(), GnupgHomes::default()).unwrap();
        let seen = Some((before.generation, before.digest));
        assert!(next.first(policy, seen, Now::default()).is_err());
    }
    // One that never had any is none.
    let (file, policy) = AccessFile::open(path, GnupgHomes::default()).unwrap();
    let first = file.first(Arc::clone(&policy), None, Now::default());
    let seen = first.unwrap().version;
    let seen = Some((seen.generation, seen.digest));
    assert!(file.first(policy, seen, Now::default()).is_ok());
}

#[test]
fn an_access_file_that_was_written_on_windows_says_what_it_says_and_utf_16_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("access.conf");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let opened = AccessFile::open(path.clone(), GnupgHomes::default());
        opened.map(|(_, policy)| policy.print(Secrets::Show))
    };
    let unix = read(STANZA.as_bytes()).unwrap();
    let windows = format!("\u{feff}{}", STANZA.replace('\n', "\r\n"));

    assert_eq!(read(windows.as_bytes()).unwrap(), unix);
    let wide: Vec<u8> = windows.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let refused = read(&wide).unwrap_err().reasons().concat();
    assert!(refused.contains("UTF-16"), "{refused}");
}

#[test]
fn what_an_access_file_hides_no_more_is_named() {
    let ports = |text| PortSet::parse(text).unwrap();

    assert_eq!(
        public(&ports("tcp/22,tcp/80"), &ports("tcp/80")),
        ["tcp/22"]
    );
    assert!(public(&ports("tcp/22"), &ports("tcp/22,tcp/80")).is_empty());
}

#[test]
fn protect_lines_are_read_whatever_else_is_wrong_with_the_file() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("access.conf");
    let text = "KYE oops\nPROTECT tcp/22, UDP/53 # both\n protect: tcp/80,oops\n#PROTECT tcp/1\n";
    fs::write(&path, text).unwrap();

    let found: Vec<_> = protect_lines(&path)
        .iter()
        .map(ToString::to_string)
        .collect();

    assert_eq!(found, ["tcp/22", "udp/53", "tcp/80"]);
    assert!(protect_lines(dir.path()).is_empty());
}

#[test]
fn what_cannot_be_used_is_said_however_often_it_is_asked_for_and_is_news_once() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("access.conf");
    fs::write(&path, STANZA).unwrap();
    let (file, policy) = AccessFile::open(path.clone(), GnupgHomes::default()).unwrap();
    file.first(policy, None, Now::default()).unwrap();
    let is_news = || {
        let refused = file.read(Now::default()).map(drop).unwrap_err();
        file.is_news(&refused.reasons())
    };

    let harms: [&dyn Fn(); 3] = [
        &|| fs::write(&path, "KYE oops\n").unwrap(),
        &|| fs::remove_file(&path).unwrap(),
        &|| mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap(),
    ];
    for harm in harms {
        harm();
        assert_eq!([(); 3].map(|()| is_news()), [true, false, false]);
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, STANZA).unwrap();

    let Ok(Reread::Policy(policy)) = file.read(Now::default()) else {
        panic!("the file that was is not read again");
    };
    assert_eq!(policy.version.generation, 1);
    assert!(matches!(file.read(Now::default()), Ok(Reread::Unchanged)));
    fs::write(&path, "KYE oops\n").unwrap();
    assert!(is_news(), "it was well in between");
}
