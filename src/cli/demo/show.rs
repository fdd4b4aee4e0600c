//! How facts look: a panel that is drawn over itself on a terminal, a plain line a second elsewhere.

use super::facts::{BackendFacts, Facts};
use super::front::State;
use std::io::Write;
use std::time::Duration;

/// Cells of a bar that stands for 100 %.
const BAR: u64 = 40;
/// Where the show is written to. Writing that fails is no reason to end: the exit code tells.
#[derive(Debug)]
pub(super) struct Screen<W> {
    out: W,
    terminal: bool,
    /// The panel that stands above the cursor.
    panel: Vec<String>,
}

impl<W: Write> Screen<W> {
    /// A screen; escapes are written to a terminal only.
    pub(super) fn new(out: W, terminal: bool) -> Self {
        Self { out, terminal, panel: Vec::new() }
    }

    /// A line that stays, below all that was drawn.
    pub(super) fn line(&mut self, text: &str) {
        self.panel.clear();
        self.write(&format!("{text}\n"));
    }

    /// The balancer did something.
    pub(super) fn event(&mut self, at: Duration, text: &str) {
        self.stays("event", at, text);
    }

    /// A scene did something.
    pub(super) fn scene(&mut self, at: Duration, text: &str) {
        self.stays("scene", at, text);
    }

    /// One second.
    pub(super) fn frame(&mut self, facts: &Facts) {
        if !self.terminal {
            return self.write(&format!("{}\n", plain(facts)));
        }
        let text = self.cleared();
        self.panel = panel(facts);
        let text = text + &self.drawn();
        self.write(&text);
    }

    /// Above the panel, if there is one.
    fn stays(&mut self, what: &str, at: Duration, text: &str) {
        let lines = text.replace('\n', "\n              ");
        let line = format!("{what} {:3} s   {lines}\n", at.as_secs());
        let text = self.cleared() + &line + &self.drawn();
        self.write(&text);
    }

    /// Moves the cursor to where the panel begins and clears all below.
    fn cleared(&self) -> String {
        match self.panel.len() {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    fn drawn(&self) -> String {
        self.panel.iter().map(|line| format!("{line}\n")).collect()
    }

    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// The facts in one line.
fn plain(facts: &Facts) -> String {
    let backends = facts.backends.iter().map(|BackendFacts { name, share, state, dialogs }| {
        let state = match state {
            State::Up => String::new(),
            State::SlowStart => " slow start".to_owned(),
            State::Drained => format!(" drained, {dialogs} dialogs left"),
            State::Down => format!(" down, {dialogs} dialogs wait"),
        };
        format!("{name} {share} %{state}")
    });
    format!(
        "{:3} s  {} calls/s  {} dialogs  {}  added p50 {} p99 {}  drops {}  repeated {}  \
         failed over {}  completed {}  lost {}",
        facts.second,
        facts.calls_per_second,
        facts.open,
        backends.collect::<Vec<_>>().join("  "),
        micros(facts.added.0),
        micros(facts.added.1),
        facts.drops,
        facts.repeated,
        facts.failed_over,
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
            "       added p50 {}  p99 {}  drops {}  repeated {}  failed over {}",
            micros(facts.added.0),
            micros(facts.added.1),
            facts.drops,
            facts.repeated,
            facts.failed_over
        ),
    ];
    lines.extend(facts.backends.iter().map(|backend| {
        let cells = (backend.share.min(100) * BAR + 50) / 100;
        let bar = "█".repeat(cells as usize) + &" ".repeat((BAR - cells) as usize);
        let state = match backend.state {
            State::Up => format!("{} dialogs", backend.dialogs),
            State::SlowStart => format!("slow start, {}", backend.dialogs),
            State::Drained => format!("drained, {} left", backend.dialogs),
            State::Down => format!("DOWN, {} wait", backend.dialogs),
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
    use super::*;

    fn facts() -> Facts {
        let backend = |name: &str, share, state, dialogs| BackendFacts {
            name: name.to_owned(),
            share,
            state,
            dialogs,
        };
        Facts {
            second: 9,
            calls_per_second: 412,
            open: 684,
            completed: 3120,
            failed_over: 17,
            added: (Some(38_400), Some(-1_500)),
            backends: vec![
                backend("backend-1", 100, State::Up, 653),
                backend("backend-2", 0, State::Drained, 31),
                backend("backend-3", 0, State::Down, 9999),
                backend("backend-4", 12, State::SlowStart, 9999),
            ],
            ..Facts::default()
        }
    }

    fn written(terminal: bool) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, terminal);
        screen.frame(&facts());
        screen.event(Duration::from_secs(9), "something");
        screen.scene(Duration::from_secs(10), "two\nlines");
        screen.frame(&facts());
        screen.line("RESULT");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_terminal_there_is_a_line_a_second_and_no_escape() {
        let line = "  9 s  412 calls/s  684 dialogs  backend-1 100 %  backend-2 0 % drained, 31 \
                    dialogs left  backend-3 0 % down, 9999 dialogs wait  backend-4 12 % slow start  \
                    added p50 38 us p99 -1 us  drops 0  repeated 0  failed over 17  \
                    completed 3120  lost 0\n";
        let events = "event   9 s   something\nscene  10 s   two\n              lines\n";
        assert_eq!(written(false), format!("{line}{events}{line}RESULT\n"));
    }

    #[test]
    fn on_a_terminal_the_panel_is_drawn_over_itself_and_below_the_events() {
        let text = written(true);
        let drawn: Vec<_> = text.split("\x1b[6A\x1b[J").collect();
        assert_eq!(drawn.len(), 4, "{text}");
        let panel = drawn[0];
        assert_eq!(panel.lines().count(), 6);
        assert_eq!(drawn[1], format!("event   9 s   something\n{panel}"));
        assert!(drawn[2].ends_with(&format!("lines\n{panel}")), "{}", drawn[2]);
        assert_eq!(drawn[3], format!("{panel}RESULT\n"));
        assert!(panel.contains("drained, 31 left") && panel.contains("DOWN, 9999 wait"), "{panel}");
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
