//! A name server that says what a test wants: A, AAAA and CAA; NXDOMAIN for names that it does not have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

/// What one name has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) addresses: Vec<IpAddr>,
    /// Values of `CAA 0 issue`.
    pub(crate) issue: Vec<&'static str>,
}

/// All names; a name without records is there all the same.
#[derive(Clone, Default)]
pub(crate) struct Zone(Arc<Mutex<HashMap<String, Records>>>);

impl Zone {
    /// Serves it at port 53 of loopback.
    pub(crate) async fn serve(&self) {
        let socket = UdpSocket::bind("127.0.0.1:53").await.unwrap();
        let zone = self.clone();
        tokio::spawn(async move {
            let mut question = [0; 1500];
            loop {
                let (length, asker) = socket.recv_from(&mut question).await.unwrap();
                if let Some(answer) = zone.answer(&question[..length]) {
                    socket.send_to(&answer, asker).await.unwrap();
                }
            }
        });
    }

    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|one| one.parse().unwrap()).collect();
        self.0.lock().unwrap().entry(name.to_owned()).or_default().addresses = addresses;
    }

    pub(crate) fn issue(&self, name: &str, issuers: &[&'static str]) {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().issue = issuers.to_vec();
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }

    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = name(question)?;
        let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
        let zone = self.0.lock().unwrap();
        let records = zone.get(&name);
        let data: Vec<Vec<u8>> = match (records, kind) {
            (Some(records), 1) => v4(records),
            (Some(records), 28) => v6(records),
            (Some(records), 257) => records.issue.iter().map(|issuer| caa(issuer)).collect(),
            (Some(_) | None, _) => Vec::new(),
        };
        // A response to a query that wanted recursion, which is available; NXDOMAIN is 3.
        let code = if records.is_some() { 0x80 } else { 0x83 };
        let mut answer = vec![
            question[0],
            question[1],
            0x81,
            code,
            0,
            1,
            0,
            u8::try_from(data.len()).unwrap(),
            0,
            0,
            0,
            0,
        ];
        answer.extend(&question[12..end + 4]);
        for one in data {
            // The name of the question, class IN, a minute.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60]);
            answer.extend(u16::try_from(one.len()).unwrap().to_be_bytes());
            answer.extend(one);
        }
        Some(answer)
    }
}

/// The name that is asked for, and where it ends.
fn name(question: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}

fn v4(records: &Records) -> Vec<Vec<u8>> {
    let four = |address: &IpAddr| {
        if let IpAddr::V4(address) = address { Some(address.octets().to_vec()) } else { None }
    };
    records.addresses.iter().filter_map(four).collect()
}

fn v6(records: &Records) -> Vec<Vec<u8>> {
    let six = |address: &IpAddr| {
        if let IpAddr::V6(address) = address { Some(address.octets().to_vec()) } else { None }
    };
    records.addresses.iter().filter_map(six).collect()
}

fn caa(issuer: &str) -> Vec<u8> {
    [&[0, 5][..], b"issue", issuer.as_bytes()].concat()
}
