//! What is in the packages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use harness::shell::run;
use harness::{Result, in_lab};

use crate::boot::{Machine, Version, package};

const PACKAGES: &[&str] = &["postern", "postern-agent", "postern-controller"];

/// The files of a package, as dpkg lists them.
fn files(name: &str) -> Result<BTreeSet<String>> {
    let mut list = Command::new("dpkg-deb");
    let ran = run(list.arg("--contents").arg(package(name, Version::Now)?))?.ok()?;
    let path = |line: &str| line.split_whitespace().last().map(str::to_owned);
    Ok(ran.stdout.lines().filter_map(path).collect())
}

/// The commands below `words`, as the help of the program lists them, with all below them.
fn commands(program: &str, words: &[String], found: &mut Vec<String>) -> Result<()> {
    let mut help = Command::new(harness::postern::binary(program)?);
    let ran = run(help.args(words).arg("--help"))?.ok()?;
    let mut lines = ran.stdout.lines().skip_while(|line| *line != "Commands:");
    lines.next();
    for line in lines.take_while(|line| !line.is_empty()) {
        let is_entry = line.starts_with("  ") && !line.starts_with("   ");
        let name = line.split_whitespace().next().filter(|_| is_entry);
        if let Some(name) = name.filter(|name| *name != "help") {
            let mut below = words.to_vec();
            below.push(name.to_owned());
            found.push(format!("{program}-{}", below.join("-")));
            commands(program, &below, found)?;
        }
    }
    Ok(())
}

#[test]
fn every_command_has_its_man_page_in_the_package() -> Result<()> {
    for name in PACKAGES {
        let files = files(name)?;
        let mut pages = vec![(*name).to_owned()];
        commands(name, &[], &mut pages)?;
        ensure!(pages.len() > 3, "{pages:?}");
        for page in pages {
            let path = format!("./usr/share/man/man1/{page}.1.gz");
            ensure!(files.contains(&path), "{name} has no {path}");
        }
    }
    Ok(())
}

#[test]
fn every_package_has_completions_notices_and_its_licence() -> Result<()> {
    for name in PACKAGES {
        let files = files(name)?;
        for path in [
            format!("./usr/share/bash-completion/completions/{name}"),
            format!("./usr/share/zsh/vendor-completions/_{name}"),
            format!("./usr/share/fish/vendor_completions.d/{name}.fish"),
            format!("./usr/share/doc/{name}/NOTICES.gz"),
            format!("./usr/share/doc/{name}/copyright"),
        ] {
            ensure!(files.contains(&path), "{name} has no {path}");
        }
    }
    Ok(())
}

/// What systemd calls the exposure of each unit, out of 10, may not rise.
const EXPOSURES: &[(&str, f64)] = &[
    ("postern-agent", 2.5),
    ("postern-controller", 1.5),
    ("postern-protect", 4.3),
    ("postern-sets", 4.3),
];

#[test]
fn the_units_are_valid_and_confined() {
    in_lab(|lab| {
        let machine = Machine::boot(&lab.node("host", 10)?)?;
        machine.install("postern-agent", Version::Now)?;
        machine.install("postern-controller", Version::Now)?;
        for (unit, limit) in EXPOSURES {
            let file = format!("/lib/systemd/system/{unit}.service");
            let verified =
                machine.try_shell(&format!("systemd-analyze verify --man=yes {file}"))?;
            let said = verified.text();
            let about_us = said
                .lines()
                .find(|line| line.contains("postern") && line.contains(": "));
            ensure!(verified.code == 0 && about_us.is_none(), "{said}");

            let said = machine.shell(&format!("systemd-analyze security --no-pager {unit}"))?;
            let last = said.lines().last().unwrap_or_default();
            let exposure = last
                .rsplit(": ")
                .next()
                .and_then(|text| text.split(' ').next());
            let exposure: f64 = exposure.context("no exposure")?.parse()?;
            ensure!(exposure <= *limit, "{last}");
        }
        Ok(())
    });
}

/// The directories that a unit may write to, by the words of its file.
fn writable(unit: &str) -> Vec<String> {
    let places = [
        ("StateDirectory=", "/var/lib/"),
        ("LogsDirectory=", "/var/log/"),
        ("RuntimeDirectory=", "/run/"),
        ("ReadWritePaths=-", ""),
    ];
    let named = |line: &str| {
        let mut found = places.iter().filter_map(|(word, place)| {
            let name = line.strip_prefix(word)?;
            Some(format!("{place}{name}"))
        });
        found.next()
    };
    unit.lines().filter_map(named).collect()
}

#[test]
fn every_path_below_var_and_run_that_a_page_names_is_one_that_a_unit_may_write_to() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut places = vec!["/run/postern-token".to_owned()];
    for unit in ["postern-agent", "postern-controller"] {
        let file = root.join(format!("deploy/{unit}.service"));
        places.extend(writable(&fs::read_to_string(file)?));
    }
    let mut pages = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs"))? {
        let path = entry?.path();
        pages.extend((path.extension() == Some("md".as_ref())).then_some(path));
    }
    let mut found = 0;
    for page in pages {
        let text = fs::read_to_string(&page)?;
        let is_part =
            |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
        let words = text.split(|character| !is_part(character));
        let ours = words.filter(|word| {
            (word.starts_with("/var/") || word.starts_with("/run/")) && word.contains("postern")
        });
        for path in ours {
            let is_below = |place: &String| {
                let rest = path.strip_prefix(place.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
            };
            ensure!(
                places.iter().any(is_below),
                "{}: no unit may write to {path}; they may write to {places:?}",
                page.display()
            );
            found += 1;
        }
    }
    ensure!(found > 20, "{found}");
    Ok(())
}

/// The rpm of a program, packed of the same build.
fn rpm(name: &str) -> Result<PathBuf> {
    let deb = package(name, Version::Now)?;
    let packages = deb
        .ancestors()
        .nth(2)
        .context("packages lie in a directory")?;
    for entry in fs::read_dir(packages.join("rpm"))? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let version = file.strip_prefix(&format!("{name}-"));
        if version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
        {
            return Ok(path);
        }
    }
    bail!("no rpm of {name}")
}

fn lines_of(program: &str, arguments: &[&str], file: &Path) -> Result<BTreeSet<String>> {
    let ran = run(Command::new(program).args(arguments).arg(file))?.ok()?;
    Ok(ran.stdout.lines().map(str::to_owned).collect())
}

/// Where rpm systems have what Debian has elsewhere.
fn of_rpm_systems(path: &str) -> String {
    let path = path.trim_start_matches('.');
    let path = path.replace(
        "/usr/share/zsh/vendor-completions/",
        "/usr/share/zsh/site-functions/",
    );
    if path.starts_with("/lib/") {
        return format!("/usr{path}");
    }
    path
}

#[test]
fn every_rpm_holds_what_the_deb_holds_where_rpm_systems_look_for_it() -> Result<()> {
    for name in PACKAGES {
        let rpm = rpm(name)?;
        let listed = lines_of("rpm", &["-qlp"], &rpm)?;
        let of_deb = files(name)?;
        let wanted = of_deb.iter().filter(|path| !path.ends_with('/'));
        for path in wanted.map(|path| of_rpm_systems(path)) {
            ensure!(listed.contains(&path), "{name} has no {path}: {listed:#?}");
        }

        let dir = tempfile::tempdir()?;
        let unpack = "rpm2cpio \"$1\" | cpio -idm --quiet";
        let mut command = Command::new("sh");
        command.args(["-ec", unpack, "unpack"]).arg(&rpm);
        run(command.current_dir(dir.path()))?.ok()?;
        for path in listed.iter().filter(|path| path.ends_with(".service")) {
            let unit = Path::new(path).file_name().context("a unit has a name")?;
            let ours = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../deploy")
                .join(unit);
            let packed = fs::read(dir.path().join(path.trim_start_matches('/')))?;
            ensure!(packed == fs::read(ours)?, "{path} is another");
        }
        // Debian has the library under another name; everybody else under this one.
        let libraries = dir.path().join("lib");
        fs::create_dir(&libraries)?;
        let library = "/usr/lib/x86_64-linux-gnu/libpcap.so.0.8";
        std::os::unix::fs::symlink(library, libraries.join("libpcap.so.1"))?;
        let mut program = Command::new(dir.path().join("usr/bin").join(name));
        let version = run(program.arg("--version").env("LD_LIBRARY_PATH", &libraries))?.ok()?;
        ensure!(version.stdout.starts_with(name), "{version:?}");
    }
    let needs = lines_of("rpm", &["-qp", "--requires"], &rpm("postern-agent")?)?;
    let has = |library: &str| needs.iter().any(|needed| needed.starts_with(library));
    ensure!(has("libpcap.so.1") && !has("libpcap.so.0.8"), "{needs:?}");
    Ok(())
}

/// Libraries that every system with glibc has, and the one that captures packets.
const LIBRARIES: &[&str] = &[
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "libpcap.so.0.8",
];

/// What docs/install.md says of old systems.
const GLIBC_MAX: (u32, u32) = (2, 34);

#[test]
fn the_programs_ask_for_no_library_but_that_of_captures_and_for_no_newer_glibc_than_the_page_says()
-> Result<()> {
    for name in PACKAGES {
        let program = harness::postern::binary(name)?;
        let dynamic = lines_of("readelf", &["--dynamic", "--wide"], &program)?;
        let needed = dynamic.iter().filter(|line| line.contains("(NEEDED)"));
        for line in needed {
            let library = line.split(['[', ']']).nth(1).unwrap_or_default();
            let is_known = LIBRARIES.contains(&library);
            let is_agents = *name == "postern-agent" || !library.starts_with("libpcap");
            ensure!(is_known && is_agents, "{name}: {line}");
        }
        let versions = lines_of("readelf", &["--version-info", "--wide"], &program)?;
        for word in versions.iter().flat_map(|line| line.split_whitespace()) {
            let Some(version) = word.strip_prefix("GLIBC_") else {
                continue;
            };
            let mut parts = version.split('.').map(str::parse);
            if let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) {
                ensure!((major, minor) <= GLIBC_MAX, "{name} asks for {word}");
            }
        }
    }
    Ok(())
}
