//! Other commands of this program, asked as an operator would: each is a process of its own, so that one that hangs or breaks takes
//! nothing else with it.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long one may take; doctor waits for names and for servers.
const PATIENCE: Duration = Duration::from_secs(90);

/// The most that is kept of what it says.
const MOST: u64 = 2 * 1024 * 1024;

/// What a command said, on both outputs, and how it ended.
pub(super) fn asked(arguments: &[&str]) -> String {
    let shown = arguments.join(" ");
    match answer(arguments) {
        Ok((how, said)) => format!("$ portcullis {shown}\n{}\n({how})\n", said.trim_end()),
        Err(error) => format!("$ portcullis {shown}\n(it cannot be run: {error})\n"),
    }
}

fn answer(arguments: &[&str]) -> std::io::Result<(String, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (out, errors) = (child.stdout.take().map(keep), child.stderr.take().map(keep));
    let how = wait(&mut child)?;
    let said = [out, errors].into_iter().flatten().filter_map(|reader| reader.join().ok());
    Ok((how, said.collect::<String>()))
}

fn keep(output: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut said = Vec::new();
        // What was read until it broke off is better than nothing.
        drop(output.take(MOST).read_to_end(&mut said));
        String::from_utf8_lossy(&said).into_owned()
    })
}

fn wait(child: &mut Child) -> std::io::Result<String> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(status
                .code()
                .map_or_else(|| status.to_string(), |code| format!("exit status {code}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(format!("it took longer than {} s, and was stopped", PATIENCE.as_secs()))
}
