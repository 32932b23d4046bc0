//! `portcullis serve`: everything is put together here, in the order in which it can fail.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::facts::{Settled, Verifier, Witnesses};
use super::manager::Manager;
use super::reload::{self, Running, Source};
use super::takeover::Predecessor;
use super::{check, open_files, port, state};
use crate::acme::Acme;
use crate::admin::Administered;
use crate::admin::certs::Keepers;
use crate::certs::{self, Certificates};
use crate::clock::{Clock, SystemClock};
use crate::config::{Checked, Config, Surroundings};
use crate::fetch::{Fetcher, PublicFetcher};
use crate::gateway::{
    Buckets, Documents, Gateway, InFlight, LastReload, Revocations, Shared, Site, Watch, load_refresh_keys,
    load_session_keys, load_signing_keys,
};
use crate::identity::{self, Dev, GitHub, Identity};
use crate::seal::Sealer;
use crate::serve::{self, Listeners, Passed, bind_beside};
use crate::store::Store;
use crate::telemetry::{Lately, Refusals};
use crate::{internal, tasks, telemetry};

/// Runs the gateway that `file` describes until SIGTERM or SIGINT.
#[must_use]
pub fn run(file: &Path) -> ExitCode {
    let passed = match Passed::from_environment() {
        Ok(passed) => passed,
        Err(error) => return super::report(Err(error.into())),
    };
    match control_runtime() {
        Ok(control) => control.block_on(serve_file(file, passed)),
        Err(error) => super::report(Err(error)),
    }
}

async fn serve_file(file: &Path, passed: Passed) -> ExitCode {
    let mut source = match Source::open(file) {
        Ok(source) => source,
        Err(error) => return super::report(Err(error)),
    };
    let read = |file: &Path, from: &dyn Surroundings| check::read(file, from, &mut io::stderr().lock());
    let config = match source.read(read) {
        Ok(Checked { config, .. }) => config,
        Err(exit) => return exit,
    };
    telemetry::start(&config.telemetry);
    super::report(serve(config, Some(source), passed, |_| async {}).await)
}

/// The runtime of everything that is no request.
///
/// # Errors
/// If its threads cannot be started.
pub(super) fn control_runtime() -> anyhow::Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build();
    runtime.context("cannot start the control runtime")
}

/// Binds what was not `passed`, opens the store, and serves; what `source` brings later, too. `ready` is called once everything
/// answers, with those who have the certificates.
///
/// # Errors
/// Whatever keeps the gateway from starting, in words an operator can act on.
pub(super) async fn serve(
    config: Config,
    source: Option<Source>,
    mut passed: Passed,
    ready: impl AsyncFnOnce(Keepers),
) -> anyhow::Result<()> {
    open_files::take_all();
    let manager = Manager::from_environment();
    let before = Predecessor::of(&passed, config.serve.drain);
    let (listeners, sockets) = bind(&config, &mut passed)?;
    let (status, mut internal) = answer_probes(sockets, &config.internal)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hosts = config.hosts();
    let certificates = Certificates::load(&config.tls, &hosts, clock.now()).context("TLS certificates")?;
    let certificates = certificates.map(Arc::new);
    state::create_folder_of(&config.store)?;
    let store = before.store(&config, &clock, &manager).await?;
    let shared = Arc::new(share_over(&config, store, Arc::clone(&clock)).await?);
    let mut background = tasks::start(&shared).await.context("reading revocations")?;
    let schedule = Arc::new(ArcSwap::from_pointee(config.key_schedule()));
    background.keep_keys(&shared, Arc::clone(&schedule));
    background.reseal(&shared);
    let acme = order_certificates(&config, &shared, certificates.as_ref()).await?;
    let challenges = acme.as_ref().map(|acme| acme.challenges());
    let tls = certificates.as_ref().map(|certificates| certificates.tls(challenges));
    if let Some(certificates) = &certificates {
        background.watch_certificates(Arc::clone(certificates), clock);
    }
    say_services(&config);
    let gateway = Arc::new(Gateway::new(Site::new(config.gateway.clone()), Arc::clone(&shared)));
    background.probe(&gateway);
    let running = Running {
        config: config.clone(),
        gateway: Arc::clone(&gateway),
        certificates: certificates.clone(),
        schedule,
    };
    let keepers = Keepers { certificates, acme };
    let settled = Settled::of(&config);
    let noticed = tasks::restored(Arc::clone(&shared));
    let witnesses = Witnesses { shared, gateway: Arc::clone(&gateway), keepers: keepers.clone(), settled };
    status.store_was_read(Arc::new(witnesses));
    status.is_judged_by(Arc::new(Verifier::new(Arc::clone(&gateway))));
    let ordering = background.order_certificates(keepers.acme.as_ref());
    let administered =
        Administered { gateway: Arc::clone(&gateway), keepers: keepers.clone(), status: Arc::clone(&status) };
    let admin = before.administer(&config.admin, administered)?;
    let (stop, restored) = or_restored(asked_to_stop()?, noticed);
    say_listening(&config);
    ready(keepers).await;
    status.accepts();
    manager.ready(&reload::standing(&config));
    if let Some(source) = source {
        background.also(reload::follow(source, running, manager.clone()));
    }
    let stop = async {
        status.stops_at(stop).await;
        manager.stopping();
        // A probe in the same socket is the next process's: this one could only say that it stops.
        internal.take_if(|_| before.is_likely());
    };
    listeners.serve(config.serve, tls, gateway, stop).await?;
    ordering.end().await;
    drop((admin, background, internal));
    stopped(&restored)
}

/// The last word: a stop that nobody has asked for is a failure, so that a service manager starts the gateway again.
fn stopped(restored: &AtomicBool) -> anyhow::Result<()> {
    anyhow::ensure!(!restored.load(Ordering::Relaxed), "a backup was restored into the store; start again");
    tracing::info!("stopped");
    Ok(())
}

fn say_listening(config: &Config) {
    let addresses: Vec<_> = config.serve.listen.iter().map(ToString::to_string).collect();
    tracing::info!(issuer = config.gateway.issuer, listen = addresses.join(" "), "listening");
}

fn say_services(config: &Config) {
    for service in &config.gateway.services {
        let upstream: Vec<_> = service.upstream.replicas.iter().map(Url::as_str).collect();
        let (url, upstream) = (service.resource.as_str(), upstream.join(" "));
        tracing::info!(service = service.name, url, upstream, "serving");
    }
}

/// The public listeners and the internal one's sockets: bound before anything that takes time, so that a taken port is told at
/// once.
fn bind(config: &Config, passed: &mut Passed) -> anyhow::Result<(Listeners, Vec<TcpListener>)> {
    let serve::Settings { listen, redirect, .. } = &config.serve;
    passed.belong_to(&[listen.as_slice(), redirect, &config.internal.listen].concat())?;
    let explained = |error| port::explained(error, &config.serve);
    let listeners = Listeners::bind(&config.serve, passed).map_err(explained)?;
    let internal = bind_beside(&config.internal.listen, passed).map_err(explained)?;
    Ok((listeners, internal))
}

/// The internal listener, which answers from the first moment on.
fn answer_probes(
    sockets: Vec<TcpListener>,
    settings: &internal::Settings,
) -> anyhow::Result<(Arc<internal::Status>, Option<internal::Listening>)> {
    let status = Arc::new(internal::Status::default());
    let listening = internal::start(sockets, settings.token.as_ref(), Arc::clone(&status));
    Ok((status, Some(listening.context("the internal listener")?)))
}

/// Who orders certificates, if they come by ACME; what there is already is shown.
async fn order_certificates(
    config: &Config,
    shared: &Shared,
    certificates: Option<&Arc<Certificates>>,
) -> anyhow::Result<Option<Arc<Acme>>> {
    let (certs::Settings::Acme(settings), Some(certificates)) = (&config.tls, certificates) else {
        return Ok(None);
    };
    let (store, clock) = (shared.store.clone(), Arc::clone(&shared.clock));
    let acme = Acme::start(settings.clone(), store, Arc::clone(certificates), clock).await;
    acme.map(Some).context("certificates by ACME")
}

/// Opens the store and everything that is shared by all workers.
///
/// # Errors
/// Whatever keeps the gateway from starting.
pub async fn share(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Shared> {
    let control = tokio::runtime::Handle::current();
    let store = Store::open(&config.store, sealer(config), &control, Arc::clone(&clock)).await?;
    share_over(config, store, clock).await
}

/// The same over a store that is open already.
///
/// # Errors
/// Whatever keeps the gateway from starting.
pub async fn share_over(config: &Config, store: Store, clock: Arc<dyn Clock>) -> anyhow::Result<Shared> {
    let now = clock.now();
    if let identity::Settings::GitHub(github) = &config.identity {
        store.bind_provider(&github.web.origin().ascii_serialization()).await?;
    }
    Ok(Shared {
        signing: ArcSwap::from_pointee(load_signing_keys(&store, now).await?),
        last_reload: LastReload::default(),
        refresh: ArcSwap::from_pointee(load_refresh_keys(&store, now).await?),
        sessions: ArcSwap::from_pointee(load_session_keys(&store, now).await?),
        revocations: Revocations::new(),
        limits: Buckets::new(),
        in_flight: InFlight::new(),
        refusals: Refusals::default(),
        lately: Lately::default(),
        documents: Documents::new(Arc::new(PublicFetcher::new())),
        identity: ArcSwap::from_pointee(identity(config)),
        watch: Watch::default(),
        sealer: sealer(config),
        clock,
        control: tokio::runtime::Handle::current(),
        store,
    })
}

/// What seals for this configuration.
#[must_use]
pub fn sealer(config: &Config) -> Sealer {
    let sealer = Sealer::new(config.secret_key.clone());
    match &config.secret_key_previous {
        Some(previous) => sealer.with_previous(previous.clone()),
        None => sealer,
    }
}

/// Who signs people in.
pub(super) fn identity(config: &Config) -> Arc<dyn Identity> {
    let issuer = config.gateway.issuer.clone();
    match &config.identity {
        identity::Settings::Dev => Arc::new(Dev::new(issuer)),
        identity::Settings::GitHub(settings) => {
            Arc::new(GitHub::new(settings.clone(), issuer, Fetcher::new()))
        }
    }
}

/// When it is asked for, or when the store is restored from a backup; whether it was that.
fn or_restored(
    asked: impl Future<Output = ()>,
    noticed: impl Future<Output = ()>,
) -> (impl Future<Output = ()>, Arc<AtomicBool>) {
    let restored = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&restored);
    let stop = async move {
        tokio::select! {
            () = asked => {}
            () = noticed => {
                tracing::error!("a backup is restored into the store: what is known of it here is no longer true; stopping");
                note.store(true, Ordering::Relaxed);
            }
        }
    };
    (stop, restored)
}

/// Done at the first SIGTERM or SIGINT; a second one ends the process without waiting for open requests.
fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping: no new connections, open requests may finish; once more stops at once");
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::warn!("stopped at once, open requests were cut");
            telemetry::flush();
            std::process::exit(130);
        });
    })
}
