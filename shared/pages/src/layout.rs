//! The frame around every page, its style, and the headers it is sent with.

use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};
use tidegate_core::text::visible;

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

/// What stands around a page's content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame<'a> {
    title: &'a str,
    about: &'a str,
    /// Where the reader is: names with their addresses, from the top.
    trail: &'a [(String, String)],
    wide: bool,
    refresh_secs: Option<u32>,
    foot: Option<Markup>,
}

impl<'a> Frame<'a> {
    /// `about` stands beside the name of the product.
    pub(crate) fn new(title: &'a str, about: &'a str) -> Self {
        Self { title, about, ..Self::default() }
    }

    /// With the way that led here.
    pub(crate) fn below(self, trail: &'a [(String, String)]) -> Self {
        Self { trail, ..self }
    }

    /// For pages with tables and lists of cards.
    pub(crate) fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// The browser loads the page again by itself.
    pub(crate) fn refreshed(self, every_secs: Option<u32>) -> Self {
        Self { refresh_secs: every_secs, ..self }
    }

    /// With something more at the foot.
    pub(crate) fn foot(self, foot: Markup) -> Self {
        Self { foot: Some(foot), ..self }
    }

    /// The whole page.
    pub(crate) fn around(&self, main: &Markup) -> Page {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex, nofollow";
                    @if let Some(secs) = self.refresh_secs { meta http-equiv="refresh" content=(secs); }
                    title { (self.title) " · Tidegate" }
                    style { (PreEscaped(STYLE)) }
                }
                body class=[self.wide.then_some("wide")] {
                    a.skip href="#main" { "Skip to the content" }
                    header {
                        span.brand { "Tidegate" }
                        @if !self.about.is_empty() { span.about { (self.about) } }
                        (self.trail())
                    }
                    main #main tabindex="-1" { (main) }
                    footer {
                        @if let Some(foot) = &self.foot { (foot) }
                        p { "Opening or reloading this page changes nothing." }
                    }
                }
            }
        };
        // Here, once for every page: no field that somebody else wrote can be forgotten.
        Page(visible(&page.into_string()).into_owned())
    }

    fn trail(&self) -> Markup {
        html! {
            @if !self.trail.is_empty() {
                nav aria-label="Where you are" {
                    ol.trail { @for (name, address) in self.trail { li { a href=(address) { (name) } } } }
                }
            }
        }
    }
}

/// A page with nothing around it but the product's name.
pub(crate) fn frame(title: &str, about: &str, main: &Markup) -> Page {
    Frame::new(title, about).around(main)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A colour of the style sheet, by scheme (0 light, 1 dark) and name.
    fn colour(scheme: usize, name: &str) -> [f64; 3] {
        let start = format!("--{name}: #");
        let hex = &STYLE.split(&start).nth(scheme + 1).unwrap()[..6];
        [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0)
    }

    /// Relative luminance, as WCAG 2.2 defines it.
    fn luminance(colour: [f64; 3]) -> f64 {
        let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2])
    }

    #[test]
    fn every_text_stands_out_from_what_is_behind_it() {
        let pairs = [
            ("text", "back"),
            ("text", "card"),
            ("soft", "back"),
            ("soft", "card"),
            ("accent", "back"),
            ("accent", "card"),
            ("go", "card"),
            ("stop", "card"),
            ("text", "go-back"),
            ("text", "stop-back"),
            ("text", "warn-back"),
            ("accent", "go-back"),
            ("accent", "stop-back"),
            ("accent", "warn-back"),
            ("soft", "warn-back"),
            ("soft", "stop-back"),
            ("stop", "stop-back"),
            ("on-fill", "go"),
            ("go", "go-back"),
            ("warn", "warn-back"),
            ("warn", "card"),
            ("soft", "go-back"),
        ];
        for scheme in [0, 1] {
            for (front, behind) in pairs {
                let (a, b) = (luminance(colour(scheme, front)), luminance(colour(scheme, behind)));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 4.5, "{front} on {behind}, scheme {scheme}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn the_style_sheet_fetches_nothing_and_ends_nothing() {
        for never in ["url(", "@import", "</", "expression"] {
            assert!(!STYLE.contains(never), "{never}");
        }
    }
}
