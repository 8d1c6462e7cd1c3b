use std::process::ExitCode;

/// A request allocates in many small pieces on several threads, at which this one is better than
/// the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    muster::cli::main()
}
