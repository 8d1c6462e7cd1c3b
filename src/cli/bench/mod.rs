//! `muster bench`: the load generator that Muster's figures come from.

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::output::{self, Exit, Failure};

mod etcd;
mod heartbeat;
mod histogram;
mod load;
mod session;

use load::{Load, Measured};

/// Closed-loop load over real gRPC.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    Heartbeat(heartbeat::Heartbeat),
    Etcd(etcd::Etcd),
    Session(session::Session),
}

impl Bench {
    fn load(&self) -> &Load {
        match self {
            Bench::Heartbeat(bench) => &bench.load,
            Bench::Etcd(bench) => &bench.load,
            Bench::Session(bench) => &bench.load,
        }
    }
}

/// Runs `muster bench`.
pub(super) fn run(command: &Bench) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(command.load().threads as usize)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(&error).exit(Exit::Internal))?;
    match command {
        Bench::Heartbeat(bench) => {
            let measured = runtime.block_on(bench.measure())?;
            report("heartbeat", &bench.load, ("clusters", bench.clusters), &measured)
        }
        Bench::Etcd(bench) => {
            let measured = runtime.block_on(bench.measure())?;
            report("etcd put", &bench.load, ("keys", bench.keys), &measured)
        }
        Bench::Session(bench) => {
            let parts = runtime.block_on(bench.measure())?;
            compare(&bench.load, bench.tokens, &parts)
        }
    }
}

/// Each part of a run, and what it is to the first.
fn compare(load: &Load, tokens: u64, parts: &[session::Part]) -> Result<(), Failure> {
    let Some((_, first)) = parts.first() else { return Ok(()) };
    let ratio = |part: &Measured| {
        let of = |quantile: Duration| quantile.as_secs_f64();
        (
            part.rate() / first.rate(),
            of(part.latencies.quantile(990)) / of(first.latencies.quantile(990)),
        )
    };
    let mut lines = Vec::new();
    if !load.json {
        lines.push(format!("sessions: {} clients, {tokens} tokens", load.clients));
        lines.push(format!(
            "{:<16}{:<10}{:<10}{:<10}{:<10}{:<8}{:<8}ERRORS",
            "WHAT", "RATE/S", "P50", "P99", "P99.9", "RATE", "P99"
        ));
    }
    for (name, part) in parts {
        let (rate, tail) = ratio(part);
        let latencies = &part.latencies;
        let [p50, p99, p999] = [500, 990, 999].map(|at| latencies.quantile(at));
        let errors: u64 = part.errors.values().sum();
        lines.push(if load.json {
            let line = json!({
                "what": name, "clients": load.clients, "tokens": tokens,
                "done": latencies.total(), "rate": part.rate(),
                "p50_ms": millis(p50), "p99_ms": millis(p99), "p999_ms": millis(p999),
                "rate_to_heartbeats": rate, "p99_to_heartbeats": tail,
                "errors": errors, "errors_by_code": part.errors,
            });
            line.to_string()
        } else {
            format!(
                "{name:<16}{:<10.0}{:<10}{:<10}{:<10}{rate:<8.2}{tail:<8.2}{errors}",
                part.rate(),
                shown(p50),
                shown(p99),
                shown(p999)
            )
        });
    }
    lines.push(String::new());
    output::data(&lines.join("\n"))?;
    if parts.iter().any(|(_, part)| part.latencies.total() == 0) {
        return Err(Failure::new("no request was answered"));
    }
    Ok(())
}

fn report(
    what: &str,
    load: &Load,
    (objects, count): (&str, u64),
    measured: &Measured,
) -> Result<(), Failure> {
    let latencies = &measured.latencies;
    let errors: u64 = measured.errors.values().sum();
    let rate = measured.rate();
    let (p50, p99, p999) =
        (latencies.quantile(500), latencies.quantile(990), latencies.quantile(999));
    let text = if load.json {
        let report = json!({
            "what": what,
            "clients": load.clients,
            "connections": load.connections,
            "seconds": load.seconds,
            objects: count,
            "done": latencies.total(),
            "rate": rate,
            "p50_ms": millis(p50),
            "p99_ms": millis(p99),
            "p999_ms": millis(p999),
            "max_ms": millis(latencies.longest()),
            "silence_ms": millis(measured.silence),
            "errors": errors,
            "errors_by_code": measured.errors,
        });
        format!("{report}\n")
    } else {
        let by_code = measured.errors.iter().map(|(code, count)| format!("  {code} {count}"));
        format!(
            "{what}: {clients} clients, {count} {objects}, {seconds} s\n\
             RATE/S   P50      P99      P99.9    MAX      ERRORS\n\
             {rate:<9.0}{:<9}{:<9}{:<9}{:<9}{errors}{}\n",
            shown(p50),
            shown(p99),
            shown(p999),
            shown(latencies.longest()),
            by_code.collect::<String>(),
            clients = load.clients,
            seconds = load.seconds,
        )
    };
    output::data(&text)?;
    if latencies.total() == 0 { Err(Failure::new("no request was answered")) } else { Ok(()) }
}

fn millis(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1000.0
}

fn shown(latency: Duration) -> String {
    format!("{:.2}ms", millis(latency))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        bench: Bench,
    }

    #[test]
    fn several_targets_may_be_given_either_way() {
        let line = "bench heartbeat --clients 64 --target 127.0.0.1:1 127.0.0.1:2 --json";
        Line::try_parse_from(line.split(' ')).unwrap();
        let line = "bench etcd --target 127.0.0.1:1,127.0.0.1:2 --seconds 3";
        Line::try_parse_from(line.split(' ')).unwrap();
        let line = "bench heartbeat --target";
        assert!(Line::try_parse_from(line.split(' ')).is_err());
        let line = "bench heartbeat --target 127.0.0.1:1 --clients 0";
        assert!(Line::try_parse_from(line.split(' ')).is_err());
    }
}
