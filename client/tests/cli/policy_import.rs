//! `postern policy import`: access.conf of several hosts in, one policy of a fleet out.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::sandbox::Sandbox;

const KEYS: &str = "KEY hunter2hunter2\nHMAC_KEY hunter3hunter3\n";

#[test]
fn what_is_proposed_of_many_hosts_is_a_policy_that_policy_check_takes() {
    let sandbox = Sandbox::new();
    let ssh = format!("SOURCE ANY\n{KEYS}REQUIRE_USERNAME alice\nOPEN_PORTS tcp/22\n");
    let root = sandbox.dir.path().display().to_string();
    // As in a backup of a whole host, with an include that is absolute there.
    sandbox.write(
        "a/etc/fwknop/access.conf",
        "%include /etc/fwknop/more.inc\n",
    );
    sandbox.write("a/etc/fwknop/more.inc", &ssh);
    sandbox.write(
        "b/access.conf",
        format!("{ssh}\nSOURCE 192.0.2.0/24\nKEY x\nOPEN_PORTS tcp/80\n"),
    );
    let out = format!("{root}/fleet.conf");
    let hosts = [format!("web-1={root}/a"), format!("web-2={root}/b")];
    let words = |more: &[&str]| {
        let words = ["policy", "import", &*hosts[0], &*hosts[1]];
        let words = words.iter().chain(more).map(|word| (*word).to_owned());
        words.collect::<Vec<String>>()
    };

    let ran = sandbox.run(&words(&["--to", &out]));

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("is good on 2 hosts (web-1, web-2)"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        fs::metadata(&out).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(text.matches("SOURCE ").count(), 2, "{text}");
    assert!(
        text.contains("name=web-1") && text.contains("name=web-2"),
        "{text}"
    );
    let checked = sandbox.run(&["policy", "check", &out]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    // A file that is there stays as it is.
    assert_eq!(sandbox.run(&words(&["--to", &out])).code, 1);
    assert_eq!(fs::read_to_string(&out).unwrap(), text);
    let lines = sandbox.run(&words(&["--json"])).stdout;
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["type"], &last["stanzas"], &last["stanzas_before"]),
        (&"policy".into(), &2.into(), &3.into())
    );
}

#[test]
fn a_date_is_the_moment_that_it_is_on_its_host_and_the_moment_is_told() {
    let sandbox = Sandbox::new();
    let root = sandbox.dir.path();
    let text = format!("SOURCE ANY\n{KEYS}OPEN_PORTS tcp/22\nACCESS_EXPIRE 06/30/27\n");
    for (host, zone) in [("a", "Asia/Tokyo"), ("b", "America/New_York")] {
        sandbox.write(&format!("{host}/etc/fwknop/access.conf"), &text);
        let link = root.join(host).join("etc/localtime");
        symlink(format!("../usr/share/zoneinfo/{zone}"), link).unwrap();
    }
    let hosts = ["a", "b"].map(|host| format!("{host}={}", root.join(host).display()));

    let ran = sandbox.run(&["policy", "import", &hosts[0], &hosts[1]]);

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // `TZ=Asia/Tokyo date -d 2027-06-30 +%s`, and in New York.
    for second in ["1814281200", "1814328000"] {
        let line = format!("ACCESS_EXPIRE_EPOCH {second}\n");
        assert!(ran.stdout.contains(&line), "{}", ran.stdout);
        let told = "access ends at 2027-06-30 00:00:00 ";
        assert!(
            ran.stderr.contains(told) && ran.stderr.contains(second),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn every_mistake_of_every_host_is_told_and_no_secret() {
    let sandbox = Sandbox::new();
    let one = sandbox
        .write("one.conf", "SOURCE ANY\nKYE hunter2hunter2\n")
        .display()
        .to_string();
    let two = sandbox
        .write("two.conf", format!("SOURCE ANY\n{KEYS}OPEN_PORTS x\n"))
        .display()
        .to_string();

    let ran = sandbox.run(&["policy", "import", &format!("a={one}"), &format!("b={two}")]);

    assert_eq!((ran.code, &*ran.stdout), (64, ""));
    for told in ["one.conf:2: KYE", "two.conf:4: OPEN_PORTS"] {
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("hunter"), "{}", ran.stderr);
    assert_eq!(sandbox.run(&["policy", "import", "no-folder"]).code, 2);
    assert_eq!(
        sandbox
            .run(&["policy", "import", &format!("a={one}x")])
            .code,
        1
    );
}
