//! How facts look: a panel that is drawn over itself on a terminal, a plain line a second elsewhere.

use super::facts::Facts;
use std::io::Write;
use std::time::Duration;

/// Cells of a bar that stands for 100 %.
const BAR: u64 = 40;
/// Events that stay in the panel.
const EVENTS: usize = 4;

/// Where the show is written to. Writing that fails is no reason to end: the exit code tells.
#[derive(Debug)]
pub(super) struct Screen<W> {
    out: W,
    terminal: bool,
    /// Lines of the panel that stand above the cursor.
    drawn: usize,
    events: Vec<String>,
}

impl<W: Write> Screen<W> {
    /// A screen; escapes are written to a terminal only.
    pub(super) fn new(out: W, terminal: bool) -> Self {
        Self { out, terminal, drawn: 0, events: Vec::new() }
    }

    /// A line that stays, below all that was drawn.
    pub(super) fn line(&mut self, text: &str) {
        self.drawn = 0;
        self.write(&format!("{text}\n"));
    }

    /// Something happened.
    pub(super) fn event(&mut self, at: Duration, text: &str) {
        let event = format!("event {:3} s  {text}", at.as_secs());
        if !self.terminal {
            return self.write(&format!("{event}\n"));
        }
        if self.events.len() == EVENTS {
            self.events.remove(0);
        }
        self.events.push(event);
    }

    /// One second.
    pub(super) fn frame(&mut self, facts: &Facts) {
        if !self.terminal {
            return self.write(&format!("{}\n", plain(facts)));
        }
        let mut lines = panel(facts);
        lines.extend(self.events.iter().cloned());
        let mut text = match self.drawn {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}A"),
        };
        for line in &lines {
            text.push_str(&format!("\x1b[2K{line}\n"));
        }
        self.drawn = lines.len();
        self.write(&text);
    }

    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// The facts in one line.
fn plain(facts: &Facts) -> String {
    let backends: Vec<_> = facts
        .backends
        .iter()
        .map(|backend| match backend.drained {
            true => format!(
                "{} {} % drained, {} dialogs left",
                backend.name, backend.share, backend.dialogs
            ),
            false => format!("{} {} %", backend.name, backend.share),
        })
        .collect();
    format!(
        "{:3} s  {} calls/s  {} dialogs  {}  added p50 {} p99 {}  drops {}  repeated {}  \
         completed {}  lost {}",
        facts.second,
        facts.calls_per_second,
        facts.open,
        backends.join("  "),
        micros(facts.added.0),
        micros(facts.added.1),
        facts.drops,
        facts.repeated,
        facts.completed,
        facts.lost,
    )
}

/// The facts in lines of at most 79 cells.
fn panel(facts: &Facts) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{:3} s  {} calls/s  {} dialogs  {} completed  {} lost",
            facts.second, facts.calls_per_second, facts.open, facts.completed, facts.lost
        ),
        format!(
            "       added p50 {}  p99 {}  drops {}  repeated {}",
            micros(facts.added.0),
            micros(facts.added.1),
            facts.drops,
            facts.repeated
        ),
    ];
    lines.extend(facts.backends.iter().map(|backend| {
        let cells = (backend.share.min(100) * BAR + 50) / 100;
        let bar = "█".repeat(cells as usize) + &" ".repeat((BAR - cells) as usize);
        let state = match backend.drained {
            true => format!("drained, {} left", backend.dialogs),
            false => format!("{} dialogs", backend.dialogs),
        };
        format!("  {:<9} {bar} {:3} %  {state}", backend.name, backend.share)
    }));
    lines
}

fn micros(ns: Option<i64>) -> String {
    ns.map_or("-".to_owned(), |ns| format!("{} us", ns / 1000))
}

#[cfg(test)]
mod tests {
    use super::super::facts::BackendFacts;
    use super::*;

    fn facts() -> Facts {
        let backend = |name: &str, share, drained, dialogs| BackendFacts {
            name: name.to_owned(),
            share,
            drained,
            dialogs,
        };
        Facts {
            second: 9,
            calls_per_second: 412,
            open: 684,
            completed: 3120,
            added: (Some(38_400), Some(-1_500)),
            backends: vec![
                backend("backend-1", 100, false, 653),
                backend("backend-2", 0, true, 31),
            ],
            ..Facts::default()
        }
    }

    fn written(terminal: bool) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, terminal);
        screen.frame(&facts());
        screen.event(Duration::from_secs(9), "something");
        screen.frame(&facts());
        screen.line("RESULT");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_terminal_there_is_a_line_a_second_and_no_escape() {
        let line = "  9 s  412 calls/s  684 dialogs  backend-1 100 %  backend-2 0 % drained, 31 \
                    dialogs left  added p50 38 us p99 -1 us  drops 0  repeated 0  completed 3120  \
                    lost 0\n";
        let event = "event   9 s  something\n";
        assert_eq!(written(false), format!("{line}{event}{line}RESULT\n"));
    }

    #[test]
    fn on_a_terminal_the_panel_is_drawn_over_itself_with_the_events_below() {
        let text = written(true);
        let (first, second) = text.split_once("\x1b[4A").unwrap();
        assert_eq!(first.lines().count(), 4);
        assert_eq!(second.lines().count(), 6, "panel, event, result: {second}");
        assert!(second.contains("event   9 s  something\n"));
        assert!(second.contains("drained, 31 left"));
    }

    #[test]
    fn no_line_of_the_panel_is_wider_than_79_cells() {
        for line in panel(&facts()) {
            assert!(line.chars().count() <= 79, "{line}");
        }
        assert!(panel(&facts())[2].contains(&"█".repeat(BAR as usize)));
        assert!(!panel(&facts())[3].contains('█'));
    }
}
