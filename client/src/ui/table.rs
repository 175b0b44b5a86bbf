//! How rows become lines: side by side where that fits, in blocks of names and values where not. No
//! word is ever broken.

use fleet::export::printable;
use unicode_width::UnicodeWidthStr as _;

/// Between two columns.
const GAP: usize = 2;
/// Columns up to this width are never wrapped: names, times and numbers are read at a glance.
const WHOLE_WIDTH: usize = 25;

/// The lines of a table: one a row where it fits into `width` columns of a terminal, or where there
/// is no terminal (`None`). Where it does not, wide cells are wrapped between words, the last columns
/// first; and where that does not fit either, each row is a block of lines, without what is empty.
pub(super) fn lines(head: &[&str], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let natural = widths(head, &rows, |cell| cell.width());
    let Some(width) = width.filter(|width| total(&natural) > *width) else {
        return side_by_side(head, &rows, &natural);
    };
    let least = widths(head, &rows, longest_word);
    let mut wrapped: Vec<usize> = natural
        .iter()
        .zip(least)
        .map(|(natural, least)| {
            if *natural <= WHOLE_WIDTH {
                *natural
            } else {
                least
            }
        })
        .collect();
    let Some(mut left) = width.checked_sub(total(&wrapped)) else {
        return blocks(head, &rows, width);
    };
    for (given, natural) in wrapped.iter_mut().zip(&natural) {
        let more = natural.saturating_sub(*given).min(left);
        *given += more;
        left -= more;
    }
    side_by_side(head, &rows, &wrapped)
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// The widest of each column, its name included.
fn widths(head: &[&str], rows: &[Vec<String>], width_of: impl Fn(&str) -> usize) -> Vec<usize> {
    let mut widths: Vec<usize> = head.iter().map(|name| name.width()).collect();
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width_of(cell));
        }
    }
    widths
}

fn longest_word(cell: &str) -> usize {
    cell.split_whitespace()
        .map(|word| word.width())
        .max()
        .unwrap_or(0)
}

fn side_by_side(head: &[&str], rows: &[Vec<String>], widths: &[usize]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let mut lines = Vec::new();
    for row in [&head].into_iter().chain(rows) {
        let cells: Vec<Vec<String>> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| wrap(cell, *width))
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..height {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(widths) {
                let text = cell.get(at).map_or("", String::as_str);
                line.push_str(text);
                line.push_str(&" ".repeat(width.saturating_sub(text.width()) + GAP));
            }
            lines.push(line.trim_end().to_owned());
        }
    }
    lines
}

fn blocks(head: &[&str], rows: &[Vec<String>], width: usize) -> Vec<String> {
    let names = head.iter().map(|name| name.width()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for row in rows {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        for (name, cell) in head.iter().zip(row) {
            if cell.is_empty() || cell == "-" {
                continue;
            }
            let room = width.saturating_sub(names + GAP);
            for (at, text) in wrap(cell, room).iter().enumerate() {
                let name = if at == 0 { name } else { "" };
                lines.push(format!("{name:names$}{:GAP$}{text}", ""));
            }
        }
    }
    lines
}

/// A text in lines of at most `width`, unless a word alone is longer. One that fits is left as it is,
/// with all its spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: [&str; 3] = ["TIME", "USER", "REASON"];

    fn rows() -> Vec<Vec<String>> {
        [
            [
                "2026-11-25 10:03:05Z",
                "alice",
                "denied by stanza sre-ssh: tcp/443 is not in OPEN_PORTS",
            ],
            ["2026-11-25 10:03:06Z", "-", ""],
        ]
        .map(|row| row.map(str::to_owned).to_vec())
        .to_vec()
    }

    #[test]
    fn where_there_is_no_terminal_a_row_is_one_line() {
        assert_eq!(
            lines(&HEAD, &rows(), None),
            [
                "TIME                  USER   REASON",
                "2026-11-25 10:03:05Z  alice  denied by stanza sre-ssh: tcp/443 is not in OPEN_PORTS",
                "2026-11-25 10:03:06Z  -",
            ]
        );
    }

    #[test]
    fn a_cell_that_is_too_wide_is_wrapped_between_words() {
        assert_eq!(
            lines(&HEAD, &rows(), Some(60)),
            [
                "TIME                  USER   REASON",
                "2026-11-25 10:03:05Z  alice  denied by stanza sre-ssh:",
                "                             tcp/443 is not in OPEN_PORTS",
                "2026-11-25 10:03:06Z  -",
            ]
        );
    }

    #[test]
    fn where_columns_do_not_fit_a_row_is_a_block_and_no_word_is_broken() {
        assert_eq!(
            lines(&HEAD, &rows(), Some(36)),
            [
                "TIME    2026-11-25 10:03:05Z",
                "USER    alice",
                "REASON  denied by stanza sre-ssh:",
                "        tcp/443 is not in OPEN_PORTS",
                "",
                "TIME    2026-11-25 10:03:06Z",
            ]
        );
    }

    #[test]
    fn no_word_is_broken_at_any_width() {
        let words = |texts: Vec<String>| -> Vec<String> {
            let words = texts.iter().flat_map(|text| text.split_whitespace());
            words.map(str::to_owned).collect()
        };
        let cells = words(rows().concat());
        for width in 1..100 {
            let shown = words(lines(&HEAD, &rows(), Some(width)));
            for word in cells.iter().filter(|word| *word != "-") {
                assert!(shown.contains(word), "{word} at {width}");
            }
        }
    }

    #[test]
    fn what_strangers_wrote_moves_no_cursor() {
        let rows = vec![vec![
            "\u{1b}[2Jx\n".to_owned(),
            String::new(),
            String::new(),
        ]];

        assert_eq!(lines(&HEAD, &rows, None).last().unwrap(), "#033[2Jx#012");
    }
}
