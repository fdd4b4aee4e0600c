//! The page as text, and in a real browser (Debian's `chromium`) against a balancer that has calls.

mod browser;

use super::super::fleet::Admin;
use super::super::stream::tests::Live;
use super::*;
use browser::Browser;
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn the_page_asks_nobody_else_for_anything() {
    for foreign in [
        "http://",
        "https://",
        "//cdn",
        "@import",
        "url(",
        "import(",
        "<script src",
        "<link rel=\"style",
    ] {
        assert!(!HTML.contains(foreign), "{foreign} in the page");
    }
    let sources = HTML.matches("new EventSource(").count() + HTML.matches("fetch(").count();
    assert_eq!(sources, 1, "the stream and nothing else");
    assert!(HTML.contains("new EventSource(\"/api/v1/stream\")"));
}

#[test]
fn names_of_backends_are_text_and_never_markup() {
    for door in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!HTML.contains(door), "{door} in the page");
    }
}

#[test]
fn the_page_is_for_phones_and_for_dark_rooms_too() {
    for wanted in
        ["name=\"viewport\"", "prefers-color-scheme: dark", "max-width: 40rem", "lang=\"en\""]
    {
        assert!(HTML.contains(wanted), "no {wanted}");
    }
    for path in ["/metrics", "/live", "/ready", "/api/v1/stream"] {
        assert!(HTML.contains(&format!("href=\"{path}\"")), "no link to {path}");
    }
}

#[test]
fn the_policy_forbids_what_the_page_does_not_need() {
    let live = Live::start(1);
    let mut client = TcpStream::connect(live.admin).expect("the server listens");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("\r\ncontent-type: text/html; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\r\ncontent-security-policy: default-src 'none'; "), "{answer}");
    assert!(answer.ends_with("</html>\n"));
}

#[test]
fn a_browser_shows_the_balancer_and_a_drain() {
    let mut live = Live::start(4);
    live.call(80.0);
    let Some(mut browser) = Browser::start("a_browser_shows_the_balancer_and_a_drain") else {
        return;
    };
    browser.open(&format!("http://{}/", live.admin), 1100, 900);
    browser.until("three updates", "document.documentElement.dataset.updates >= 3");
    browser.until(
        "calls in the first tile",
        "parseFloat(document.querySelector('.tile b').textContent) > 0",
    );
    browser.until(
        "four backends with traffic",
        "[...document.querySelectorAll('#backends tr')].slice(1)\
        .filter(row => parseFloat(row.cells[5].textContent) > 0).length == 4",
    );
    browser.until("two workers", "document.querySelectorAll('#workers tr').length == 3");
    assert_eq!(browser.evaluate("document.getElementById('state').textContent"), "serving");

    live.balancer().set_admin("b2", Admin::Drain, "kernel update").expect("b2 exists");
    browser.until(
        "the drain",
        "document.querySelector('#backends').rows[3].cells[2].textContent == 'drained'",
    );
    browser.until(
        "its event",
        "document.querySelector('#events').rows[1].cells[3].textContent\
        == 'kernel update'",
    );
    browser.until(
        "its share at nothing",
        "parseFloat(document.querySelector('#backends').rows[3].cells[6].textContent) == 0",
    );
    if let Some(path) = std::env::var_os("SIPRING_SCREENSHOT") {
        browser.until("a minute's past", "document.documentElement.dataset.updates >= 60");
        std::fs::write(path, browser.screenshot()).expect("the picture can be written");
    }

    live.balancer().set_admin("b1", Admin::Maint, "<b>bold</b>").expect("b1 exists");
    browser.until(
        "markup as text",
        "document.querySelector('#events').rows[1].cells[3].textContent == '<b>bold</b>'",
    );
    assert_eq!(browser.evaluate("document.querySelectorAll('table b').length"), 0);

    browser.size(390, 844);
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(browser.evaluate(fits), true, "a phone scrolls sideways");
    live.end_server();
    browser.until(
        "that nobody answers",
        "document.getElementById('state').textContent == 'no contact'",
    );
}
