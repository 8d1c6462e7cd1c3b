//! What people are shown, and what programs are told.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// What came of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    SignedIn,
    Denied,
    Refused,
    EmailUnverified,
    Unknown,
    Invalid,
    IssuerAway,
    Away,
    Busy,
    TooMany,
    NothingHere,
}

/// What a page says.
struct Words {
    status: StatusCode,
    title: &'static str,
    says: &'static str,
    next: &'static str,
    /// For whoever asks without a browser; the known ones are upstream's own.
    text: &'static str,
}

const AGAIN: &str = "Start again in your terminal, or in the application that sent you here.";
const LATER: &str =
    "Reload this page in a moment. If that does not help, start again in your terminal.";

impl Page {
    /// For metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Page::SignedIn => "signed_in",
            Page::Denied => "denied",
            Page::Refused => "refused",
            Page::EmailUnverified => "email_unverified",
            Page::Unknown => "unknown",
            Page::Invalid => "invalid",
            Page::IssuerAway => "issuer_away",
            Page::Away => "away",
            Page::Busy => "busy",
            Page::TooMany => "too_many",
            Page::NothingHere => "nothing_here",
        }
    }

    fn words(self) -> Words {
        match self {
            Page::SignedIn => Words {
                status: StatusCode::OK,
                title: "You are signed in",
                says: "You are now logged in. Go back to the terminal to use Pachyderm!",
                next: "You can close this window. If you did not begin this sign-in yourself, tell your \
                       administrator now.",
                text: "You are now logged in. Go back to the terminal to use Pachyderm!",
            },
            Page::Denied => Words {
                status: StatusCode::UNAUTHORIZED,
                title: "You are not signed in",
                says: "The sign-in was declined, by you or by your identity provider.",
                next: AGAIN,
                text: "authorization failed: the identity provider declined\n",
            },
            Page::Refused => Words {
                status: StatusCode::UNAUTHORIZED,
                title: "You are not signed in",
                says: "What the identity provider sent did not pass this server's checks.",
                next: "Start again. If it happens again, your administrator finds the reason in the \
                       server's log.",
                text: "authorization failed: Pachyderm logs may contain more information\n",
            },
            Page::EmailUnverified => Words {
                status: StatusCode::UNAUTHORIZED,
                title: "Your e-mail address is not verified",
                says: "This server lets in only people whose e-mail address the identity provider has \
                       verified, and yours is not.",
                next: "Verify your address with your identity provider, then start again.",
                text: "authorization failed: email_verified claim was false, and \
                       require_email_verified was set\n",
            },
            Page::Unknown => Words {
                status: StatusCode::BAD_REQUEST,
                title: "This sign-in is over",
                says: "It took too long, was used already, or was never begun here.",
                next: AGAIN,
                text: "authorization failed: this login is unknown, used, or has expired\n",
            },
            Page::Invalid => Words {
                status: StatusCode::BAD_REQUEST,
                title: "This link is incomplete",
                says: "It does not hold what an identity provider sends people back with.",
                next: AGAIN,
                text: "invalid OIDC callback request: missing OIDC state token or authorization code\n",
            },
            Page::IssuerAway => Words {
                status: StatusCode::BAD_GATEWAY,
                title: "The identity provider does not answer",
                says: "This server could not ask it whether you have signed in.",
                next: LATER,
                text: "temporary error during authorization: the identity provider does not answer\n",
            },
            Page::Away => Words {
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "The server cannot answer right now",
                says: "It could not write down that you have signed in.",
                next: LATER,
                text: "temporary error during authorization: ask again in a moment\n",
            },
            Page::Busy => Words {
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "Too many people are signing in",
                says: "The server takes no more for the moment.",
                next: LATER,
                text: "temporary error during authorization: too many people are signing in\n",
            },
            Page::TooMany => Words {
                status: StatusCode::TOO_MANY_REQUESTS,
                title: "Too many sign-ins come from your network",
                says: "The server takes no more from there for the moment.",
                next: LATER,
                text: "temporary error during authorization: too many sign-ins from your network\n",
            },
            Page::NothingHere => Words {
                status: StatusCode::NOT_FOUND,
                title: "There is nothing here",
                says: "This address is for people who come back from their identity provider.",
                next: AGAIN,
                text: "not found\n",
            },
        }
    }
}

const STYLE: &str = include_str!("page.css");

/// The one style is allowed by its digest; scripts, frames, forms and everything else are not.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// For people.
pub(super) fn page(page: Page) -> HttpResponse {
    let Words { status, title, says, next, .. } = page.words();
    let (mark, tone) = if page == Page::SignedIn { ("✓", "good") } else { ("!", "bad") };
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · Muster</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main class=\"{tone}\">\n\
         <p class=\"mark\" aria-hidden=\"true\">{mark}</p>\n<h1>{title}</h1>\n<p>{says}</p>\n\
         <p class=\"next\">{next}</p>\n</main>\n<footer>Muster</footer>\n</body>\n</html>\n"
    );
    guarded(status).content_type("text/html; charset=utf-8").body(body)
}

/// For programs.
pub(super) fn text(page: Page) -> HttpResponse {
    let Words { status, text, .. } = page.words();
    guarded(status).content_type("text/plain; charset=utf-8").body(text)
}

/// An answer that nobody keeps, frames or reads otherwise than it is meant.
fn guarded(status: StatusCode) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer
        .insert_header(("Content-Security-Policy", POLICY.as_str()))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .insert_header(("X-Frame-Options", "DENY"))
        .insert_header(("Referrer-Policy", "no-referrer"))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"))
        .insert_header(("Cache-Control", "no-store"));
    answer
}
