//! `portcullis echo-server`: the diagnostic MCP server alone.

use std::process::ExitCode;

use tokio::net::TcpListener;

use super::port;
use crate::clock::{Clock as _, SystemClock};
use crate::echo;

/// Runs the server on 127.0.0.1 until it is interrupted.
#[must_use]
pub fn run(port: u16) -> ExitCode {
    let served = super::serve::control_runtime().and_then(|runtime| runtime.block_on(serve(port)));
    super::report(served)
}

async fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
        let kind = error.kind();
        let error = anyhow::Error::new(error).context(format!("cannot listen on 127.0.0.1:{port}"));
        port::advised(error, port, kind, "or choose another with --port")
    })?;
    println!("MCP server at http://{}/mcp (no sign-in; loopback only)", listener.local_addr()?);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    Ok(echo::serve(listener, stop, || SystemClock.now().seconds()).await?)
}
