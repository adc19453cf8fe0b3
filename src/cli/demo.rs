//! `hotspan demo`: the sample shop with a fault, load on it, and the report.

use super::args::{DemoArgs, DemoServiceArgs};
use super::exit::{self, Exit, say};
use super::live::Interrupts;
use super::run;
use crate::demo::{self, Demo, DemoOptions, Fault, Faults};
use anyhow::Context;
use std::fmt::Write;
use std::io::Write as _;
use std::time::Duration;

/// Runs the command.
pub fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    if args.fault == "list" {
        exit::print(&list())?;
        return Ok(Exit::Passed);
    }
    let faults = Faults::parse(&args.fault)?;
    let exe = std::env::current_exe()
        .context("cannot find the running program, which the shop's processes are made of")?;
    if let Some(address) = args.serve {
        let options = DemoOptions {
            exe,
            database_url: args.database_url.clone(),
            faults,
            otlp_endpoint: None,
            shop: address,
        };
        return serve(options);
    }
    let plan = |endpoint: String| async move {
        let options = DemoOptions {
            exe,
            database_url: args.database_url.clone(),
            faults,
            otlp_endpoint: Some(endpoint),
            shop: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        if !args.output.quiet {
            say(&format!("Starting the shop (faults: {faults}) …"));
        }
        Demo::start(options).await.context("the demo shop did not start")
    };
    run::run_demo(args, plan)
}

/// The shop alone, without load, until Ctrl-C or SIGTERM. Its spans go where `OTEL_EXPORTER_OTLP_ENDPOINT` says.
fn serve(options: DemoOptions) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let faults = options.faults;
    let shop = runtime.block_on(Demo::start(options)).context("the demo shop did not start")?;
    say(&format!("The shop (faults: {faults}) is at {}; Ctrl-C ends it.", shop.shop_url));
    let interrupts = Interrupts::listen(&runtime);
    while interrupts.count() == 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    for complaint in runtime.block_on(shop.stop()) {
        say(&format!("demo shop: {complaint}"));
    }
    Ok(Exit::Passed)
}

/// Every fault with its sentence.
fn list() -> String {
    let mut text = String::from("Faults of the demo shop, for --fault (separate several with commas):\n\n");
    for fault in Fault::ALL {
        let _ = writeln!(text, "  {:<22} {}", fault.name(), fault.description());
    }
    let _ = writeln!(text, "  {:<22} nothing is wrong", "none");
    text
}

/// One process of the shop.
pub fn service(args: &DemoServiceArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let announce = |line: String| {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    };
    runtime.block_on(demo::service_main(&args.argv, announce))?;
    Ok(Exit::Passed)
}
