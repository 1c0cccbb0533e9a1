//! TLS: which broker to trust, and what to show it.
//!
//! The files are read for each connection, so that renewed certificates are used without a restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, RootCertStore};

use super::error::Error;

/// The files of TLS, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the only CAs to trust; without it, the system's are.
    pub ca: Option<PathBuf>,
    /// Our own certificate, and those between it and its CA.
    pub client_certificate: Option<PathBuf>,
    /// Its private key.
    pub client_key: Option<PathBuf>,
}

/// What the last connection was made with, for those that follow: files that can't be used any more, or that the broker refuses, change
/// nothing until they can. Cheap to clone; every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct LastTls(Arc<Mutex<Last>>);

#[derive(Debug, Default)]
struct Last {
    connector: Option<RustlsConnector>,
    /// The files had something else by then.
    is_old: bool,
}

impl LastTls {
    pub(super) fn get(&self) -> Option<RustlsConnector> {
        self.last().connector.clone()
    }

    /// A connection was made with what the files have now.
    pub(super) fn set(&self, connector: &RustlsConnector) {
        *self.last() = Last {
            connector: Some(connector.clone()),
            is_old: false,
        };
    }

    /// A connection was made with what there was before.
    pub(super) fn keep(&self) {
        self.last().is_old = true;
    }

    pub(super) fn is_old(&self) -> bool {
        self.last().is_old
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const CA: &str = "amqp.ca_file";
const CERTIFICATE: &str = "amqp.client_certificate_file";
const KEY: &str = "amqp.client_key_file";

impl TlsFiles {
    /// The first setting that is given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let files = [
            (CA, &self.ca),
            (CERTIFICATE, &self.client_certificate),
            (KEY, &self.client_key),
        ];
        files
            .iter()
            .find(|(_, file)| file.is_some())
            .map(|(setting, _)| *setting)
    }

    /// What connections are made with, from what the files hold now.
    ///
    /// # Errors
    ///
    /// Names the setting whose file is of no use.
    pub(super) fn connector(&self) -> Result<RustlsConnector, Error> {
        let trusted = match &self.ca {
            Some(path) => RustlsConnectorConfig::default().with_parsable_certificates(authorities(path)?),
            None => RustlsConnectorConfig::new_with_native_certs().map_err(|error| {
                unusable(
                    CA,
                    format!("it is not set, and the system has no CA certificates: {error}"),
                )
            })?,
        };
        match (&self.client_certificate, &self.client_key) {
            (None, None) => trusted
                .connector_with_no_client_auth()
                .map_err(|error| unusable(CA, error.to_string())),
            (Some(certificate), Some(key)) => trusted
                .connector_with_single_cert(certificates(CERTIFICATE, certificate)?, private_key(key)?)
                .map_err(|error| unusable(CERTIFICATE, format!("it does not go with {KEY}: {error}"))),
            (Some(_), None) => Err(unusable(KEY, format!("it is required with {CERTIFICATE}"))),
            (None, Some(_)) => Err(unusable(CERTIFICATE, format!("it is required with {KEY}"))),
        }
    }
}

/// The broker refuses what the files have, so the connection has what they had before.
pub(super) fn refused_files() -> Error {
    unusable(
        CA,
        format!("the broker refuses it, or {CERTIFICATE} or {KEY}; the connection was made with what was there before"),
    )
}

fn unusable(setting: &'static str, why: String) -> Error {
    Error::Tls { setting, why }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| unusable(setting, format!("{} can't be read: {error}", path.display())))
}

/// The certificates of CAs, each of which can be used.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = certificates(CA, path)?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        let added = store.add(certificate.clone());
        added.map_err(|error| unusable(CA, format!("{} has a certificate of no use: {error}", path.display())))?;
    }
    Ok(certificates)
}

/// At least one certificate.
fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(setting, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.map_err(|error| unusable(setting, format!("{} is not PEM: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(unusable(
            setting,
            format!("{} has no certificate in PEM", path.display()),
        ));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    // The parser's errors may repeat a line of what they could not read.
    PrivateKeyDer::from_pem_slice(&read(KEY, path)?)
        .map_err(|_| unusable(KEY, format!("{} has no private key in PEM", path.display())))
}

/// What to look at when the broker hangs up while TLS begins. It does so when it refuses a client, and what it says of
/// that may be lost with the connection.
pub(super) const CUT: &str = "it hung up while TLS began; if it wants a client certificate, check \
                              amqp.client_certificate_file, and the CAs that the broker trusts";

/// Why TLS failed, and what to look at; none if it did not.
pub(super) fn explain(error: &io::Error, host: &str) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(invalid) => explain_certificate(invalid, host),
        rustls::Error::AlertReceived(alert) => explain_alert(*alert),
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS; is the port in amqp.url right? That of amqps is mostly 5671".to_owned()
        }
        _ => format!("TLS failed: {error}; check the scheme and the port in amqp.url"),
    })
}

fn explain_certificate(invalid: &CertificateError, host: &str) -> String {
    let check = match invalid {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            return format!("its certificate is not for {host:?}; the host in amqp.url must be one of its names");
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is amqp.ca_file, or the system's where that is not set, the CA that signed it?"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "renew it",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is the clock right?",
        _ => "check it",
    };
    format!("its certificate is refused ({invalid}); {check}")
}

fn explain_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => format!("it wants a client certificate; set {CERTIFICATE} and {KEY}"),
        // Brokers before TLS 1.3 say so little when there is no certificate.
        AlertDescription::HandshakeFailure
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            format!("it refused our side of TLS ({alert:?}); check {CERTIFICATE}, and the CAs that the broker trusts")
        }
        _ => format!("it ended TLS ({alert:?}); its log says more"),
    }
}
