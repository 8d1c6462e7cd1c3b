//! Pages for people, in plain HTML without scripts. So far there is one: where a provider sends people
//! back to when they have signed in, `/authorization-code/callback`. Any replica can serve it, because
//! logins are replicated.
//!
//! Nothing that came in with a request is ever put into a page.

mod callback;
mod page;
mod server;

pub use server::{Running, Tls, serve};
