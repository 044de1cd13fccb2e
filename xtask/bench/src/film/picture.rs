use std::{fmt::Write as _, time::Duration};

const FONT: f64 = 12.0;
/// Of a monospaced character, for this font size.
const ADVANCE: f64 = 7.2;
const LINE: f64 = 16.0;
/// Lines of a terminal.
const ROWS: usize = 24;
const MARGIN: f64 = 10.0;
const HEAD: f64 = 26.0;

/// What is written within so many seconds appears at once.
const STEP: f64 = 0.1;

/// A piece of text when it was written.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Duration,
    pub(super) text: String,
    /// By a person, not by a program.
    pub(super) is_typed: bool,
}

impl Seen {
    /// With paths from these folders on.
    pub(super) fn without(mut self, folders: &[String]) -> Self {
        for folder in folders {
            self.text = self.text.replace(folder, "");
        }
        self
    }

    pub(super) fn faster(self, times: u32) -> Self {
        Self { at: self.at / times, ..self }
    }
}

/// A terminal and all that was written in it.
#[derive(Debug)]
pub(super) struct Pane {
    pub(super) title: &'static str,
    pub(super) columns: usize,
    pub(super) seen: Vec<Seen>,
}

/// Part of a line that appears at once.
#[derive(Debug, Clone, PartialEq)]
struct Piece {
    /// In seconds.
    at: f64,
    text: String,
    is_typed: bool,
}

/// The terminals beside each other, from their beginning to `end` and from the beginning again.
///
/// Without anything that moves pictures, the first lines are shown.
pub(super) fn svg(panes: &[Pane], end: Duration) -> String {
    let width = |pane: &Pane| pane.columns as f64 * ADVANCE + 2.0 * MARGIN;
    let all: f64 = panes.iter().map(|pane| width(pane) + MARGIN).sum::<f64>() + MARGIN;
    let height = HEAD + ROWS as f64 * LINE + 3.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {all:.0} {height:.0}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"{FONT}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n"
    );
    let mut left = MARGIN;
    for pane in panes {
        draw(&mut out, pane, (left, width(pane)), end.as_secs_f64());
        left += width(pane) + MARGIN;
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, pane: &Pane, (left, width): (f64, f64), end: f64) {
    let rows = rows(pane, end);
    let high = ROWS as f64 * LINE + MARGIN;
    add(
        out,
        &format!(
            "<svg x=\"{left:.1}\" y=\"{MARGIN}\" width=\"{width:.1}\" height=\"{:.1}\">\n\
             <text x=\"{MARGIN}\" y=\"16\" fill=\"#8b949e\">{}</text>\n\
             <svg y=\"{HEAD}\" width=\"{width:.1}\" height=\"{high:.1}\">\n\
             <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#161b22\"/>\n<g>",
            HEAD + high,
            escaped(pane.title)
        ),
    );
    scroll(out, &rows, end);
    for (row, pieces) in rows.iter().enumerate() {
        let y = (row + 1) as f64 * LINE;
        write!(out, "<text x=\"{MARGIN}\" y=\"{y}\" xml:space=\"preserve\" fill=\"#c9d1d9\">")
            .unwrap_or(());
        for piece in pieces {
            let colour = if piece.is_typed { " fill=\"#7ee787\"" } else { "" };
            write!(
                out,
                "<tspan{colour}>{}<animate attributeName=\"opacity\" calcMode=\"discrete\" \
                 values=\"0;1\" keyTimes=\"0;{:.4}\" dur=\"{end:.1}s\" repeatCount=\"indefinite\"/></tspan>",
                escaped(&piece.text),
                (piece.at / end).clamp(0.0001, 0.9999)
            )
            .unwrap_or(());
        }
        out.push_str("</text>\n");
    }
    out.push_str("</g>\n</svg>\n</svg>\n");
}

/// Moves the lines up whenever one more has begun than the terminal has.
fn scroll(out: &mut String, rows: &[Vec<Piece>], end: f64) {
    let (mut places, mut times) = ("0 0".to_owned(), "0".to_owned());
    let begins = |row: &Vec<Piece>| row.first().map(|piece| piece.at);
    let begun: Vec<(usize, f64)> = rows
        .iter()
        .enumerate()
        .skip(ROWS)
        .filter_map(|(row, pieces)| begins(pieces).map(|at| (row + 1 - ROWS, at)))
        .collect();
    for (index, (lines, at)) in begun.iter().enumerate() {
        // Of those that begin together only the last place is seen.
        if begun.get(index + 1).is_some_and(|(_, next)| next <= at) {
            continue;
        }
        write!(places, ";0 {}", -(*lines as f64) * LINE).unwrap_or(());
        write!(times, ";{:.4}", (at / end).clamp(0.0001, 0.9999)).unwrap_or(());
    }
    add(
        out,
        &format!(
            "<animateTransform attributeName=\"transform\" type=\"translate\" calcMode=\"discrete\" \
             values=\"{places}\" keyTimes=\"{times}\" dur=\"{end:.1}s\" repeatCount=\"indefinite\"/>"
        ),
    );
}

/// The lines as a terminal of that width breaks them: between words where it can, else anywhere.
fn rows(pane: &Pane, end: f64) -> Vec<Vec<Piece>> {
    let (mut rows, mut column) = (vec![Vec::new()], 0);
    let before_end = |seen: &&Seen| seen.at.as_secs_f64() < end;
    for seen in pane.seen.iter().filter(before_end) {
        let at = (seen.at.as_secs_f64() / STEP).round() * STEP;
        for part in seen.text.split_inclusive([' ', '\n']) {
            let (word, is_end) = match part.strip_suffix('\n') {
                Some(word) => (word, true),
                None => (part, false),
            };
            if column > 0 && column + word.trim_end().chars().count() > pane.columns {
                rows.push(Vec::new());
                column = 0;
            }
            for (number, chunk) in word.chars().collect::<Vec<_>>().chunks(pane.columns).enumerate()
            {
                if number > 0 {
                    rows.push(Vec::new());
                    column = 0;
                }
                add_piece(&mut rows, at, &chunk.iter().collect::<String>(), seen.is_typed);
                column += chunk.len();
            }
            if is_end {
                rows.push(Vec::new());
                column = 0;
            }
        }
    }
    rows
}

fn add_piece(rows: &mut [Vec<Piece>], at: f64, text: &str, is_typed: bool) {
    let Some(row) = rows.last_mut() else { return };
    match row.last_mut() {
        Some(last) if last.at >= at && last.is_typed == is_typed => last.text.push_str(text),
        _ => row.push(Piece { at, text: text.to_owned(), is_typed }),
    }
}

/// As the file has it, which is plain text whatever a model writes.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if matches!(character, ' '..='~') && !matches!(character, '&' | '<' | '>') {
            escaped.push(character);
        } else {
            // A string takes whatever is written.
            write!(escaped, "&#{};", u32::from(character)).unwrap_or(());
        }
    }
    escaped
}

fn add(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pane(columns: usize, seen: &[(u64, &str)]) -> Pane {
        let seen = seen.iter().map(|(at, text)| Seen {
            at: Duration::from_millis(*at),
            text: (*text).to_owned(),
            is_typed: false,
        });
        Pane { title: "<one>", columns, seen: seen.collect() }
    }

    fn lines(pane: &Pane) -> Vec<String> {
        let text = |row: &Vec<Piece>| row.iter().map(|piece| piece.text.as_str()).collect();
        rows(pane, 10.0).iter().map(text).collect()
    }

    #[test]
    fn lines_are_broken_between_words_and_within_those_that_are_too_long() {
        assert_eq!(
            lines(&pane(9, &[(0, "one two "), (100, "three\nfour")])),
            ["one two ", "three", "four"]
        );
        assert_eq!(lines(&pane(4, &[(0, "abcdefghij k")])), ["abcd", "efgh", "ij k"]);
    }

    #[test]
    fn what_comes_within_a_step_is_one_piece_and_nothing_comes_after_the_end() {
        let rows = rows(&pane(40, &[(0, "a"), (20, "b"), (300, "c"), (10_000, "d")]), 10.0);
        let pieces: Vec<_> =
            rows[0].iter().map(|piece| (piece.at > 0.0, piece.text.as_str())).collect();
        assert_eq!(pieces, [(false, "ab"), (true, "c")]);
    }

    #[test]
    fn a_picture_scrolls_when_there_are_more_lines_than_a_terminal_has() {
        let many: Vec<(u64, &str)> = (0..=ROWS as u64).map(|n| (n * 100, "a & b\n")).collect();
        let drawn = svg(&[pane(20, &many)], Duration::from_secs(10));
        assert!(drawn.contains("values=\"0 0;0 -16\""), "{drawn}");
        assert!(drawn.contains("&#60;one&#62;") && drawn.contains("a &#38; b"), "{drawn}");
    }
}
