//! The pages for whoever installs Postern and takes its events elsewhere, `docs/install.md` and
//! `docs/sinks.md`, played one after the other on machines with systemd and the packages. Every block
//! of both is typed as it stands.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, bail, ensure};
use harness::shell::run;
use harness::{Lab, Node, Ran, Result, in_lab, wait};
use suite::STANZA;
use suite::page::{Cast, Play, all_steps};

use crate::boot::{Machine, Version, package};
use crate::readme::by_person;

/// Who is where, by the names of the pages.
const ADDRESSES: &str = "127.0.0.1 localhost\n192.0.2.11 web-1\n192.0.2.30 controller.example\n\
                         192.0.2.40 packages.example\n";

/// Everybody on the pages.
struct House {
    machines: BTreeMap<&'static str, Machine>,
    /// Who types at no machine of the house.
    laptop: Node,
    /// Where the packages are built.
    build: Node,
    /// Where they are served, and webhooks received.
    elsewhere: Node,
}

// === impl House ===

impl House {
    fn gather(lab: &Lab) -> Result<Self> {
        let mut machines = BTreeMap::new();
        for (name, number) in [
            ("host", 10),
            ("web-1", 11),
            ("controller", 30),
            ("standby", 31),
        ] {
            let machine = Machine::boot(&lab.node(name, number)?)?;
            fs::write(machine.path("/etc/hosts"), ADDRESSES)?;
            // Nobody answers, and says so at once.
            machine
                .shell("rm -f /etc/resolv.conf; echo nameserver 127.0.0.1 > /etc/resolv.conf")?;
            machines.insert(name, machine);
        }
        let laptop = lab.node("laptop", 19)?;
        laptop.write("hosts", ADDRESSES)?;
        let house = Self {
            machines,
            laptop,
            build: lab.node("build", 18)?,
            elsewhere: lab.node("elsewhere", 40)?,
        };
        let deb = package("postern-agent", Version::Now)?;
        let name = deb.file_name().context("a file has a name")?;
        fs::copy(&deb, house.machine("host")?.path("/root").join(name))?;
        for name in ["controller", "standby"] {
            house
                .machine(name)?
                .install("postern-controller", Version::Now)?;
        }
        house.checkout(&deb)?;
        Ok(house)
    }

    fn machine(&self, name: &str) -> Result<&Machine> {
        let machine = self.machines.get(name);
        machine.with_context(|| format!("no machine is called {name}"))
    }

    /// What `make apt-tree` needs of a checkout, after `make package`.
    fn checkout(&self, deb: &Path) -> Result<()> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for name in ["Makefile", "packaging"] {
            symlink(
                fs::canonicalize(repository.join(name))?,
                self.build.dir.join(name),
            )?;
        }
        let packages = self.build.dir.join("target/packages");
        fs::create_dir_all(&packages)?;
        for entry in fs::read_dir(deb.parent().context("a file is in a directory")?)? {
            let entry = entry?;
            fs::copy(entry.path(), packages.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// A line of a shell where the packages are built.
    fn by_builder(&self, text: &str) -> Result<Ran> {
        let dir = &self.build.dir;
        let mut command = self.build.command("bash");
        command
            .args(["-ec", text])
            .env("HOME", dir)
            .env("CARGO_TARGET_DIR", dir.join("target"));
        let ran = run(&mut command);
        // gpg leaves a program behind.
        run(Command::new("gpgconf")
            .env("GNUPGHOME", dir.join(".gnupg"))
            .args(["--kill", "all"]))?;
        ran
    }

    /// The tree of apt on a web server, and its keyring on the machine that is to believe it.
    fn serve_tree(&mut self) -> Result<()> {
        let tree = self.build.dir.join("target/apt");
        let listener = self
            .elsewhere
            .within(|| Ok(TcpListener::bind("0.0.0.0:80")?))?;
        let served = tree.clone();
        // Ends with the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // apt asks again, and says so in the end.
                let _ = answer(stream, &served);
            }
        });
        let web = self.machine("web-1")?;
        web.shell(
            "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/preferences.d/*",
        )?;
        let keyring = "postern-archive-keyring.gpg";
        fs::copy(tree.join(keyring), web.path("/root").join(keyring))?;
        Ok(())
    }

    /// From a file of one to a file of the other, for root alone.
    fn bring(&self, from: &Path, machine: &str, to: &str) -> Result<()> {
        let machine = self.machine(machine)?;
        fs::copy(from, machine.path(to))?;
        machine.shell(&format!("chmod 600 {to}"))?;
        Ok(())
    }
}

/// Gives the file that is asked for below /postern, and nothing more on this connection.
fn answer(mut stream: TcpStream, tree: &Path) -> Result<()> {
    let mut asked = String::new();
    let mut reader = BufReader::new(&stream);
    reader.read_line(&mut asked)?;
    let mut field = String::new();
    while reader.read_line(&mut field)? > 2 {
        field.clear();
    }
    let path = asked.split(' ').nth(1).unwrap_or_default();
    let path = path.strip_prefix("/postern/").unwrap_or_default();
    let (status, body) = match fs::read(tree.join(path)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    Ok(stream.write_all(&body)?)
}

/// What the sinks of the page read, by whom they are served.
const SECRETS: &str = "
cd /var/lib/postern
head -c 24 /dev/urandom | base64 > siem.secret
head -c 24 /dev/urandom | base64 > siem.token
chmod 600 siem.secret siem.token
mkdir -p /etc/postern
cd /etc/postern
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=controller \
    -keyout log-client.key -out log-client.pem
cp log-client.pem log-ca.pem
chown postern: log-client.key /var/lib/postern/siem.secret /var/lib/postern/siem.token
";

impl Cast for House {
    fn shell(&mut self, who: &str, text: &str) -> Result<Ran> {
        match who {
            "laptop" => by_person(&self.laptop, text),
            "build" => self.by_builder(text),
            "receiver" => {
                self.elsewhere.write("body", "{}\n")?;
                let mut command = self.elsewhere.command("bash");
                command
                    .args(["-euc", text])
                    .env("timestamp", "1795597380")
                    .env("secret", "a secret");
                run(&mut command)
            }
            // As whoever has just logged in.
            machine => self.machine(machine)?.try_shell(&format!("cd; {text}")),
        }
    }

    fn file(&mut self, who: &str, name: &str, text: &str) -> Result<()> {
        if who == "receiver" {
            self.elsewhere.write(name, text)?;
            return Ok(());
        }
        // More of what is there already.
        let machine = self.machine(who)?;
        let path = machine.path("/var/lib/postern").join(name);
        let before = fs::read_to_string(&path).with_context(|| format!("no {name}"))?;
        fs::write(&path, before + "\n" + text)?;
        Ok(())
    }

    fn scene(&mut self, what: &str) -> Result<()> {
        match what {
            "the tree is served as http://packages.example/postern, and its keyring brought to web-1" => {
                self.serve_tree()
            }
            "host has an access file" => {
                let host = self.machine("host")?;
                let access = format!("PROTECT tcp/22\n{STANZA}");
                fs::write(host.path("/etc/postern/access.conf"), access)?;
                host.shell(
                    "chmod 600 /etc/postern/access.conf
                     sed -i 's|^#access_file|access_file|' /etc/postern/agent.toml",
                )?;
                Ok(())
            }
            "the token is brought to web-1" => {
                let token = self.laptop.dir.join("postern-token");
                self.bring(&token, "web-1", "/run/postern-token")
            }
            "the backup is brought to standby" => {
                let backup = self.machine("controller")?.path("/root/postern.tar");
                self.bring(&backup, "standby", "/root/postern.tar")
            }
            "what the sinks read is there" => {
                self.machine("controller")?.shell(SECRETS)?;
                Ok(())
            }
            "there is a disk for backups" => {
                self.machine("controller")?.shell("mkdir -m 700 /backup")?;
                Ok(())
            }
            _ => bail!("nobody knows how"),
        }
    }
}

#[test]
fn every_command_of_the_pages_about_installing_and_about_sinks_works_as_it_stands() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages = ["install.md", "sinks.md"].map(|page| {
        let steps = all_steps(&fs::read_to_string(docs.join(page)).unwrap()).unwrap();
        assert!(steps.len() >= 9, "the marks of {page} are gone");
        steps
    });
    in_lab(|lab| {
        let mut house = House::gather(lab)?;
        let mut play = Play::default();
        for steps in &pages {
            play.all(&mut house, steps)?;
        }
        play.end()?;

        let unit = |machine: &str, unit| house.machine(machine)?.unit_is("active", unit);
        ensure!(unit("web-1", "postern-agent")? == "active");
        ensure!(unit("standby", "postern-controller")? == "active");
        ensure!(
            house
                .machine("web-1")?
                .try_shell("ls /run/postern-token")?
                .code
                != 0
        );
        let controller = house.machine("controller")?;
        // What root restored is whose it was, and what the unit writes to a file is its user's.
        for (path, owner) in [
            ("/srv/postern", "postern:postern 700"),
            ("/var/log/postern", "postern:postern 750"),
            ("/var/log/postern/events.json", "postern:postern 600"),
        ] {
            let found = controller.shell(&format!("stat -c '%U:%G %a' {path}"))?;
            ensure!(found == owner, "{path}: {found}");
        }
        // By the unit, which may write nowhere else.
        by_person(
            &house.laptop,
            "postern token create --role user --name bob > token",
        )?
        .ok()?;
        wait::until("an event in the file", wait::SOON, || {
            let count = controller.shell("wc -l < /var/log/postern/events.json")?;
            Ok(count.parse::<u32>()? > 1)
        })?;
        Ok(())
    });
}
