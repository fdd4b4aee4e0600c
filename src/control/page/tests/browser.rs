//! Chromium without a screen, spoken to in its DevTools protocol over two FIFOs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(90);

const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
    --disable-dev-shm-usage --remote-debugging-pipe";

/// A running browser with a directory of its own; both end with the test.
pub(super) struct Browser {
    child: Child,
    home: PathBuf,
    commands: File,
    messages: Receiver<Value>,
    session: Option<String>,
    number: u64,
}

impl Browser {
    /// `None`, said aloud, where it is not installed.
    pub(super) fn start(test: &str) -> Option<Self> {
        if !is_installed() {
            let required = std::env::var("SIPRING_REQUIRE_PEERS").is_ok_and(|value| value == "1");
            assert!(!required, "chromium is not installed, and SIPRING_REQUIRE_PEERS=1 wants it");
            // Past the test runner's capture of output.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: chromium is not installed");
            return None;
        }
        let home = std::env::temp_dir().join(format!("sipring-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).expect("a directory for the browser");
        let (commands, answers) = (fifo(&home.join("commands")), fifo(&home.join("answers")));
        let script = format!(
            "cd '{0}' && exec chromium {FLAGS} --user-data-dir='{0}/profile' 3<commands 4>answers",
            home.display()
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(home.join("log")).expect("a log"))
            .spawn()
            .expect("sh starts");
        let messages = read(answers);
        Some(Self { child, home, commands, messages, session: None, number: 0 })
    }

    /// Opens a page in a window of this size.
    pub(super) fn open(&mut self, url: &str, width: u32, height: u32) {
        let target = self.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.ask("Target.attachToTarget", attach);
        self.session = session["sessionId"].as_str().map(str::to_owned);
        self.size(width, height);
        self.ask("Page.navigate", json!({ "url": url }));
    }

    pub(super) fn size(&mut self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size);
    }

    /// The value of an expression; what it throws is told as text.
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        let what = json!({ "expression": expression, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", what);
        match answer.get("exceptionDetails") {
            Some(thrown) => Value::String(thrown["exception"]["description"].to_string()),
            None => answer["result"]["value"].clone(),
        }
    }

    /// Waits until an expression is true.
    pub(super) fn until(&mut self, what: &str, expression: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.evaluate(expression);
            if found == true {
                return;
            }
            if Instant::now() > end {
                let page = self.evaluate("document.body.innerText");
                panic!("waited in vain for {what}: {found}\n{}", page.as_str().unwrap_or(""));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The page as a PNG.
    pub(super) fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("base64")
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut command = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.clone().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).expect("the browser reads");
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(mut message) = self.messages.recv_timeout(left) else {
                let log = std::fs::read_to_string(self.home.join("log")).unwrap_or_default();
                panic!("{method}: no answer from chromium; its log:\n{log}")
            };
            if message["id"] == self.number {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("kill -s KILL -- -{}", self.child.id());
        let _ = Command::new("sh").args(["-c", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn is_installed() -> bool {
    let found =
        Command::new("sh").args(["-c", "command -v chromium"]).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// Opened for both, so that opening waits for nobody.
fn fifo(path: &Path) -> File {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()), "no FIFO {}", path.display());
    File::options().read(true).write(true).open(path).expect("the FIFO opens")
}

/// What the browser says, message by message. The thread ends with the last reader of its channel,
/// or with the test's process.
fn read(answers: File) -> Receiver<Value> {
    let (sender, messages) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(answers);
        let mut bytes = Vec::new();
        while reader.read_until(0, &mut bytes).is_ok_and(|len| len > 0) {
            bytes.pop();
            let said = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            bytes.clear();
            if sender.send(said).is_err() {
                return;
            }
        }
    });
    messages
}
