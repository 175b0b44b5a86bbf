//! The whole CLI reference in one snapshot: a change of any help text is a change of this file.

use crate::sandbox::Sandbox;

#[test]
fn every_help_text_is_as_it_was() {
    let sandbox = Sandbox::new();
    let mut reference = String::new();
    let mut left = vec![Vec::<String>::new()];

    while let Some(path) = left.pop() {
        let mut words = path.clone();
        words.push("--help".to_owned());
        let ran = sandbox.run(&words);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        let title = format!("postern {}", path.join(" "));
        reference.push_str(&format!("{}\n{}\n", title.trim(), "=".repeat(72)));
        reference.push_str(&ran.stdout);
        reference.push('\n');
        let mut below: Vec<Vec<String>> = commands(&ran.stdout)
            .map(|name| [path.as_slice(), &[name.to_owned()]].concat())
            .collect();
        below.reverse();
        left.extend(below);
    }

    insta::assert_snapshot!("reference", reference);
}

#[test]
fn completions_and_man_pages_come_from_the_same_definitions() {
    let sandbox = Sandbox::new();

    for shell in ["bash", "zsh", "fish"] {
        let ran = sandbox.run(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("fw-timeout"), "{shell}");
    }
    for words in [&["man", "--output", "pages"][..], &["man", "./others"]] {
        assert_eq!(sandbox.run(words).code, 0);
    }
    for dir in ["pages", "others"] {
        let page = sandbox.dir.path().join(dir).join("postern-knock.1");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("fw\\-timeout"));
    }
    let page = sandbox.run(&["man", "knock"]);
    assert!(page.stdout.contains("fw\\-timeout"), "{}", page.stdout);
    let unknown = sandbox.run(&["man", "knok"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert!(!sandbox.dir.path().join("knok").exists());
}

/// The names under `Commands:`.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|name| *name != "help")
}
