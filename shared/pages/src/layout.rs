//! The frame around every page, its style, and the headers it is sent with.

use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

/// A page as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page(pub String);

/// Dark and light by the reader's preference; colours have a contrast of at least 4.5 to 1 in both.
const STYLE: &str = include_str!("style.css");

/// The headers of every page. Nothing is fetched, framed, cached or told to whoever is linked to; forms go to where the page came from.
pub fn headers() -> [(&'static str, String); 6] {
    let style = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    [
        ("content-type", "text/html; charset=utf-8".to_owned()),
        ("content-security-policy", policy),
        ("cache-control", "no-store".to_owned()),
        ("referrer-policy", "no-referrer".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("x-robots-tag", "noindex, nofollow".to_owned()),
    ]
}

/// A whole page. `about` stands beside the name of the product, `main` below.
pub(crate) fn frame(title: &str, about: &str, main: &Markup) -> Page {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex, nofollow";
                title { (title) " · Tidegate" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    span.brand { "Tidegate" }
                    @if !about.is_empty() { span.about { (about) } }
                }
                main #main tabindex="-1" { (main) }
                footer { p { "Opening or reloading this page changes nothing." } }
            }
        }
    };
    Page(page.into_string())
}
