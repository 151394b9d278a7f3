//! A page in a real browser, for the tests of the pages that this project writes: keys are pressed
//! as a person would, and what the page complains about or fetches is kept.
//!
//! It speaks the DevTools protocol to Chromium or Chrome. Where there is none, [`Page::open`] says
//! so, and a [`test()`] is skipped with that word.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

/// One page in a browser of its own, which ends with this value.
pub struct Page {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: String,
    last_id: u64,
    events: Vec<Value>,
    _browser: Browser,
}

/// A key that [`Page::press`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Opens what has the focus.
    Enter,
    /// Closes what was opened.
    Escape,
    /// Goes to the next one.
    Tab,
}

/// The `main` of a test that looks at a page; not libtest's, since a test that is skipped has to
/// say so. `look` says whether there was a browser. Where there is none, the test is skipped, unless
/// the variable `BROWSER_TESTS` asks for it.
pub fn test(look: impl FnOnce() -> anyhow::Result<bool>) -> ExitCode {
    match look() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) if std::env::var_os("BROWSER_TESTS").is_some() => {
            eprintln!("BROWSER_TESTS asks for a browser, and none is installed");
            ExitCode::FAILURE
        }
        Ok(false) => {
            println!("skipped: no chromium is installed here (apt-get install chromium)");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How long the browser may be silent: it may be starting on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Page {
    /// Opens `file` in a window of this size; none where no browser is installed.
    ///
    /// # Errors
    /// The browser does not do it.
    pub fn open(file: &Path, width: u32, height: u32) -> anyhow::Result<Option<Self>> {
        let Some((browser, address)) = Browser::start()? else { return Ok(None) };
        let (socket, _) =
            tungstenite::connect(&address).context("cannot connect to the browser")?;
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE))?;
        }
        let (session, last_id, events) = (String::new(), 0, Vec::new());
        let mut page = Self { socket, session, last_id, events, _browser: browser };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = page.call("Target.attachToTarget", attach)?;
        page.session = attached["sessionId"].as_str().context("no session")?.to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}))?;
        }
        page.resize(width, height)?;
        let file = file.canonicalize()?;
        let url = format!("file://{}", file.to_str().context("the path is no text")?);
        page.call("Page.navigate", json!({ "url": url }))?;
        while !page.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = page.read()?;
            page.events.push(event);
        }
        Ok(Some(page))
    }

    /// Gives the window another size.
    ///
    /// # Errors
    /// The browser does not do it; so too for what follows.
    pub fn resize(&mut self, width: u32, height: u32) -> anyhow::Result<()> {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        Ok(())
    }

    /// Whether the person prefers dark pages.
    pub fn prefer_dark(&mut self, dark: bool) -> anyhow::Result<()> {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }))?;
        Ok(())
    }

    /// The value of an expression of JavaScript in the page.
    pub fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        let evaluate = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", evaluate)?;
        if !answer["exceptionDetails"].is_null() {
            bail!("{expression}: {}", answer["exceptionDetails"]);
        }
        Ok(answer["result"]["value"].take())
    }

    /// Presses a key and lets it go, as a person does.
    pub fn press(&mut self, key: Key) -> anyhow::Result<()> {
        let (name, code, text) = match key {
            Key::Enter => ("Enter", 13, "\r"),
            Key::Escape => ("Escape", 27, ""),
            Key::Tab => ("Tab", 9, ""),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({ "type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Requires that the page has complained about nothing and fetched nothing.
    pub fn must_be_quiet(&self) -> anyhow::Result<()> {
        let (complaints, fetched) = (self.complaints(), self.fetched());
        ensure!(complaints.is_empty(), "the page complains: {complaints:?}");
        ensure!(fetched.is_empty(), "the page fetches {fetched:?}");
        Ok(())
    }

    /// What the page has complained about: errors and warnings on the console, exceptions.
    fn complaints(&self) -> Vec<String> {
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                ["error", "warning", "assert"].iter().any(|it| event["params"]["type"] == *it)
            }
            Some("Log.entryAdded") => {
                ["error", "warning"].iter().any(|it| event["params"]["entry"]["level"] == *it)
            }
            _ => false,
        };
        let complaints = self.events.iter().filter(is_complaint);
        complaints.map(|event| event["params"].to_string()).collect()
    }

    /// What the page has fetched, beside itself.
    fn fetched(&self) -> Vec<String> {
        let requests =
            self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        let urls = requests.filter_map(|event| event["params"]["request"]["url"].as_str());
        // The page itself comes first. What stands in the page needs no network.
        urls.skip(1).filter(|url| !url.starts_with("data:")).map(str::to_owned).collect()
    }

    fn call(&mut self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(message.to_string()))?;
        loop {
            let mut answer = self.read()?;
            if answer["id"] == self.last_id {
                if !answer["error"].is_null() {
                    bail!("{method}: {}", answer["error"]);
                }
                return Ok(answer["result"].take());
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Message::Text(text) = self.socket.read().context("the browser is silent")? {
                return Ok(serde_json::from_str(&text)?);
            }
        }
    }
}

/// The process.
struct Browser {
    process: Child,
    /// Tells where it listens, and ends when the last of its processes has.
    address: Receiver<String>,
    /// Its profile and what else it keeps, which goes with it.
    _profile: TempDir,
}

impl Browser {
    /// Starts one, and says where it listens.
    fn start() -> anyhow::Result<Option<(Self, String)>> {
        for program in ["chromium", "chromium-browser", "google-chrome"] {
            let profile = tempfile::tempdir()?;
            let started = Command::new(program)
                .args(["--headless", "--disable-gpu", "--remote-debugging-port=0"])
                // The sandbox needs rights that containers do not give, and the pages are our own.
                .args(["--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"])
                .arg(format!("--user-data-dir={}", profile.path().display()))
                .env("TMPDIR", profile.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            let Ok(mut process) = started else { continue };
            let stderr = process.stderr.take().context("it was piped")?;
            let browser = Self { process, address: where_it_listens(stderr), _profile: profile };
            let address = browser.address.recv_timeout(PATIENCE);
            return Ok(Some((browser, address.context("the browser does not listen")?)));
        }
        Ok(None)
    }
}

/// It says so on stderr, which has to be read to its end: a full pipe would stop it.
fn where_it_listens(stderr: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, address) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("DevTools listening on ") {
                // Nobody waits for it any more if that took too long.
                let _ = sender.send(address.to_owned());
            }
        }
    });
    address
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Those that it has started end after it, and until then they write to the profile.
        let _ = self.address.recv_timeout(PATIENCE);
    }
}

/// Waits until an expression of JavaScript is true.
///
/// # Errors
/// It does not become true within a minute, or the browser fails.
pub fn wait_until(page: &mut Page, expression: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    while page.evaluate(expression)? != true {
        if begin.elapsed() > PATIENCE {
            bail!("{expression} does not become true");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
