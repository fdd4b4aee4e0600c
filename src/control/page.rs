//! `/`: the status page, one HTML file that asks nobody but us for anything.

use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue};

/// The whole page: markup, style and script.
pub(super) const HTML: &str = include_str!("page.html");

/// Its Content-Type.
pub(super) const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// Nothing from anywhere else, not even if a backend's name were markup.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";

/// What goes with it.
pub(super) fn headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests;
