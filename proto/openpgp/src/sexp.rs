//! S-expressions, as GnuPG writes the files of its private keys: canonical (`3:abc`) and advanced
//! (words, `"quoted"`, `#hexadecimal#`).

use zeroize::Zeroizing;

/// Lists in lists in lists; a private key has five.
const DEPTH_MAX: usize = 12;

/// An atom or a list. Atoms may be secret, and are erased when dropped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sexp {
    /// Bytes.
    Atom(Zeroizing<Vec<u8>>),
    /// In parentheses.
    List(Vec<Self>),
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
}

// === impl Sexp ===

impl Sexp {
    /// Reads the first expression of a text; what stands behind it is padding.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut reader = Reader { text, at: 0 };
        reader.expression(0)
    }

    /// Returns the bytes of an atom.
    pub(crate) fn atom(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(bytes) => Some(bytes),
            Self::List(_) => None,
        }
    }

    /// Returns the items of a list.
    pub(crate) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Atom(_) => None,
        }
    }

    /// Returns the items behind the name of a list that begins with this name.
    pub(crate) fn named(&self, name: &[u8]) -> Option<&[Self]> {
        let (first, rest) = self.list()?.split_first()?;
        (first.atom()? == name).then_some(rest)
    }

    /// Returns what stands behind `name` in the first of these lists that begins with it.
    pub(crate) fn find<'s>(items: &'s [Self], name: &[u8]) -> Option<&'s [Self]> {
        items.iter().find_map(|item| item.named(name))
    }

    /// Appends the canonical form, leaving out the lists that begin with `hole`.
    pub(crate) fn write_canonical(&self, hole: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Atom(bytes) => {
                out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
                out.extend_from_slice(bytes);
            }
            Self::List(items) => {
                if self.named(hole).is_some() {
                    return;
                }
                out.push(b'(');
                for item in items {
                    item.write_canonical(hole, out);
                }
                out.push(b')');
            }
        }
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn expression(&mut self, depth: usize) -> Option<Sexp> {
        self.skip_blanks();
        match self.peek()? {
            b'(' if depth < DEPTH_MAX => {
                self.at += 1;
                self.items(depth + 1).map(Sexp::List)
            }
            b'"' => self.quoted(),
            b'#' => self.hexadecimal(),
            byte if byte.is_ascii_digit() => self.counted(),
            _ => self.word(),
        }
    }

    fn items(&mut self, depth: usize) -> Option<Vec<Sexp>> {
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            if self.peek()? == b')' {
                self.at += 1;
                return Some(items);
            }
            items.push(self.expression(depth)?);
        }
    }

    /// `3:abc`, or a word that begins with a digit.
    fn counted(&mut self) -> Option<Sexp> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.peek() != Some(b':') {
            self.at = start;
            return self.word();
        }
        let digits = std::str::from_utf8(self.text.get(start..self.at)?).ok()?;
        let len: usize = digits.parse().ok()?;
        self.at += 1;
        let end = self.at.checked_add(len)?;
        let bytes = self.text.get(self.at..end)?.to_vec();
        self.at = end;
        Some(Sexp::Atom(Zeroizing::new(bytes)))
    }

    fn word(&mut self) -> Option<Sexp> {
        let start = self.at;
        let is_of_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-./_:*+=".contains(&byte);
        while self.peek().is_some_and(is_of_word) {
            self.at += 1;
        }
        let bytes = self.text.get(start..self.at)?;
        (!bytes.is_empty()).then(|| Sexp::Atom(Zeroizing::new(bytes.to_vec())))
    }

    fn hexadecimal(&mut self) -> Option<Sexp> {
        self.at += 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.text.len() / 2));
        let mut high = None;
        loop {
            let byte = self.next()?;
            if byte.is_ascii_whitespace() {
                continue;
            }
            if byte == b'#' {
                return high.is_none().then_some(Sexp::Atom(bytes));
            }
            let digit = hex_digit(byte)?;
            match high.take() {
                None => high = Some(digit),
                Some(high) => bytes.push(high << 4 | digit),
            }
        }
    }

    fn quoted(&mut self) -> Option<Sexp> {
        self.at += 1;
        let mut bytes = Zeroizing::new(Vec::new());
        loop {
            match self.next()? {
                b'"' => return Some(Sexp::Atom(bytes)),
                b'\\' => {
                    if let Some(byte) = self.escaped()? {
                        bytes.push(byte);
                    }
                }
                byte => bytes.push(byte),
            }
        }
    }

    /// What an escape stands for; nothing for one that joins lines.
    fn escaped(&mut self) -> Option<Option<u8>> {
        let byte = match self.next()? {
            b'b' => 8,
            b't' => b'\t',
            b'v' => 11,
            b'n' => b'\n',
            b'f' => 12,
            b'r' => b'\r',
            b'\n' => return Some(None),
            b'x' => hex_digit(self.next()?)? << 4 | hex_digit(self.next()?)?,
            digit @ b'0'..=b'3' => {
                let mut value = digit - b'0';
                for _ in 0..2 {
                    let next = self.next()?;
                    if !(b'0'..=b'7').contains(&next) {
                        return None;
                    }
                    value = value << 3 | (next - b'0');
                }
                value
            }
            other @ (b'"' | b'\'' | b'\\') => other,
            _ => return None,
        };
        Some(Some(byte))
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        Sexp::parse(text)?.write_canonical(b"hole", &mut out);
        Some(out)
    }

    #[test]
    fn the_advanced_and_the_canonical_form_are_the_same_expression() {
        let advanced = b"(rsa (n #00 0a\n FF#) (e \"\\001\\x02\\\"\")(hole x (y)))\n";
        let same: &[u8] = b"(3:rsa(1:n3:\x00\x0a\xff)(1:e3:\x01\x02\"))";

        assert_eq!(canonical(advanced).as_deref(), Some(same));
        assert_eq!(canonical(same).as_deref(), Some(same));
    }

    #[test]
    fn what_is_cut_off_too_deep_or_odd_is_no_expression() {
        for text in [
            &b"(3:rs"[..],
            b"(rsa",
            b"#0#",
            b"\"a",
            b"",
            b"99999999999999999999:a",
            b"(((((((((((((((a)))))))))))))))",
        ] {
            assert_eq!(Sexp::parse(text), None, "{text:?}");
        }
    }
}
