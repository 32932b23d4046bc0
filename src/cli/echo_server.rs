//! `portcullis echo-server`: the diagnostic MCP server alone.

use std::io;
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

use super::port;
use crate::clock::{Clock as _, SystemClock};
use crate::echo;

/// Runs the server until it is interrupted: on 127.0.0.1, or, with a `host` to answer to, on every address.
#[must_use]
pub fn run(port: u16, host: Option<&str>) -> ExitCode {
    let served = super::serve::control_runtime().and_then(|runtime| runtime.block_on(serve(port, host)));
    super::report(served)
}

async fn serve(port: u16, host: Option<&str>) -> anyhow::Result<()> {
    let address = if host.is_some() { "0.0.0.0" } else { "127.0.0.1" };
    let listener = TcpListener::bind((address, port)).await.map_err(|error| {
        let kind = error.kind();
        let error = anyhow::Error::new(error).context(format!("cannot listen on {address}:{port}"));
        port::advised(error, (port, port), kind, "or choose another with --port")
    })?;
    let port = listener.local_addr()?.port();
    let now = || SystemClock.now().seconds();
    let Some(host) = host else {
        println!("MCP server at http://127.0.0.1:{port}/mcp (no sign-in; loopback only)");
        return Ok(echo::serve(listener, stopped()?, now).await?);
    };
    println!("MCP server at http://{host}:{port}/mcp (no sign-in: for a private network)");
    Ok(echo::serve_as(host, listener, stopped()?, now).await?)
}

/// Done when somebody interrupts it, or, in a container, stops it.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut terminated = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    })
}
