//! The ports: with a gateway that runs, whether they are its own; with one that does not, whether it could have them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::Silence;
use crate::config::Config;
use crate::doctor::{Examination, Remedy, Trial};
use crate::internal;
use crate::serve::{Owner, Passed, ServeError, bind_beside, owners, this_program};
use crate::trouble::Trouble;

/// Looks at every port that the configuration names.
pub(super) fn examine(
    examination: &Examination<'_>,
    config: &Config,
    running: &Result<internal::Report, Silence>,
) {
    let mut ports: BTreeMap<u16, Vec<SocketAddr>> = BTreeMap::new();
    let all = config.serve.listen.iter().chain(&config.serve.redirect).chain(&config.internal.listen);
    for address in all.filter(|address| address.port() != 0) {
        ports.entry(address.port()).or_default().push(*address);
    }
    for (port, addresses) in ports {
        let case = Case { examination, port, addresses: &addresses, subject: &format!("port {port}") };
        match running {
            Ok(_) => case.of_a_running_gateway(),
            Err(silence) => case.of_a_stopped_gateway(silence),
        }
    }
}

struct Case<'a> {
    examination: &'a Examination<'a>,
    port: u16,
    addresses: &'a [SocketAddr],
    subject: &'a str,
}

impl Case<'_> {
    fn of_a_running_gateway(&self) {
        let owners = owners(self.port);
        let trial = |found: String| Trial::new(format!("who listens on port {}", self.port), found);
        let is_ours = |owner: &&Owner| owner.is_this_program();
        if let Some(owner) = owners.iter().find(is_ours) {
            self.examination.good(Trouble::PortInUse, self.subject, trial(owner.to_string()));
        } else if let Some(owner) = owners.first() {
            self.taken(owner, trial(owner.to_string()));
        } else if self.can_be_bound().is_ok() {
            let cause = format!(
                "The gateway runs, and does not listen on port {}: the configuration was changed after it was started.",
                self.port
            );
            let remedy = Remedy::new(
                cause,
                ["Start it again: `sudo systemctl restart portcullis`, or `just restart gateway`."],
            );
            self.examination.bad(Trouble::Port443, self.subject, trial("nobody".into()), remedy);
        } else {
            let found = "somebody whom the system does not show to this user";
            self.examination.good(Trouble::PortInUse, self.subject, trial(found.into()));
        }
    }

    fn of_a_stopped_gateway(&self, silence: &Silence) {
        let error = match self.can_be_bound() {
            Ok(()) => {
                let trial = |found: &str| Trial::new(self.tried(), found);
                self.examination.good(Trouble::PortInUse, self.subject, trial("it is free"));
                self.examination.good(Trouble::PortDenied, self.subject, trial("it may be used"));
                return;
            }
            Err(error) => error,
        };
        let trial = Trial::new(self.tried(), error.to_string());
        if error.kind() == io::ErrorKind::AddrInUse {
            let owners = owners(self.port);
            match (owners.first(), silence) {
                (Some(owner), Silence::Unasked(_) | Silence::Hanging(_)) if owner.is_this_program() => {
                    self.of_our_own(owner.to_string());
                }
                // It is known to run, and the system does not show others' processes.
                (None, Silence::Unasked(_) | Silence::Hanging(_)) => {
                    self.of_our_own("a process that the system does not show to this user".to_owned());
                }
                (Some(owner), _) => self.taken(owner, trial),
                (None, Silence::Stopped(_)) => self.taken_by_somebody(trial),
            }
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            self.denied(trial);
        } else {
            let cause = format!("This machine has no address {}.", self.shown());
            let fix = ["Write an address of this machine under `listen`; `ip address` shows them."];
            self.examination.bad(Trouble::EnvShape, self.subject, trial, Remedy::new(cause, fix));
        }
    }

    fn of_our_own(&self, owner: String) {
        let trial = Trial::new(format!("who listens on port {}", self.port), owner);
        self.examination.good(Trouble::PortInUse, self.subject, trial);
    }

    fn taken(&self, owner: &Owner, trial: Trial) {
        let cause = format!("Port {} is taken by {owner}.", self.port);
        let stop = match owner.service() {
            None if owner.is_this_program() => {
                format!("It is another gateway: see which by `ps -fp {}`.", owner.pid)
            }
            Some(service) => format!("Stop it for good: `sudo systemctl disable --now {service}`."),
            None => format!("Stop it: `sudo kill {}`.", owner.pid),
        };
        let fix = [
            stop,
            "Or write another port under `listen`, and let that other server pass requests on.".to_owned(),
        ];
        self.examination.bad(Trouble::PortInUse, self.subject, trial, Remedy::new(cause, fix));
    }

    fn taken_by_somebody(&self, trial: Trial) {
        let cause =
            format!("Port {} is taken by a process that the system does not show to this user.", self.port);
        let fix = [format!("See whose it is: `sudo ss -ltnp 'sport = :{}'`, and stop it.", self.port)];
        self.examination.bad(Trouble::PortInUse, self.subject, trial, Remedy::new(cause, fix));
    }

    fn denied(&self, trial: Trial) {
        let cause = format!("Port {} needs a right that this user has not.", self.port);
        let fix = [
            format!("Give it to this program: `sudo setcap cap_net_bind_service=+ep {}`.", this_program()),
            "With systemd: `AmbientCapabilities=CAP_NET_BIND_SERVICE` in the unit; then this user need not have it.".to_owned(),
        ];
        self.examination.bad(Trouble::PortDenied, self.subject, trial, Remedy::new(cause, fix));
    }

    /// As the gateway would do it, for a moment.
    fn can_be_bound(&self) -> io::Result<()> {
        match bind_beside(self.addresses, &mut Passed::default()) {
            Ok(_) => Ok(()),
            Err(ServeError::Bind { source, .. } | ServeError::Worker(source)) => Err(source),
        }
    }

    fn tried(&self) -> String {
        format!("listening on {}", self.shown())
    }

    fn shown(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
    }
}
