//! A root, an intermediate, and what they sign.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use time::OffsetDateTime;

use super::Issued;

pub(super) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
    /// In the certificates that it signs.
    key_id: Vec<u8>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = || KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(params("The double's root", None), key()).expect("a root");
        let (params, key) = (params("The double's intermediate", Some(0)), key());
        let key_id = params.key_identifier(&key);
        let intermediate = CertifiedIssuer::signed_by(params, key, &root).expect("an intermediate");
        Self { root, intermediate, key_id }
    }

    pub(super) fn root(&self) -> String {
        self.root.pem()
    }

    /// A certificate for `host` from `not_before` to `not_after`, if the request is for that host and nothing else.
    pub(super) fn issue(
        &self,
        request: &[u8],
        host: &str,
        serial: u64,
        (not_before, not_after): (u64, u64),
    ) -> Result<Issued, String> {
        let mut request = CertificateSigningRequestParams::from_der(&request.to_vec().into())
            .map_err(|error| error.to_string())?;
        let names: Vec<_> = request.params.subject_alt_names.iter().map(shown).collect();
        if names != [host] {
            return Err(format!("the request is for {names:?}, the order for {host}"));
        }
        // As Let's Encrypt: sixteen bytes, the first of them not negative, that no other certificate has.
        let bytes = [&[0x3a, 0x5c][..], &[0x77; 6], &serial.to_be_bytes()].concat();
        let moment = |at: u64| {
            OffsetDateTime::from_unix_timestamp(i64::try_from(at).expect("a time")).expect("a time")
        };
        let params = &mut request.params;
        (params.not_before, params.not_after) = (moment(not_before), moment(not_after));
        params.serial_number = Some(SerialNumber::from_slice(&bytes));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = request.signed_by(&self.intermediate).map_err(|error| error.to_string())?;
        let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Ok(Issued {
            serial: bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
            host: host.to_owned(),
            chain: leaf.pem() + &self.intermediate.pem(),
            not_before,
            not_after,
            id: format!("{}.{}", encoded(&self.key_id), encoded(&bytes)),
        })
    }
}

fn params(name: &str, below: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(below.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Whatever a test's clock says.
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2090, 1, 1));
    params
}

fn shown(name: &SanType) -> String {
    match name {
        SanType::DnsName(name) => name.to_string(),
        SanType::IpAddress(address) => address.to_string(),
        SanType::Rfc822Name(_) | SanType::URI(_) | SanType::OtherName(_) | _ => format!("{name:?}"),
    }
}
