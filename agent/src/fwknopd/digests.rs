//! What fwknopd has let through on this host, from its digest cache, so that it is a replay here
//! too.
//!
//! A first start refuses what is dated before it in any case; but a packet may be dated ahead of
//! the clock, and without ageing there is no date that is too old. fwknopd's file may lie where a
//! boot empties it, so what counts of it is kept in the state directory. Both are read at every
//! start: who goes back to fwknopd for a day and returns has its replays refused too.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use gate::SeenTexts;
use program::files;

/// In the state directory.
const KEPT: &str = "seen-by-fwknopd";
/// How far a date may have been from fwknopd's clock: the most that MAX_SPA_PACKET_AGE can be.
const AGE_SECS_MAX: u64 = 100_000;
/// A line of fwknopd has about a hundred bytes.
const LINE_BYTES_MAX: u64 = 1_024;

/// Digests with the second in which fwknopd saw them.
type Seen = BTreeMap<[u8; 32], u64>;

/// What was read of a file.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pub(crate) seen: Seen,
    /// Lines that are none.
    pub(crate) bad: usize,
}

/// Takes over what `cache` holds, where it is, beside what was kept before. `ageing_secs` is `None`
/// where packets of any age are accepted; then nothing is ever forgotten.
///
/// # Errors
///
/// When what was kept cannot be read: what stood there might be granted again.
pub(crate) fn take_over(
    cache: Option<&Path>,
    state_dir: &Path,
    ageing_secs: Option<u64>,
    now_secs: u64,
) -> io::Result<SeenTexts> {
    let kept_path = state_dir.join(KEPT);
    let kept = read_if_there(&kept_path)?;
    let mut all = kept.seen.clone();
    if let Some(path) = cache {
        match read_if_there(path) {
            Ok(found) => {
                if found.bad > 0 {
                    tracing::warn!(path = %path.display(), lines = found.bad, "lines of fwknopd's digest cache are none, and are passed over");
                }
                all.extend(found.seen);
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), error = %program::one_line(&error), "fwknopd's digest cache cannot be read: what it has seen and is dated after this start is not known here");
            }
        }
    }
    if let Some(secs) = ageing_secs {
        let oldest = now_secs.saturating_sub(secs + AGE_SECS_MAX);
        all.retain(|_, seen_secs| *seen_secs >= oldest);
    }
    if all != kept.seen {
        keep(&kept_path, &all).unwrap_or_else(|error| {
            tracing::warn!(path = %kept_path.display(), error = %program::one_line(&error), "what fwknopd has seen cannot be kept for the next start");
        });
        tracing::info!(
            packets = all.len(),
            "what fwknopd has seen is a replay here too"
        );
    }
    Ok(SeenTexts::of(all.into_keys()))
}

/// Reads a digest cache, or nothing where there is no file.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Cache> {
    match files::open_regular(path) {
        Ok(file) => read(file),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Cache::default()),
        Err(error) => Err(error),
    }
}

/// Reads what fwknopd, or an earlier run of ours, has written.
pub(crate) fn read(file: impl io::Read) -> io::Result<Cache> {
    let mut cache = Cache::default();
    let (mut file, mut line) = (BufReader::new(file), Vec::new());
    loop {
        line.clear();
        // What is longer is no line of fwknopd's, and may have no end.
        let mut rest = file.by_ref().take(LINE_BYTES_MAX);
        if rest.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match entry(line) {
            Some((digest, seen_secs)) => {
                cache.seen.insert(digest, seen_secs);
            }
            None => cache.bad += 1,
        }
    }
    Ok(cache)
}

/// The digest first, the second last; between them is where the packet came from and went to.
fn entry(line: &str) -> Option<([u8; 32], u64)> {
    let mut words = line.split_ascii_whitespace();
    let digest = words.next()?.trim_end_matches('=');
    let digest = STANDARD_NO_PAD.decode(digest).ok()?.try_into().ok()?;
    let seen_secs = words.next_back()?.parse().ok()?;
    Some((digest, seen_secs))
}

fn keep(path: &Path, all: &Seen) -> io::Result<()> {
    if all.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let lines = all
        .iter()
        .map(|(digest, seen_secs)| format!("{} {seen_secs}\n", STANDARD_NO_PAD.encode(digest)));
    files::replace(path, 0o600, lines.collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// As fwknopd 2.6.10 writes it.
    const CACHE: &str = "\
# <digest> <proto> <src_ip> <src_port> <dst_ip> <dst_port> <time>
32q69nk51dxw17nGis+L7RTCF+lgUb2prhj2FpX3PbA 17 127.0.0.1 40000 127.0.0.1 62201 1795422834
garbage 17 127.0.0.1
";
    const SEEN: u64 = 1_795_422_834;

    fn files() -> (TempDir, std::path::PathBuf) {
        let dir = TempDir::new().unwrap();
        let cache = dir.path().join("digest.cache");
        fs::write(&cache, CACHE).unwrap();
        (dir, cache)
    }

    #[test]
    fn what_fwknopd_has_seen_is_taken_once_and_kept_when_its_file_is_gone() {
        let (dir, cache) = files();
        let taken = |cache, now| take_over(cache, dir.path(), Some(120), now).unwrap().len();

        assert_eq!(taken(Some(&*cache), SEEN), 1);
        fs::remove_file(&cache).unwrap();
        assert_eq!(taken(Some(&*cache), SEEN + 60), 1);
        assert_eq!(taken(None, SEEN + 60), 1);
        // Too old to be accepted by its date, whatever that was.
        assert_eq!(taken(None, SEEN + AGE_SECS_MAX + 121), 0);
        assert!(!dir.path().join(KEPT).exists());
    }

    #[test]
    fn without_ageing_nothing_is_forgotten() {
        let (dir, cache) = files();
        let taken = |now| {
            take_over(Some(&cache), dir.path(), None, now)
                .unwrap()
                .len()
        };

        assert_eq!(taken(SEEN + 1_000_000_000), 1);
    }

    #[test]
    fn lines_that_are_none_are_counted_and_what_was_kept_must_be_readable() {
        let (dir, cache) = files();

        assert_eq!(read_if_there(&cache).unwrap().bad, 1);
        fs::create_dir(dir.path().join(KEPT)).unwrap();
        assert!(take_over(Some(&cache), dir.path(), None, SEEN).is_err());
    }
}
